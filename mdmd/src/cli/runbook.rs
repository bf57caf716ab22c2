//! `mdmd runbook show`: the standard runbook of a platform as JSON, with the apps that its devices have: what people begin with.

use super::client::{Client, Where};
use super::{Common, Done};

/// Plans of what happens in a hold.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Runbook {
    /// The standard one of a platform as JSON, to be changed and given to `migration assign --runbook` or `check --runbook`.
    Show {
        /// The platform.
        #[arg(value_parser = ["ios", "ipados", "macos"])]
        platform: String,
        /// Puts every app that its devices have from the service that they leave into the table, with this fate.
        #[arg(long, value_name = "FATE", value_parser = ["keep-if-present", "install", "drop"])]
        apps: Option<String>,
        #[command(flatten)]
        place: Where,
    },
}

pub(crate) async fn run(common: &Common, command: &Runbook) -> Done {
    let Runbook::Show {
        platform,
        apps,
        place,
    } = command;
    let client = Client::looking(common, place).await?;
    let mut path = format!("/api/v1/runbooks/standard?platform={platform}");
    if let Some(fate) = apps {
        path.push_str("&apps=");
        path.push_str(fate);
    }
    let answer = client.get(&path).await?;
    super::print(common, &answer, |answer| println!("{answer:#}"));
    Ok(())
}
