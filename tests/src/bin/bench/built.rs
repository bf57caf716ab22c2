//! `cargo run` builds this program and not the server beside it. So that one command is enough, and no older server is measured, it is
//! built here: as it is put to work (the profile `dist`), or without optimisation where this program has none. Who starts this program
//! without cargo gets the server that lies beside it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::options::Options;

/// Builds our server, where cargo runs this program and no other server is asked for, and has that one measured.
pub(crate) fn build(options: &mut Options) -> anyhow::Result<()> {
    let another = options.server.is_some() || options.target.is_some() || options.fleet.is_some();
    let cargo = std::env::var_os("CARGO").filter(|_| !another);
    let Some(cargo) = cargo else {
        return Ok(());
    };
    let own = std::env::current_exe()?;
    let (mut command, server) = command(&cargo, &own, !cfg!(debug_assertions))?;
    let done = command.status();
    let done = done.with_context(|| cargo.display().to_string())?;
    ensure!(done.success(), "mdmd is not built: {done}");
    options.server = server;
    Ok(())
}

/// What builds it into the target directory in which `own` lies, and where it lies then if not beside `own`. Says what it does where
/// programs that read our results do not look.
fn command(cargo: &OsStr, own: &Path, release: bool) -> anyhow::Result<(Command, Option<PathBuf>)> {
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
    if !release {
        return Ok((command, None));
    }
    command.args(["--profile", "dist"]);
    Ok((command, Some(folder.join("dist/mdmd"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_built_where_the_benchmark_looks_for_it_and_as_it_is_put_to_work() {
        let words = |own: &str, release, there: Option<&str>| {
            let built = command(OsStr::new("cargo"), Path::new(own), release);
            let (built, server) = built.unwrap();
            assert_eq!(server.as_deref(), there.map(Path::new));
            let words = built
                .get_args()
                .map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>()
        };
        let release = words("/t/release/bench", true, Some("/t/dist/mdmd"));
        assert_eq!(release[..4], ["build", "--locked", "-p", "mdmd"]);
        assert_eq!(release[6..], ["--target-dir", "/t", "--profile", "dist"]);
        assert!(Path::new(&release[5]).is_file(), "{}", release[5]);
        assert_eq!(
            words("/t/x/debug/bench", false, None)[6..],
            ["--target-dir", "/t/x"]
        );
        assert!(command(OsStr::new("cargo"), Path::new("bench"), true).is_err());
    }
}
