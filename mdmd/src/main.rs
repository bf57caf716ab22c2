//! The `mdmd` command: hands over to the command line of the library.

fn main() -> std::process::ExitCode {
    mdmd::cli::main()
}
