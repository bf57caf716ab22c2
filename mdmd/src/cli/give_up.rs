//! `mdmd device give-up`: ends the attempt of a device that never comes, so that its wave and its project can be closed.

use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, cell};

/// Whose attempt is given up, and why.
#[derive(clap::Args, Debug)]
pub(crate) struct GiveUp {
    /// Serial number of the device.
    serial: String,
    /// Why; the record and the attempt's exception have it.
    #[arg(long, value_name = "SENTENCE", value_parser = super::sentence, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only say what that means.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Where,
}

/// Says what it means, and does it.
pub(super) async fn run(common: &Common, args: &GiveUp) -> Done {
    let path = format!("/api/v1/devices/{}/give-up", super::in_path(&args.serial));
    if args.dry_run {
        let client = Client::looking(common, &args.place).await?;
        let answer = client.get(&path).await?;
        super::print(common, &answer, |answer| {
            println!("{}", cell(&answer["sentence"]));
        });
        return Ok(());
    }
    let client = Client::acting(common, &args.place).await?;
    // Where it cannot be given up, this says why.
    let means = client.get(&path).await?;
    let body = json!({ "reason": args.reason });
    let answer = client.act(&path, &body, &cell(&means["sentence"])).await?;
    super::print(common, &answer, |answer| {
        match answer["approval"].is_null() {
            true => println!("ended as {}", cell(&answer["outcome"])),
            false => println!("waits as approval {}", cell(&answer["approval"])),
        };
    });
    super::approval::waits(&answer["approval"])
}
