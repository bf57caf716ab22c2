//! `mdmd completions` and `mdmd man`: what shells complete and what `man` shows, made of the command line's own description,
//! so that neither can forget a command. Speaks to no server.

use std::path::{Path, PathBuf};

use clap_complete::Shell;
use mdm_core::counted::counted;
use serde_json::json;

use super::{Common, Done, Exit, Means as _};
use crate::out::Paper;

/// Write the completions of a shell to standard output.
#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

/// Write the manual pages: one for each command.
#[derive(clap::Args, Debug)]
pub(crate) struct Man {
    /// The directory; it is made when it is not there, and pages of earlier versions are written over.
    directory: PathBuf,
}

pub(crate) fn completions(common: &Common, asked: &Completions, mut line: clap::Command) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut line, "mdmd", &mut script);
    if common.json {
        let script = String::from_utf8_lossy(&script).into_owned();
        let answer = json!({ "shell": asked.shell.to_string(), "script": script });
        super::print(common, &answer, |_| {});
        return Ok(());
    }
    use std::io::Write as _;
    Paper.write_all(&script)?;
    Ok(())
}

pub(crate) fn man(common: &Common, asked: &Man, line: clap::Command) -> Done {
    std::fs::create_dir_all(&asked.directory)
        .map_err(|error| anyhow::anyhow!("{}: {error}", asked.directory.display()))
        .means(Exit::Precondition)?;
    let mut line = line.disable_help_subcommand(true);
    // Common options and names of whole commands are filled in here.
    line.build();
    let mut pages = Vec::new();
    write(&line, &asked.directory, &mut pages)?;
    let answer = json!({ "directory": asked.directory, "pages": pages });
    super::print(common, &answer, |_| {
        println!(
            "{} in {}",
            counted(pages.len(), "page"),
            asked.directory.display()
        );
    });
    Ok(())
}

/// The page of a command and those of its commands.
fn write(command: &clap::Command, directory: &Path, pages: &mut Vec<String>) -> Done {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let file = format!("{name}.1");
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .manual("mdmd")
        .source(format!("mdmd {}", env!("CARGO_PKG_VERSION")))
        .render(&mut page)?;
    let path = directory.join(&file);
    std::fs::write(&path, page)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
        .means(Exit::Precondition)?;
    pages.push(file);
    for below in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write(below, directory, pages)?;
    }
    Ok(())
}
