//! What is held against the run when everything has come to its end: the requests that Apple had, where the devices of the world
//! are, and whether the servers tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fixtures::apple::ledger::{LedgerEntry, Service};
use fixtures::clock::{DAY, MINUTE};
use fixtures::verdict::Whereabouts;
use fixtures::world::World;
use mdm_core::ids::Serial;
use mdm_core::secret::SecretKind;
use mdm_core::service::{Org, Revealed};
use serde_json::{Value, json};

use super::api::Api;
use super::operators::{ASSIGN, CANCEL, Times, UNSENT, UPDATE, Wanted, states, text};

/// What has not ended by itself after so long is stuck, in ms.
const STUCK: i64 = 10 * DAY;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often all of it is asked until the servers tell the same: what one is at when time stops, it still writes down.
const TRIES: usize = 30;

/// Waits until every migration has ended and nobody is in a hold. Answers what is stuck.
pub(super) async fn ended(
    api: &mut Api<'_>,
    world: &World,
    wanted: &Wanted,
) -> anyhow::Result<Vec<String>> {
    let end = world.clock().now_ms() + STUCK;
    let submitted = wanted.submitted();
    loop {
        let mut open = Vec::new();
        let holds = api.get("/api/v1/holds?limit=1000").await?;
        for hold in holds["holds"].as_array().into_iter().flatten() {
            open.push(format!(
                "{}: its hold goes on, in {}",
                text(&hold["serial"]),
                hold["state"]
            ));
        }
        for row in status(api, submitted.iter()).await? {
            if row["ended"].is_null() {
                open.push(format!(
                    "{}: its migration goes on, {}",
                    text(&row["serial"]),
                    row["state"]
                ));
            }
        }
        if open.is_empty() {
            return Ok(open);
        }
        if world.clock().now_ms() > end {
            return Ok(open);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn status(
    api: &mut Api<'_>,
    serials: impl Iterator<Item = &String>,
) -> anyhow::Result<Vec<Value>> {
    let serials: Vec<&String> = serials.collect();
    if serials.is_empty() {
        // It would mean all that are open.
        return Ok(Vec::new());
    }
    let body = json!({ "serials": serials });
    let shown = api.done("/api/v1/migrations/status", &body).await?;
    let rows = shown
        .as_ref()
        .and_then(|shown| shown["migrations"].as_array());
    Ok(rows.cloned().unwrap_or_default())
}

/// How often each device was named in requests of each kind that Apple took.
fn named(ledger: &[LedgerEntry]) -> BTreeMap<(&'static str, String), usize> {
    let mut named: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
    for entry in ledger {
        let what = [ASSIGN, UPDATE, CANCEL];
        let what = what.into_iter().find(|what| *what == entry.about);
        let taken = entry.method == "POST" && (200..300).contains(&entry.status);
        if let (Some(what), true) = (what, taken) {
            for serial in &entry.serials {
                *named.entry((what, serial.clone())).or_default() += 1;
            }
        }
    }
    named
}

/// Devices that were named twice in requests of one kind: nobody wants anything twice here, so that can be said while it goes on.
pub(super) fn repeated(ledger: &[LedgerEntry]) -> Vec<String> {
    let named = named(ledger).into_iter();
    let twice = named.filter(|(_, count)| *count > 1);
    twice
        .map(|((what, serial), count)| format!("{serial}: Apple had {what} for it {count} times"))
        .collect()
}

/// How often each device was named in requests that Apple took, against what operators wanted.
pub(super) fn acts(
    ledger: &[LedgerEntry],
    times: &BTreeMap<(&'static str, String), Times>,
) -> Vec<String> {
    let named = named(ledger);
    let mut wrong = Vec::new();
    for ((what, serial), count) in &named {
        let wanted = times.get(&(what, serial.clone())).copied();
        let wanted = wanted.unwrap_or_default();
        if *count > wanted.most {
            wrong.push(format!(
                "{serial}: Apple had {what} for it {count} times, and it was wanted {} times",
                wanted.most
            ));
        }
    }
    for ((what, serial), wanted) in times {
        let count = named.get(&(what, serial.clone())).copied().unwrap_or(0);
        if count < wanted.least {
            wrong.push(format!(
                "{serial}: Apple had {what} for it {count} times, and it was wanted {} times",
                wanted.least
            ));
        }
    }
    wrong
}

/// What Apple was asked for over a run, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acts {
    /// Devices that were named in requests about their migrations.
    pub migrations: usize,
    /// Devices that were given a profile,
    pub profiles: usize,
    /// and of these such that had this very profile already, for which Apple does nothing.
    pub again: usize,
    /// Devices that were locked,
    pub locks: usize,
    /// and requests for a lock of a device that was locked already, which change nothing.
    pub locked: usize,
    /// Pushes to devices of the world,
    pub pushes: usize,
    /// and the most of them for one device within a minute.
    pub most: usize,
}

impl Acts {
    /// In words, of Apple.
    pub(super) fn told(&self) -> String {
        format!(
            "was asked for {} migrations and gave {} profiles ({} of them a second time), made {} locks (and {} times there was \
             one), took {} pushes (at most {} for one device in a minute)",
            self.migrations,
            self.profiles,
            self.again,
            self.locks,
            self.locked,
            self.pushes,
            self.most
        )
    }
}

/// The profiles that one device may be given: that of its service entry, and that of those who move.
const PROFILES: usize = 2;
/// More pushes for one device in a minute are a storm.
const STORM: usize = 30;

/// What Apple says of a lock that this very request made.
const LOCKED: &str = "SUCCESS";

fn is_lock(entry: &LedgerEntry) -> bool {
    entry.service == Service::Assignment && entry.path == "/device/activationlock"
}

/// Whether each lock that was made at Apple opens with the code that is kept of it, however often it was asked for: a second code
/// that replaces the first would open nothing.
pub(super) async fn locks(
    world: &World,
    org: &Org,
    ledger: &[LedgerEntry],
) -> anyhow::Result<Vec<String>> {
    let made = ledger.iter().filter(|e| is_lock(e) && e.about == LOCKED);
    let made: BTreeSet<&String> = made.flat_map(|entry| &entry.serials).collect();
    let mut wrong = Vec::new();
    for verdict in world.verdicts().await {
        if !made.contains(&verdict.serial) {
            continue;
        }
        let serial = Serial::parse(&verdict.serial)?;
        // Somebody else for each device: nobody looks at more than a few.
        let judge = org.clone().acting_for(&format!("verdict on {serial}"));
        let shown = judge.reveal(
            &serial,
            SecretKind::ServerBypassCode,
            "the run is over",
            None,
        );
        let opens = match shown.await {
            Ok(Revealed::Shown(code)) => code
                .expose_text()
                .is_some_and(|code| verdict.lock_opens_with(code)),
            _ => false,
        };
        if !opens {
            wrong.push(format!(
                "{serial}: it is locked at Apple, and no code that is kept opens the lock"
            ));
        }
    }
    Ok(wrong)
}

/// The figures, and what of it does harm when it is done twice.
pub(super) fn figures(ledger: &[LedgerEntry]) -> (Acts, Vec<String>) {
    let migrations = named(ledger).into_values().sum();
    let mut acts = Acts {
        migrations,
        ..Acts::default()
    };
    let mut locks: BTreeSet<&str> = BTreeSet::new();
    let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut pushed: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in ledger.iter().filter(|e| (200..300).contains(&e.status)) {
        let assigns = entry.service == Service::Assignment
            && entry.method != "DELETE"
            && entry.path == "/profile/devices";
        for serial in &entry.serials {
            if assigns {
                let had = given.entry(serial).or_default();
                acts.profiles += 1;
                acts.again += usize::from(had.last() == Some(&&*entry.about));
                had.push(&entry.about);
            }
            if is_lock(entry) && entry.about == LOCKED {
                acts.locks += 1;
                if !locks.insert(serial) {
                    wrong.push(format!("{serial}: it was locked twice"));
                }
            } else if is_lock(entry) {
                acts.locked += 1;
            }
            if entry.service == Service::Push {
                acts.pushes += 1;
                pushed.entry(serial).or_default().push(entry.at_ms);
            }
        }
    }
    for (serial, mut profiles) in given {
        profiles.sort_unstable();
        profiles.dedup();
        if profiles.len() > PROFILES {
            let count = profiles.len();
            wrong.push(format!("{serial}: it was given {count} different profiles"));
        }
    }
    for (serial, mut times) in pushed {
        times.sort_unstable();
        let within = |(nth, first): (usize, &i64)| {
            let last = times.partition_point(|at| *at < first + MINUTE);
            last - nth
        };
        let most = times.iter().enumerate().map(within).max().unwrap_or(0);
        acts.most = acts.most.max(most);
        if most > STORM {
            wrong.push(format!("{serial}: {most} pushes within a minute"));
        }
    }
    (acts, wrong)
}

/// Whether everything that was submitted, as was said, still is.
pub(super) async fn kept(api: &mut Api<'_>, wanted: &Wanted) -> anyhow::Result<Vec<String>> {
    let waves = super::operators::whole(&wanted.waves).clone();
    let submitted = wanted.submitted();
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for wave in waves {
        let shown = api.get(&format!("/api/v1/waves/{}", text(&wave))).await?;
        for (serial, state) in states(&shown) {
            if !submitted.contains(&serial) {
                continue;
            }
            if UNSENT.contains(&state.as_str()) {
                wrong.push(format!("{serial}: it was submitted, and is {state}"));
            }
            found.insert(serial);
        }
    }
    let gone = submitted.difference(&found);
    wrong.extend(gone.map(|serial| format!("{serial}: it was submitted, and is in no wave")));
    Ok(wrong)
}

/// Requests that Apple's organisation API put off because its budget was spent.
pub(super) fn throttled(ledger: &[LedgerEntry]) -> usize {
    let throttled =
        |entry: &&LedgerEntry| entry.service == Service::Business && entry.status == 429;
    ledger.iter().filter(throttled).count()
}

/// Where every device of the world is, against what became of it.
pub(super) async fn places(world: &World, wanted: &Wanted) -> Vec<String> {
    let (going, submitted, returned) = (wanted.going(), wanted.submitted(), wanted.returned());
    let mut wrong = Vec::new();
    for verdict in world.verdicts().await {
        let (serial, at) = (&verdict.serial, verdict.whereabouts);
        let server = world.apple().assigned_server(serial);
        let server = server.as_deref();
        let (original, ours) = (world.original_server(), world.destination_server());
        let fits = match (going.contains(serial), returned.contains(serial)) {
            (true, _) => at == Whereabouts::Free && server == Some(ours),
            (false, true) => at == Whereabouts::WithOriginal && server == Some(original),
            // Called back, and it had begun or not: it is at one of both ends.
            (false, false) if submitted.contains(serial) => {
                at == Whereabouts::Free && server == Some(ours)
                    || at == Whereabouts::WithOriginal && server == Some(original)
            }
            (false, false) => at == Whereabouts::WithOriginal && server == Some(original),
        };
        if !fits || verdict.erased {
            wrong.push(format!(
                "{serial}: it is {}{}, assigned to {}; submitted {}, its return proved {}",
                at.name(),
                if verdict.erased { " and erased" } else { "" },
                if server == Some(ours) {
                    "us"
                } else {
                    "its original"
                },
                submitted.contains(serial),
                returned.contains(serial)
            ));
        }
    }
    wrong
}

/// Whether all servers tell the same of everything. The world's time stands still meanwhile.
pub(super) async fn same(apis: &mut [Api<'_>], wanted: &Wanted) -> anyhow::Result<Vec<String>> {
    let mut paths: Vec<String> = [
        "projects",
        "waves?limit=1000",
        "requests?limit=1000",
        "devices?limit=1000",
        "holds?limit=1000",
        "inventory/views?limit=1000",
        "approvals?limit=1000",
    ]
    .map(|path| format!("/api/v1/{path}"))
    .into();
    for wave in super::operators::whole(&wanted.waves).iter() {
        paths.push(format!("/api/v1/waves/{}", text(wave)));
        paths.push(format!("/api/v1/waves/{}/standing", text(wave)));
    }
    let submitted = wanted.submitted();
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        wrong.clear();
        for path in &paths {
            let mut told = Vec::new();
            for api in apis.iter_mut() {
                told.push(api.get(path).await?);
            }
            wrong.extend(otherwise(path, &told));
        }
        let mut told = Vec::new();
        for api in apis.iter_mut() {
            told.push(Value::Array(status(api, submitted.iter()).await?));
        }
        wrong.extend(otherwise("/api/v1/migrations/status", &told));
        if wrong.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(wrong)
}

/// Where somebody tells otherwise than the first.
fn otherwise(path: &str, told: &[Value]) -> Option<String> {
    let (first, others) = told.split_first()?;
    let other = others.iter().position(|value| value != first)?;
    let place = difference(first, &others[other])?;
    let short = |value: &Value| -> String {
        let at = value.pointer(&place).unwrap_or(&Value::Null);
        at.to_string().chars().take(200).collect()
    };
    Some(format!(
        "{path}: at \"{place}\" server 1 tells {}, and server {} tells {}",
        short(first),
        other + 2,
        short(&others[other])
    ))
}

/// The first place in which two values differ, as a JSON pointer.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let inside = |key: &str, a: &Value, b: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        difference(a, b).map(|rest| format!("/{key}{rest}"))
    };
    match (one, other) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            let mut pairs = a
                .iter()
                .filter_map(|(key, value)| inside(key, value, b.get(key).unwrap_or(&Value::Null)));
            pairs.next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            let mut found = pairs.filter_map(|(n, (a, b))| inside(&n.to_string(), a, b));
            found.next()
        }
        _ => (one != other).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(about: &str, status: u16, serials: &[&str]) -> LedgerEntry {
        LedgerEntry {
            service: Service::Business,
            method: "POST".to_owned(),
            path: "/v1/orgDeviceActivities".to_owned(),
            serials: serials.iter().map(|s| (*s).to_owned()).collect(),
            about: about.to_owned(),
            at_ms: 0,
            status,
            trouble: None,
        }
    }

    #[test]
    fn who_tells_otherwise_is_told_with_the_place() {
        let one = json!({ "waves": [{ "id": "1", "state": "draft" }] });
        let other = json!({ "waves": [{ "id": "1", "state": { "submitted": {} } }] });
        assert_eq!(otherwise("p", &[one.clone(), one.clone()]), None);
        let said = otherwise("p", &[one.clone(), one, other]).unwrap();
        assert!(
            said.contains("/waves/0/state") && said.contains("server 3"),
            "{said}"
        );
    }

    #[test]
    fn a_profile_again_does_nothing_and_a_third_one_or_a_storm_of_pushes_is_told() {
        let given = |about: &str| LedgerEntry {
            service: Service::Assignment,
            path: "/profile/devices".to_owned(),
            ..entry(about, 200, &["A"])
        };
        let push = |at_ms: i64| LedgerEntry {
            service: Service::Push,
            path: "/3/device".to_owned(),
            at_ms,
            ..entry("", 200, &["A"])
        };
        let mut ledger = vec![given("one"), given("one"), given("two"), given("one")];
        ledger.extend((0..30).map(|n| push(n * 2_000)));
        ledger.push(push(90_000));
        let (acts, wrong) = figures(&ledger);
        assert_eq!((acts.profiles, acts.again), (4, 1));
        assert_eq!((acts.pushes, acts.most), (31, 30));
        assert_eq!(wrong, [""; 0]);
        ledger.extend([given("three"), push(59_999)]);
        let lock = |about: &str| LedgerEntry {
            path: "/device/activationlock".to_owned(),
            ..given(about)
        };
        ledger.extend([lock("SUCCESS"), lock("DEVICE_ALREADY_LOCKED")]);
        let (acts, wrong) = figures(&ledger);
        assert_eq!((acts.locks, acts.locked), (1, 1));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        ledger.push(lock("SUCCESS"));
        assert_eq!(figures(&ledger).1.len(), 3);
        assert_eq!(repeated(&ledger), [""; 0]);
        let taken = entry(ASSIGN, 201, &["A"]);
        assert_eq!(repeated(&[taken.clone(), taken]).len(), 1);
    }

    #[test]
    fn twice_is_once_too_often_and_never_is_too_seldom() {
        let once = Times { least: 1, most: 1 };
        let maybe = Times { least: 0, most: 1 };
        let times = |times| BTreeMap::from([((ASSIGN, "A".to_owned()), times)]);
        let taken = entry(ASSIGN, 201, &["A"]);
        let found = |ledger: &[LedgerEntry], wanted| acts(ledger, &times(wanted)).len();
        assert_eq!(found(std::slice::from_ref(&taken), once), 0);
        assert_eq!(found(&[taken.clone(), entry(ASSIGN, 429, &["A"])], once), 0);
        assert_eq!(found(&[], maybe), 0);
        assert_eq!(found(&[], once), 1);
        assert_eq!(found(&[taken.clone(), taken.clone()], once), 1);
        assert_eq!(found(&[taken.clone(), taken], maybe), 1);
        assert_eq!(
            found(&[entry(ASSIGN, 201, &["A", "B"])], once),
            1,
            "nobody wanted B"
        );
    }
}
