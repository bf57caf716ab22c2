//! `mdmd world`: the simulated Apple alone, on loopback, until it is told to end. It holds an organisation with two
//! service entries and as many devices as wanted, and writes the credentials with which any client may ask it. It plays no
//! device, and it is never reachable from another machine.

mod knobs;
mod papers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use fixtures::apple::organisation::OrganisationKind;
use fixtures::apple::{Apple, AppleConfig, LicenceSeed};
use fixtures::clock::WorldClock;
use fixtures::openid::{OpenIdConfig, OpenIdPerson, OpenIdProvider};
use mdm_core::clock::{Clock as _, SystemClock};
use openssl::x509::X509;
use tokio::signal::unix::{SignalKind, signal};

use self::knobs::Knobs;
use self::papers::Papers;
use super::{Common, Done, Exit, Means as _};

/// How often the world's clock follows the computer's.
const TICK: Duration = Duration::from_millis(20);
/// How often notifications are carried.
const CARRY: Duration = Duration::from_secs(1);
/// Lines of the ledger that are kept.
const LEDGER: usize = 10_000;

/// The name of the service entry that devices leave.
const ORIGINAL: &str = "Original MDM";
/// The name of the one that they join.
const DESTINATION: &str = "Destination MDM";

/// Which service entry has the devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum At {
    /// The one that they leave.
    #[default]
    Original,
    /// The one that they join.
    Destination,
}

/// Starts a simulated Apple on loopback, for any client.
#[derive(clap::Args, Debug)]
pub(crate) struct World {
    /// Where addresses and credentials are written; nothing there is overwritten.
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
    /// How many devices the organisation has; they weigh nothing until they are changed.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    devices: u32,
    /// Which service entry has them.
    #[arg(long, value_enum, default_value_t = At::Original)]
    at: At,
    /// One seed makes one organisation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An Apple School Manager instead of Apple Business.
    #[arg(long)]
    school: bool,
    /// The certificate (PEM) for which the server tokens are encrypted; without it a key pair is made and written.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Licences of an app: so many, or without a number a free app.
    #[arg(long = "licences", value_name = "ADAM_ID[=COUNT]")]
    licences: Vec<String>,
    /// A certificate (PEM) to trust when notifications of Apps and Books are carried.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    knobs: Knobs,
}

/// Runs it until SIGTERM or SIGINT.
pub(crate) async fn run(common: &Common, args: &World) -> Done {
    let roots = args.trust.as_deref().map(trusted).transpose()?;
    let licences = args.licences.iter().map(|text| licence(text));
    let licences: Vec<LicenceSeed> = licences.collect::<Result<_, _>>().means(Exit::BadInput)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let clock = WorldClock::new(SystemClock.now().as_millis());
    let mut config = AppleConfig::new(clock.clone(), args.seed);
    if args.school {
        config.kind = OrganisationKind::School;
    }
    config.habits.ledger = LEDGER;
    args.knobs.turn(&mut config.habits).means(Exit::BadInput)?;
    let apple = Apple::start(config).await?;
    args.knobs.tell(&apple).means(Exit::BadInput)?;
    let (original, destination) = (apple.add_server(ORIGINAL), apple.add_server(DESTINATION));
    let has_devices = match args.at {
        At::Original => &original,
        At::Destination => &destination,
    };
    apple.add_crowd(has_devices, u64::from(args.devices));
    for licence in &licences {
        apple.buy_licences(licence);
    }
    let openid = OpenIdProvider::start(OpenIdConfig::new(clock.clone())).await?;
    openid.sign_in_as(Some(OpenIdPerson {
        subject: "admin".to_owned(),
        email: "admin@world.test".to_owned(),
        name: "Ada Admin".to_owned(),
        groups: vec!["mdm-admins".to_owned()],
    }));

    let papers = Papers {
        apple: &apple,
        openid: &openid,
        original: &original,
        destination: &destination,
        devices: args.devices,
    };
    let told = papers.write(&args.out, args.certificate.as_deref(), &clock)?;
    super::print(common, &told, |told| {
        for (service, address) in told["addresses"].as_object().into_iter().flatten() {
            println!("{service:<14} {}", super::cell(address));
        }
        println!("credentials    {}", args.out.display());
        println!("ready");
    });

    let follow = async {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tick.tick().await;
            clock.advance_to(SystemClock.now().as_millis());
            apple.run_due();
        }
    };
    let carry = async {
        let mut tick = tokio::time::interval(CARRY);
        loop {
            tick.tick().await;
            match &roots {
                Some(roots) => {
                    apple.deliver_licence_notifications(roots.clone()).await;
                }
                // Nobody could be reached: they must not pile up.
                None => drop(apple.take_licence_notifications()),
            }
            // No device listens here.
            drop(apple.take_notices());
        }
    };
    tokio::select! {
        () = follow => {}
        () = carry => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    apple.stop().await;
    openid.stop().await;
    Ok(())
}

fn trusted(path: &std::path::Path) -> Result<Vec<Vec<u8>>, super::Ended> {
    let read = || -> anyhow::Result<Vec<Vec<u8>>> {
        let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
        let found = X509::stack_from_pem(&pem)?;
        anyhow::ensure!(
            !found.is_empty(),
            "{}: holds no certificate (PEM)",
            path.display()
        );
        Ok(found.iter().map(|c| c.to_der()).collect::<Result<_, _>>()?)
    };
    read().means(Exit::BadInput)
}

/// `ADAM_ID` or `ADAM_ID=COUNT`.
fn licence(text: &str) -> anyhow::Result<LicenceSeed> {
    let (adam_id, count) = match text.split_once('=') {
        None => (text, None),
        Some((adam_id, count)) => {
            let count = count
                .parse()
                .with_context(|| format!("--licences {text}"))?;
            (adam_id, Some(count))
        }
    };
    if adam_id.is_empty() || !adam_id.bytes().all(|b| b.is_ascii_digit()) {
        return Err(anyhow!("--licences {text}: an identifier has digits only"));
    }
    Ok(LicenceSeed::app(adam_id, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_counted_or_free() {
        assert_eq!(licence("361309726=7").unwrap().count, Some(7));
        assert_eq!(licence("361309726").unwrap().count, None);
        for wrong in ["", "app=7", "1=x", "=7"] {
            assert!(licence(wrong).is_err(), "{wrong}");
        }
    }
}
