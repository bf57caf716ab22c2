//! `cargo run` builds this program and not the server beside it. So that one command is enough, and no older server is measured, it is
//! built here, as this program was. Who starts this program without cargo gets the server that lies beside it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::options::Options;

/// Builds our server, where cargo runs this program and the server beside it is what is asked for.
pub(crate) fn build(options: &Options) -> anyhow::Result<()> {
    let another = options.server.is_some() || options.target.is_some() || options.fleet.is_some();
    let cargo = std::env::var_os("CARGO").filter(|_| !another);
    let Some(cargo) = cargo else {
        return Ok(());
    };
    let own = std::env::current_exe()?;
    let done = command(&cargo, &own, !cfg!(debug_assertions))?.status();
    let done = done.with_context(|| cargo.display().to_string())?;
    ensure!(done.success(), "mdmd is not built: {done}");
    Ok(())
}

/// What builds it into the folder in which `own` lies. Says what it does where programs that read our results do not look.
fn command(cargo: &OsStr, own: &Path, release: bool) -> anyhow::Result<Command> {
    let folder = own.parent().and_then(Path::parent);
    let folder = folder.context("this program lies in no target directory")?;
    let mut command = Command::new(cargo);
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    command.args([
        "build",
        "--locked",
        "-p",
        "mdmd",
        "--manifest-path",
        workspace,
    ]);
    command.arg("--target-dir").arg(folder);
    if release {
        command.arg("--release");
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_built_where_the_benchmark_looks_for_it_and_as_it_was_built() {
        let words = |own: &str, release| {
            let built = command(OsStr::new("cargo"), Path::new(own), release).unwrap();
            let words = built
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>()
        };
        let release = words("/t/release/bench", true);
        assert_eq!(release[..4], ["build", "--locked", "-p", "mdmd"]);
        assert_eq!(release[6..], ["--target-dir", "/t", "--release"]);
        assert!(Path::new(&release[5]).is_file(), "{}", release[5]);
        assert_eq!(
            words("/t/x/debug/bench", false)[6..],
            ["--target-dir", "/t/x"]
        );
        assert!(command(OsStr::new("cargo"), Path::new("bench"), true).is_err());
    }
}
