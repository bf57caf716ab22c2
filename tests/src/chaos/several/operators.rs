//! People who plan waves, have them looked at, accept and submit them, and then give more time, call some back, or let them go;
//! each through whichever server, and each wave for devices of its own. What they wanted is kept for the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use fixtures::clock::{DAY, HOUR, MINUTE, WorldClock, rfc3339};
use mdm_core::device::Platform;
use mdm_core::migration::{PinnedRunbook, Variant};
use serde_json::{Value, json};

use super::super::rng::Rng;
use super::api::{Api, Said, Tally};

/// Activities of Apple's, as its ledger names them.
pub(super) const ASSIGN: &str = "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE";
pub(super) const UPDATE: &str = "UPDATE_MDM_MIGRATION_DEADLINE";
pub(super) const CANCEL: &str = "CANCEL_MDM_MIGRATION";

/// States of a member that nobody has submitted.
pub(super) const UNSENT: [&str; 3] = ["planned", "ready", "blocked"];
/// Between two looks at something that takes Apple a while.
const LOOK: Duration = Duration::from_millis(500);
/// How often something is planned anew whose plan was overtaken.
const TRIES: usize = 60;
/// From the plan to the offer, and from the offer to the deadline, in ms.
const OFFER: i64 = HOUR;
const NOTICE: i64 = 90 * MINUTE;
/// What Apple has not taken after so long is stuck, in ms.
const STUCK: i64 = 2 * DAY;

/// How often a device may be named to Apple in one kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) least: usize,
    pub(super) most: usize,
}

/// What operators wanted of Apple, by activity and serial number.
#[derive(Default)]
pub(super) struct Wanted {
    times: Mutex<BTreeMap<(&'static str, String), Times>>,
    /// Devices whose return is proved.
    returned: Mutex<BTreeSet<String>>,
    submitted: Mutex<BTreeSet<String>>,
    pub(super) waves: Mutex<Vec<Value>>,
}

pub(super) fn whole<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Only whole values are put in under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wanted {
    fn once(&self, what: &'static str, serial: &str, least: usize) {
        let mut all = whole(&self.times);
        let times = all.entry((what, serial.to_owned())).or_default();
        times.least += least;
        times.most += 1;
    }

    fn proved(&self, what: &'static str, serial: &str) {
        let mut all = whole(&self.times);
        if let Some(times) = all.get_mut(&(what, serial.to_owned())) {
            times.least = times.most;
        }
        if what == CANCEL {
            whole(&self.returned).insert(serial.to_owned());
        }
    }

    pub(super) fn times(&self) -> BTreeMap<(&'static str, String), Times> {
        whole(&self.times).clone()
    }

    /// Devices that were sent to Apple and not called back.
    pub(super) fn going(&self) -> BTreeSet<String> {
        let called: BTreeSet<String> = whole(&self.times)
            .keys()
            .filter(|(what, _)| *what == CANCEL)
            .map(|(_, serial)| serial.clone())
            .collect();
        &*whole(&self.submitted) - &called
    }

    pub(super) fn submitted(&self) -> BTreeSet<String> {
        whole(&self.submitted).clone()
    }

    pub(super) fn returned(&self) -> BTreeSet<String> {
        whole(&self.returned).clone()
    }
}

/// One of the people.
pub(super) struct Operator<'a> {
    pub(super) name: &'static str,
    pub(super) api: Api<'a>,
    /// Somebody else's, for what takes two.
    pub(super) other: Api<'a>,
    pub(super) tally: &'a Tally,
    pub(super) wanted: &'a Wanted,
    pub(super) clock: WorldClock,
    pub(super) rng: Rng,
    /// Of its projects, by platform; nothing for those that come with the server.
    pub(super) runbooks: Value,
}

impl Operator<'_> {
    /// Works its share of the waves off, each when it is `due` and the one before it is done, until it is over.
    pub(super) async fn run(
        &mut self,
        share: &[Vec<String>],
        due: impl Fn(usize) -> bool,
        over: &AtomicBool,
    ) -> anyhow::Result<()> {
        for (nth, serials) in share.iter().enumerate() {
            while !due(nth) && !over.load(Ordering::SeqCst) {
                tokio::time::sleep(LOOK).await;
            }
            if over.load(Ordering::SeqCst) && nth > 0 {
                break;
            }
            let name = format!("{} {}", self.name, nth + 1);
            let tally = self.tally;
            tally.at_work.fetch_add(1, Ordering::Relaxed);
            let worked = self.wave(&name, serials).await;
            tally.at_work.fetch_sub(1, Ordering::Relaxed);
            worked.with_context(|| format!("the wave {name}"))?;
        }
        Ok(())
    }

    fn wrong(&self, what: String) {
        self.tally.wrong(what);
    }

    async fn wave(&mut self, name: &str, serials: &[String]) -> anyhow::Result<()> {
        if self.rng.below(3) == 0 {
            // It changes what the others' what-ifs were about.
            self.api.done("/api/v1/inventory/pull", &json!({})).await?;
        }
        let Some((wave, members)) = self.plan(name, serials).await? else {
            return Ok(());
        };
        if !self.submit(name, &wave).await? {
            return Ok(());
        }
        let path = format!("/api/v1/waves/{}", text(&wave));
        let shown = self.api.get(&path).await?;
        whole(&self.wanted.waves).push(wave.clone());
        let in_it = |(serial, _): &(String, String)| members.contains(serial);
        for (serial, state) in states(&shown).into_iter().filter(in_it) {
            if UNSENT.contains(&state.as_str()) {
                self.wrong(format!("{name}: {serial} was submitted and is {state}"));
                continue;
            }
            whole(&self.wanted.submitted).insert(serial.clone());
            self.wanted.once(ASSIGN, &serial, 1);
        }
        if !self.taken(name, &path).await? {
            return Ok(());
        }
        match self.rng.below(3) {
            0 => {
                let later = rfc3339(self.clock.now_ms() + OFFER + 2 * NOTICE);
                let body = json!({ "act": "extend", "wave": wave, "deadline": later });
                self.act(name, body, UPDATE, &members).await
            }
            1 => {
                let some = &members[..members.len().div_ceil(2)];
                let body = json!({ "act": "cancel", "serials": some });
                self.act(name, body, CANCEL, some).await
            }
            // They go.
            _ => Ok(()),
        }
    }

    /// A project and a wave of its own for these devices; one of them is taken out again. Answers the wave's number and who is in it.
    async fn plan(
        &mut self,
        name: &str,
        serials: &[String],
    ) -> anyhow::Result<Option<(Value, Vec<String>)>> {
        let never = json!({ "failed": 1_000_000, "failed_percent": 100, "long_holds": 1_000_000, "expiries": false });
        let mut body = json!({ "name": name, "capacity": 1000, "stop": never });
        if !self.runbooks.is_null() {
            body["runbooks"] = self.runbooks.clone();
        }
        let project = self
            .made("/api/v1/projects", "projects", name, &body)
            .await?;
        let on = format!("/api/v1/projects/{}/switch", text(&project));
        self.api.done(&on, &json!({ "on": true })).await?;
        let body = json!({ "project": project, "name": name });
        let wave = self.made("/api/v1/waves", "waves", name, &body).await?;
        let path = format!("/api/v1/waves/{}/members", text(&wave));
        let offer = self.clock.now_ms() + OFFER;
        let body = json!({
            "serials": serials, "available_from": rfc3339(offer), "deadline": rfc3339(offer + NOTICE),
        });
        self.api.done(&path, &body).await?;
        let mut members = serials.to_vec();
        if members.len() > 1 && self.rng.below(3) == 0 {
            let out: Vec<String> = members.split_off(members.len() - 1);
            let body = json!({ "serials": out, "reason": "another time" });
            self.api.done(&format!("{path}/remove"), &body).await?;
        }
        let shown = self
            .api
            .get(&format!("/api/v1/waves/{}", text(&wave)))
            .await?;
        let there: BTreeSet<String> = states(&shown)
            .into_iter()
            .filter(|(_, state)| state != "ended")
            .map(|(serial, _)| serial)
            .collect();
        if there != members.iter().cloned().collect() {
            self.wrong(format!(
                "{name}: its members are {there:?}, and were to be {members:?}"
            ));
            return Ok(None);
        }
        Ok(Some((wave, members)))
    }

    /// Makes something with a name, and answers its number.
    async fn made(
        &mut self,
        path: &str,
        list: &str,
        name: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        if let Some(made) = self.api.done(path, body).await? {
            return Ok(made["id"].clone());
        }
        // It is there; its number was lost with the answer.
        let mut after = "0".to_owned();
        loop {
            let page = format!("{path}?limit=1000&after={after}");
            let all = self.api.get(&page).await?;
            let rows: Vec<&Value> = all[list].as_array().into_iter().flatten().collect();
            if let Some(row) = rows.iter().find(|row| row["name"] == name) {
                return Ok(row["id"].clone());
            }
            match &all["next"] {
                Value::Null => break,
                next => after = text(next),
            }
        }
        anyhow::bail!("POST {path}: {name} was made, as was said, and is not there")
    }

    /// What-if, acceptance, submission; anew when one of them was overtaken.
    async fn submit(&mut self, name: &str, wave: &Value) -> anyhow::Result<bool> {
        let path = format!("/api/v1/waves/{}", text(wave));
        let mut last = Value::Null;
        let (mut tries, offer) = (0, self.clock.now_ms() + OFFER);
        // What blocks goes by the world's time, which may pass slowly: until the offer it can still come right.
        while tries < TRIES || self.clock.now_ms() < offer {
            tries += 1;
            let asked = self
                .api
                .post(&format!("{path}/what-if"), &json!({}))
                .await?;
            let what_if = match asked {
                Said::Answer(200, what_if) => what_if,
                Said::Lost => continue,
                Said::Answer(status, said) => {
                    self.wrong(format!("{name}: its what-if was answered {status}: {said}"));
                    return Ok(false);
                }
            };
            let against: Vec<&Value> = what_if["against_all"]
                .as_array()
                .into_iter()
                .flatten()
                .collect();
            let blocked = what_if["blockers"]
                .as_object()
                .is_some_and(|b| !b.is_empty());
            if blocked || !against.is_empty() {
                // A device list that is not read yet is read soon.
                last = json!({ "blockers": what_if["blockers"], "against_all": against });
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let body = json!({ "digest": what_if["digest"], "reason": "as planned" });
            match self.api.post(&format!("{path}/acceptance"), &body).await? {
                Said::Answer(200, _) | Said::Lost => {}
                Said::Answer(409, said) => {
                    last = said;
                    continue;
                }
                Said::Answer(status, said) => {
                    self.wrong(format!("{name}: acceptance was answered {status}: {said}"));
                    return Ok(false);
                }
            }
            let body = json!({ "name": name });
            match self.api.post(&format!("{path}/submission"), &body).await? {
                Said::Answer(200, _) | Said::Lost => return Ok(true),
                Said::Answer(409, said) => last = said,
                Said::Answer(status, said) => {
                    self.wrong(format!("{name}: submission was answered {status}: {said}"));
                    return Ok(false);
                }
            }
        }
        self.wrong(format!("{name}: cannot be submitted: {last}"));
        Ok(false)
    }

    /// Waits until Apple shows every member as it was to be.
    async fn taken(&mut self, name: &str, path: &str) -> anyhow::Result<bool> {
        let end = self.clock.now_ms() + STUCK;
        loop {
            let shown = self.api.get(path).await?;
            let waiting: Vec<_> = states(&shown)
                .into_iter()
                .filter(|(_, state)| ["ready", "submitting"].contains(&state.as_str()))
                .collect();
            if waiting.is_empty() {
                return Ok(true);
            }
            if self.clock.now_ms() > end {
                self.wrong(format!(
                    "{name}: its submission is stuck for days: {waiting:?}"
                ));
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Plans an act, does what was planned, and waits for its proof.
    async fn act(
        &mut self,
        name: &str,
        body: Value,
        what: &'static str,
        serials: &[String],
    ) -> anyhow::Result<()> {
        let mut last = Value::Null;
        for _ in 0..TRIES {
            let plan = match self.api.post("/api/v1/migrations/plan", &body).await? {
                Said::Answer(200, plan) => plan,
                Said::Lost => continue,
                Said::Answer(status, said) => {
                    self.wrong(format!(
                        "{name}: the plan of {what} was answered {status}: {said}"
                    ));
                    return Ok(());
                }
            };
            let left_out = |serial: &&String| plan["findings"].get(serial.as_str()).is_none();
            let meant: Vec<&String> = serials.iter().filter(left_out).collect();
            if meant.is_empty() {
                // All of them have begun meanwhile.
                return Ok(());
            }
            let mut doing = body.clone();
            doing["digest"] = plan["digest"].clone();
            let done = match self.api.post("/api/v1/migrations", &doing).await? {
                Said::Answer(200, done) => Some(done),
                Said::Lost => None,
                // Overtaken: planned anew.
                Said::Answer(409, said) => {
                    last = said;
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Said::Answer(status, said) => {
                    self.wrong(format!("{name}: {what} was answered {status}: {said}"));
                    return Ok(());
                }
            };
            for serial in &meant {
                self.wanted.once(what, serial, 0);
            }
            let done = match done {
                Some(done) if done["approval"].is_null() => done,
                Some(done) => {
                    let path = format!("/api/v1/approvals/{}/confirm", text(&done["approval"]));
                    let confirmed = self.other.post(&path, &json!({})).await?;
                    match confirmed {
                        Said::Answer(200, confirmed) => confirmed["done"].clone(),
                        // Overtaken while it waited: nothing was done, or nobody knows.
                        _ => return Ok(()),
                    }
                }
                // It may be done or not, and at most once.
                None => return Ok(()),
            };
            return self.prove(name, what, &done).await;
        }
        self.wrong(format!("{name}: {what} is never done: {last}"));
        Ok(())
    }

    async fn prove(&mut self, name: &str, what: &'static str, done: &Value) -> anyhow::Result<()> {
        let errands: Vec<String> = done["errands"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        if errands.is_empty() {
            return Ok(());
        }
        let path = format!("/api/v1/migrations/proof?errands={}", errands.join(","));
        let end = self.clock.now_ms() + STUCK;
        loop {
            let proof = self.api.get(&path).await?;
            if proof["finished"] == true {
                for serial in proof["proved"].as_array().into_iter().flatten() {
                    self.wanted.proved(what, &text(serial));
                }
                return Ok(());
            }
            if self.clock.now_ms() > end {
                self.wrong(format!("{name}: {what} is stuck for days: {proof}"));
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The standard runbooks, with an Activation Lock: to ask for one is an act with a code of its own.
pub(super) fn locking() -> anyhow::Result<Value> {
    let runbooks = [Platform::Ios, Platform::Ipados, Platform::Macos].map(|platform| {
        let mut runbook = PinnedRunbook::standard(platform, Variant::Migration);
        runbook.lock = true;
        (platform, runbook)
    });
    Ok(serde_json::to_value(BTreeMap::from(runbooks))?)
}

/// An id, whether it is written as a number or as a string.
pub(super) fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The members of a wave with the words of their states.
pub(super) fn states(shown: &Value) -> Vec<(String, String)> {
    let members = shown["members"].as_array().into_iter().flatten();
    members
        .map(|member| (text(&member["serial"]), word(&member["state"])))
        .collect()
}

/// The word of a state, with or without something in it.
fn word(state: &Value) -> String {
    let named = state.as_object().and_then(|object| object.keys().next());
    named.cloned().unwrap_or_else(|| text(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_may_be_done_and_what_is_proved_must_have_been() {
        let wanted = Wanted::default();
        wanted.once(ASSIGN, "A", 1);
        wanted.once(CANCEL, "A", 0);
        let of = |what: &'static str| wanted.times()[&(what, "A".to_owned())];
        assert_eq!(of(ASSIGN), Times { least: 1, most: 1 });
        assert_eq!(of(CANCEL), Times { least: 0, most: 1 });
        wanted.proved(CANCEL, "A");
        assert_eq!(of(CANCEL), Times { least: 1, most: 1 });
        assert!(wanted.returned().contains("A"));
    }

    #[test]
    fn a_state_has_a_word() {
        assert_eq!(word(&json!("planned")), "planned");
        assert_eq!(
            word(&json!({ "submitting": { "since": "x" } })),
            "submitting"
        );
    }
}
