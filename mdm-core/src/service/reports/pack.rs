//! The evidence pack of a wave: approvals, requests with Apple's raw answers, before and after of every device, reports, and the chain of the whole
//! record with the entries that are of this wave. Made a page at a time; holds no secret, and with pseudonyms neither devices nor people.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::PAGE;
use super::about::About;
use super::approved::only_members;
use super::page::MemberRows;
use crate::audit::AuditEntry;
use crate::audit_seal::AuditSeal;
use crate::error::Error;
use crate::evidence::pack::{
    EntryPlace, FORMAT, MakeReport, Manifest, PackAsk, PackSink, PackedEntry, Packer, Redact,
    Redaction, ReportText, WholeEntry, Word,
};
use crate::evidence::{ReportAsk, ReportHead, ReportRow, ReportSink};
use crate::gap::GapGroup;
use crate::ids::{
    AcceptedId, AuditId, AuditSealId, DeviceId, ErrandId, MoveId, RunbookId, Serial, WaveId,
};
use crate::migration::{GROUP, Move, visible_state};
use crate::original::OriginalFacts;
use crate::service::Org;
use crate::store::Batch;
use crate::wave::Wave;

/// Rows of a report in one file.
const ROWS: usize = 5_000;

const README: &str = "Evidence of one wave of a device migration.\n\n\
Check it, on any machine, without the server that made it:\n\n    mdmd audit verify PACK [--key FINGERPRINT] [--checkpoint FILE]\n\n\
wave.json        the wave, its project, how it stands, the last what-if\n\
accepted/        what was shown to whoever accepted it, under its digest: checks, facts, apps that would be lost, requests (names as long as they are kept)\n\
approvals.json   who accepted what (every time), what was waived and why, who submitted, who signed the gate, what took two persons\n\
runbooks/        what the devices were taken through\n\
requests/        requests to Apple; *.result is Apple's result file as it came\n\
members/         every device: as it was known before, and after\n\
reports/         for people\n\
audit/           the record: entries of this wave and its devices, of all others their places in the chain; the seals, and the newest one\n\
manifest.json    every file with its SHA-256; manifest.sig signs it with the key of the record\n";

/// The pack on its way out.
struct Out<'a> {
    packer: Packer,
    sink: &'a mut dyn PackSink,
    redaction: Redaction,
}

impl Out<'_> {
    async fn put(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let bytes = self.packer.add(name, content)?;
        self.sink.bytes(bytes).await
    }

    /// One object, with pseudonyms where they are wanted.
    async fn object(&mut self, name: &str, mut value: Value) -> Result<(), Error> {
        self.redaction.value(&mut value, &[]);
        self.put(name, format!("{value:#}\n").as_bytes()).await
    }
}

impl Org {
    /// Makes the evidence pack of a wave and hands it to `sink` piece by piece. That it was made is in the record, and in the pack.
    /// A record that somebody has touched is packed as it is, and the manifest says so.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a wave that is not there, before anything is handed over; the vault's, the store's, the sink's.
    pub async fn evidence_to(&self, ask: &PackAsk, sink: &mut dyn PackSink) -> Result<(), Error> {
        let row = self.wave_row(ask.wave).await?;
        let mut batch = Batch::new();
        let detail = json!({ "wave": row.name, "id": row.id, "redacted": ask.redact });
        self.audit_into(&mut batch, "evidence.exported", detail);
        self.store().commit(batch).await?;
        self.leaves(None).await?;
        let record = self.verify_record(None).await?;
        let (public_key, key) = self.audit_key().await?;
        let at = self.now();
        let mut redaction = Redaction::new(ask.redact.iter().copied())?;
        let about = self.about(&row, &mut redaction).await?;
        self.know(&row, &mut redaction).await?;
        let mut out = Out {
            packer: Packer::new(at),
            sink,
            redaction,
        };
        out.put("README.txt", README.as_bytes()).await?;
        let members = self.pack_wave(ask.wave, &mut out).await?;
        self.pack_accepted(ask.wave, &mut out).await?;
        self.pack_runbooks(&members, &mut out).await?;
        self.pack_requests(ask.wave, &mut out).await?;
        self.pack_members(ask.wave, &mut out).await?;
        self.pack_reports(ask, &mut out).await?;
        let newest = record.checkpoint.as_ref().map(|c| c.seal);
        self.pack_record(newest, &about, &mut out).await?;
        let checkpoint = record.checkpoint;
        let value = serde_json::to_value(&checkpoint).unwrap_or_default();
        out.put("audit/checkpoint.json", format!("{value:#}\n").as_bytes())
            .await?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            organisation: self.organisation.code.to_string(),
            name: self.organisation.name.clone(),
            wave: row.id,
            wave_name: row.name,
            at,
            server: ask.server.clone(),
            by: out.redaction.text(self.actor(), &[]),
            redacted: ask.redact.iter().copied().collect(),
            broken: record.chain.broken,
            checkpoint,
            public_key,
            files: Vec::new(),
        };
        let end = out.packer.finish(manifest, &key)?;
        out.sink.bytes(end).await
    }

    /// What the pack is about: the wave, its project, its members. Their owners are known from now on.
    async fn about(&self, wave: &Wave, redaction: &mut Redaction) -> Result<About, Error> {
        let mut about = About {
            row: wave.clone(),
            project: None,
            devices: BTreeSet::new(),
            serials: BTreeSet::new(),
        };
        if let Some(project) = self.project_of(wave).await? {
            about.project = Some((project.id, project.name));
        }
        let mut runbooks: BTreeSet<RunbookId> = wave.runbooks.values().copied().collect();
        let mut after = MoveId(0);
        loop {
            let page = self
                .store()
                .attempts(self.id(), wave.id, after, PAGE)
                .await?;
            let Some(last) = page.last() else {
                if redaction.has(Redact::Owners) {
                    self.know_groups_of(&runbooks, redaction).await?;
                }
                return Ok(about);
            };
            after = last.id;
            runbooks.extend(page.iter().map(|attempt| attempt.runbook));
            for place in page.iter().filter_map(|attempt| attempt.gap.as_ref()) {
                // As they were then: the device may be of others by now.
                redaction.know_groups(place.groups.iter().filter_map(|group| match group {
                    GapGroup::Group(name) => Some(name),
                    GapGroup::Tag(_) => None,
                }));
            }
            // Who said that something was done for it may never have acted here: a plan brings them along.
            for met in page.iter().flat_map(|attempt| attempt.met.values()) {
                redaction.know_actor(&met.by);
            }
            let ids: Vec<DeviceId> = page.iter().map(|attempt| attempt.device).collect();
            if redaction.has(Redact::Owners) {
                for original in self.store().originals_of(self.id(), &ids).await? {
                    redaction.know_owner(&original);
                }
            }
            about.devices.extend(ids);
            about
                .serials
                .extend(page.into_iter().map(|attempt| attempt.serial.to_string()));
        }
    }

    /// Groups of owners that runbooks and limits name, whoever is in them.
    async fn know_groups_of(
        &self,
        runbooks: &BTreeSet<RunbookId>,
        redaction: &mut Redaction,
    ) -> Result<(), Error> {
        for id in runbooks {
            let Some(pinned) = self.store().runbook(self.id(), *id).await? else {
                continue;
            };
            let only = pinned.runbook.steps.iter().flat_map(|step| &step.only);
            let named: Vec<String> = only
                .filter_map(|name| name.strip_prefix(GROUP))
                .map(str::to_owned)
                .collect();
            redaction.know_groups(&named);
        }
        // The limits of every project count for the devices of this one.
        for project in self.projects().await? {
            redaction.know_groups(project.gap.groups.keys());
        }
        Ok(())
    }

    /// Every device of the organisation, and everybody who has acted in it: words of the record may name any of them.
    async fn know(&self, wave: &Wave, redaction: &mut Redaction) -> Result<(), Error> {
        if redaction.has(Redact::Serials) || redaction.has(Redact::Owners) {
            let mut after = DeviceId(0);
            loop {
                let page = self.store().devices(self.id(), after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for device in &page {
                    redaction.know_device(device);
                    redaction.know_groups(&device.groups);
                }
            }
        }
        if redaction.has(Redact::Actors) {
            redaction.know_actor(self.actor());
            let said = [
                wave.acceptance.as_ref().map(|a| &a.by),
                wave.signed.as_ref().map(|s| &s.by),
            ];
            said.into_iter()
                .flatten()
                .for_each(|by| redaction.know_actor(by));
            let mut after = AuditId(0);
            loop {
                let page = self.store().audit(self.id(), after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                let mut actors: Vec<&str> = page.iter().map(|entry| &*entry.actor).collect();
                actors.sort_unstable();
                actors.dedup();
                actors
                    .into_iter()
                    .for_each(|actor| redaction.know_actor(actor));
            }
        }
        Ok(())
    }

    /// The wave and what people have said of it; answers the runbooks of its members.
    async fn pack_wave(
        &self,
        wave: WaveId,
        out: &mut Out<'_>,
    ) -> Result<BTreeSet<RunbookId>, Error> {
        let row = self.wave_row(wave).await?;
        let standing = self.standing(wave).await?;
        let project = match row.project {
            Some(id) => self.store().project(self.id(), id).await?,
            None => None,
        };
        let run = self.store().what_if_run(self.id(), wave).await?;
        let approvals = json!({
            "acceptance": row.acceptance, "state": row.state, "gate": standing.gate,
            "signed": row.signed, "paused": row.paused, "revision": row.revision,
            "acceptances": self.acceptances_of(wave).await?,
            "record": self.approvals_in_record(&row).await?,
        });
        let value = json!({ "project": project, "standing": standing, "what_if": run });
        out.object("wave.json", value).await?;
        out.object("approvals.json", approvals).await?;
        Ok(row.runbooks.into_values().collect())
    }

    /// What was accepted, as it was shown.
    async fn pack_accepted(&self, wave: WaveId, out: &mut Out<'_>) -> Result<(), Error> {
        let mut after = AcceptedId(0);
        loop {
            let page = self.accepted_parts(wave, after).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            for mut part in page {
                let mut words = Vec::new();
                if out.redaction.has(Redact::Owners) {
                    // By its place, not by its words: they may be others by now.
                    part.forget_people();
                    without_people(&mut part.content);
                    for original in self.originals_in(&part.content).await? {
                        words.extend(out.redaction.words_of(Some(&original), None));
                    }
                    Word::order(&mut words);
                }
                let name = format!("accepted/{}-{:.12}.json", part.id, part.digest);
                let mut value =
                    json!({ "digest": part.digest, "part": part.part, "content": part.content });
                out.redaction.value(&mut value, &words);
                out.put(&name, format!("{value:#}\n").as_bytes()).await?;
            }
        }
    }

    /// What is known of the members that a piece names.
    async fn originals_in(&self, content: &Value) -> Result<Vec<OriginalFacts>, Error> {
        let members = content["members"].as_array().into_iter().flatten();
        let serials: Vec<Serial> = members
            .filter_map(|member| Serial::parse(member["serial"].as_str()?).ok())
            .collect();
        let devices = self.devices_of(&serials).await?;
        let ids: Vec<DeviceId> = devices.values().map(|d| d.id).collect();
        Ok(self.store().originals_of(self.id(), &ids).await?)
    }

    async fn pack_runbooks(
        &self,
        of: &BTreeSet<RunbookId>,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        for id in of {
            let Some(pinned) = self.store().runbook(self.id(), *id).await? else {
                continue;
            };
            let mut value = serde_json::to_value(&pinned).unwrap_or_default();
            without_contents(&mut value);
            out.object(&format!("runbooks/{id}.json"), value).await?;
        }
        Ok(())
    }

    async fn pack_requests(&self, wave: WaveId, out: &mut Out<'_>) -> Result<(), Error> {
        let mut after = ErrandId(0);
        loop {
            let page = self.errands_after(Some(wave), after).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.id;
            for mut errand in page {
                let raw = errand.result.take();
                let id = errand.id;
                let value = serde_json::to_value(&errand).unwrap_or_default();
                out.object(&format!("requests/{id}.json"), value).await?;
                let Some(raw) = raw else { continue };
                let content = match out.redaction.is_empty() {
                    true => raw.0,
                    false => {
                        let text = String::from_utf8_lossy(&raw.0).into_owned();
                        out.redaction.text(&text, &[]).into_bytes()
                    }
                };
                out.put(&format!("requests/{id}.result"), &content).await?;
            }
        }
    }

    async fn pack_members(&self, wave: WaveId, out: &mut Out<'_>) -> Result<(), Error> {
        let (mut after, mut number) = (MoveId(0), 0);
        while let Some((page, last)) = self.members_after(Some(wave), after).await? {
            after = last;
            number += 1;
            let mut text = String::new();
            for attempt in &page.attempts {
                let secrets = self.store().secrets(self.id(), attempt.device).await?;
                let held: Vec<Value> = secrets
                    .iter()
                    .map(|s| json!({ "kind": s.kind.as_str(), "sealed": s.created, "replaced": s.replaced }))
                    .collect();
                let mut value = member(attempt, &page, held);
                // Keys that nobody knows may name anybody.
                if out.redaction.has(Redact::Owners) || out.redaction.has(Redact::Serials) {
                    let original = value.pointer_mut("/before/original");
                    if let Some(original) = original.and_then(Value::as_object_mut) {
                        original.remove("more");
                    }
                }
                let of = (
                    page.originals.get(&attempt.device),
                    page.devices.get(&attempt.device),
                );
                let words = out.redaction.words_of(of.0, of.1);
                out.redaction.value(&mut value, &words);
                text.push_str(&value.to_string());
                text.push('\n');
            }
            out.put(&format!("members/{number:05}.jsonl"), text.as_bytes())
                .await?;
        }
        Ok(())
    }

    async fn pack_reports(&self, ask: &PackAsk, out: &mut Out<'_>) -> Result<(), Error> {
        let wave = ask.wave;
        let reports = [
            ReportAsk::Wave(wave),
            ReportAsk::Exceptions(Some(wave)),
            ReportAsk::Holds(Some(wave)),
            ReportAsk::Requests(Some(wave)),
        ];
        for report in reports {
            for (ending, make) in &ask.formats {
                let mut parts = Parts {
                    name: format!("reports/{}", report.kind().as_str()),
                    ending,
                    make: *make,
                    head: None,
                    writer: make(),
                    text: String::new(),
                    rows: 0,
                    number: 0,
                    out: &mut *out,
                };
                self.report_to(&report, &mut parts).await?;
                parts.cut().await?;
            }
        }
        Ok(())
    }

    /// The record with its seals, up to the seal that the manifest names.
    async fn pack_record(
        &self,
        newest: Option<AuditSealId>,
        about: &About,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        let (mut after, mut entries_after, mut number) = (AuditSealId(0), AuditId(0), 0);
        let Some(newest) = newest else {
            return Ok(());
        };
        loop {
            let mut seals = self.store().audit_seals(self.id(), after, 20).await?;
            seals.retain(|seal| seal.id <= newest);
            let Some(last) = seals.last() else {
                return Ok(());
            };
            after = last.id;
            number += 1;
            let mut text = String::new();
            for seal in &seals {
                text.push_str(&line(seal)?);
            }
            out.put(&format!("audit/{number:06}-seals.jsonl"), text.as_bytes())
                .await?;
            let upto = seals
                .iter()
                .flat_map(|s: &AuditSeal| &s.entries)
                .map(|(id, _)| *id)
                .max();
            let mut part = 0;
            while upto.is_some_and(|upto| entries_after < upto) {
                let mut page = self.store().audit(self.id(), entries_after, PAGE).await?;
                // What came since the newest seal is not of this pack.
                page.retain(|entry| upto.is_some_and(|upto| entry.id <= upto));
                let Some(last) = page.last() else { break };
                entries_after = last.id;
                part += 1;
                let text = self.entries_of(page, about, &out.redaction).await?;
                out.put(
                    &format!("audit/{number:06}-{part:03}-entries.jsonl"),
                    text.as_bytes(),
                )
                .await?;
            }
        }
    }

    /// Entries as lines: those that the pack is about with their words, the others with their places alone.
    async fn entries_of(
        &self,
        page: Vec<AuditEntry>,
        about: &About,
        redaction: &Redaction,
    ) -> Result<String, Error> {
        let ids: Vec<DeviceId> = page
            .iter()
            .filter_map(|entry| entry.device)
            .filter(|device| about.devices.contains(device))
            .collect();
        let (mut originals, mut devices) = (BTreeMap::new(), BTreeMap::new());
        if !redaction.is_empty() {
            let rows = self.store().originals_of(self.id(), &ids).await?;
            originals.extend(rows.into_iter().map(|o| (o.id, o)));
            let rows = self.store().devices_of(self.id(), &ids).await?;
            devices.extend(rows.into_iter().map(|d| (d.id, d)));
        }
        let mut text = String::new();
        for mut entry in page {
            let sealed = crate::audit_seal::entry_hash(&entry);
            if !about.has(&entry) {
                let place = EntryPlace {
                    id: entry.id,
                    sealed,
                };
                text.push_str(&line(&PackedEntry::Place(place))?);
                continue;
            }
            let of = entry.device;
            let original = of.and_then(|id| originals.get(&id));
            let device = of.and_then(|id| devices.get(&id));
            let words = redaction.words_of(original, device);
            // What two persons confirmed, say, may name devices of other waves beside its own.
            let mut changed = of.is_none() && only_members(&mut entry.detail, &about.serials);
            changed |= redaction.value(&mut entry.detail, &words);
            let actor = redaction.text(&entry.actor, &words);
            changed |= actor != entry.actor;
            entry.actor = actor;
            let sealed = changed.then_some(sealed);
            text.push_str(&line(&PackedEntry::Whole(WholeEntry { entry, sealed }))?);
        }
        Ok(text)
    }
}

fn line(value: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string(value)
        .map_err(|_| Error::Precondition("a row cannot be written".to_owned()))?;
    Ok(text + "\n")
}

/// One device, before and after.
fn member(attempt: &Move, page: &MemberRows, held: Vec<Value>) -> Value {
    let device = page.devices.get(&attempt.device);
    let set_up = page.set_up(attempt);
    let after = device.map(|d| {
        json!({
            "facts": d.facts, "reading": d.reading, "record": d.record, "attested": d.attested,
            "licences": d.licences, "signed_in": d.signed_in, "tags": d.tags, "groups": d.groups,
        })
    });
    json!({
        "serial": attempt.serial, "state": visible_state(Some(attempt), set_up),
        "attempt": attempt, "set_up": set_up,
        "before": { "device": attempt.before, "original": page.originals.get(&attempt.device) },
        "after": after, "marks": page.marks(attempt), "vault": held,
    })
}

/// Sums that name people, or one device as an example for others: every one of these devices is told of by itself.
fn without_people(value: &mut Value) {
    match value {
        Value::Object(all) => {
            all.retain(|name, _| !matches!(name.as_str(), "people" | "matrix" | "warnings"));
            all.values_mut().for_each(without_people);
        }
        Value::Array(all) => all.iter_mut().for_each(without_people),
        _ => {}
    }
}

/// Contents of profiles are sealed, and nobody's evidence.
fn without_contents(value: &mut Value) {
    match value {
        Value::Object(all) => {
            all.remove("content");
            all.values_mut().for_each(without_contents);
        }
        Value::Array(all) => all.iter_mut().for_each(without_contents),
        _ => {}
    }
}

/// A report in files of so many rows, each whole by itself.
struct Parts<'a, 'b> {
    name: String,
    ending: &'static str,
    make: MakeReport,
    head: Option<ReportHead>,
    writer: Box<dyn ReportText>,
    text: String,
    rows: usize,
    number: u32,
    out: &'a mut Out<'b>,
}

impl Parts<'_, '_> {
    fn begin(&mut self) {
        self.writer = (self.make)();
        self.rows = 0;
        if let Some(head) = &self.head {
            self.text = self.writer.head(head).unwrap_or_default();
        }
    }

    async fn cut(&mut self) -> Result<(), Error> {
        self.number += 1;
        self.text.push_str(&self.writer.end());
        let name = format!("{}-{:04}.{}", self.name, self.number, self.ending);
        let text = std::mem::take(&mut self.text);
        self.out.put(&name, text.as_bytes()).await
    }
}

#[async_trait]
impl ReportSink for Parts<'_, '_> {
    async fn head(&mut self, mut head: ReportHead) -> Result<(), Error> {
        let redaction = &self.out.redaction;
        for (_, value) in &mut head.facts {
            redaction.value(value, &[]);
        }
        for value in head.tables.iter_mut().flat_map(|t| &mut t.rows).flatten() {
            redaction.value(value, &[]);
        }
        self.head = Some(head);
        self.begin();
        Ok(())
    }

    async fn rows(&mut self, mut rows: Vec<ReportRow>) -> Result<(), Error> {
        let columns = self
            .head
            .as_ref()
            .map_or(&[] as &[&str], |head| head.columns);
        let owner = columns.iter().position(|name| *name == "owner");
        // In the exceptions `owner` is whose the fault is.
        let owner = owner.filter(|_| columns.contains(&"owner told at"));
        for row in &mut rows {
            let word = owner.and_then(|n| row.get(n)?.as_str());
            let words: Vec<Word> = word
                .and_then(|word| self.out.redaction.owner(word))
                .into_iter()
                .collect();
            for value in row.iter_mut() {
                self.out.redaction.value(value, &words);
            }
        }
        for rows in rows.chunks(ROWS) {
            if self.rows > 0 && self.rows + rows.len() > ROWS {
                self.cut().await?;
                self.begin();
            }
            self.rows += rows.len();
            let text = self.writer.rows(rows);
            self.text.push_str(&text);
        }
        Ok(())
    }
}
