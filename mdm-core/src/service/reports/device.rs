//! The single-object report: what is known of one device from each side, its marks, its steps, what we hold of it, and every transition
//! with cause and evidence.

use serde_json::{Value, json};

use super::{aged, cell};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{Mark, ReportHead, ReportKind, ReportRow, ReportSink};
use crate::ids::Serial;
use crate::migration::StepStatus;
use crate::original::OriginalFacts;
use crate::service::{DeviceReport, Org};

const COLUMNS: &[&str] = &[
    "at", "who", "what", "from", "to", "cause", "evidence", "detail", "entry",
];

impl Org {
    pub(super) async fn report_device(
        &self,
        serial: &Serial,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let now = self.now();
        let report = self.device_report(serial).await?;
        let original = self.store().original(self.id(), report.device.id).await?;
        let title = format!("Device {serial}");
        let mut head = self.report_head(ReportKind::Device, title, now);
        head.columns = COLUMNS;
        head.fact("serial", serial.as_str());
        head.fact("state", report.state);
        head.fact(
            "platform",
            report
                .device
                .platform()
                .map(crate::device::Platform::as_str),
        );
        head.fact(
            "attention",
            report.attempt.as_ref().and_then(|a| a.attention.clone()),
        );
        head.fact("verdict", report.set_up.as_ref().map(|s| &s.verdict));
        head.fact("wave", report.attempt.as_ref().map(|a| a.wave));
        head.fact("deadline", report.attempt.as_ref().map(|a| a.deadline));
        if let Some(ended) = report.attempt.as_ref().and_then(|a| a.ended) {
            head.fact("attempt ended", ended);
        }
        if let Some(given_up) = &report.given_up {
            head.fact("given up at", given_up.at);
            head.fact("given up by", &given_up.by);
            head.fact("given up because", &given_up.reason);
            if let Some(other) = &given_up.confirmed_by {
                head.fact("given up confirmed by", other);
            }
        }
        describe(&mut head, &report, original.as_ref(), now);
        sink.head(head).await?;
        for chunk in report.timeline.chunks(super::PAGE as usize) {
            sink.rows(chunk.iter().map(row).collect()).await?;
        }
        Ok(())
    }
}

fn describe(
    head: &mut ReportHead,
    report: &DeviceReport,
    original: Option<&OriginalFacts>,
    now: Timestamp,
) {
    head.table(
        "facts",
        &["fact", "value", "source", "at", "age s"],
        facts(report, original, now),
    );
    head.table(
        "marks",
        &["mark", "state", "why", "source", "at", "age s"],
        report.marks.iter().map(|mark| of_mark(mark, now)).collect(),
    );
    let steps = report.set_up.iter().flat_map(|s| s.steps_or_proofs());
    let steps = steps.map(|(id, state)| {
        let (status, why) = match &state.status {
            StepStatus::Waiting => ("waiting", ""),
            StepStatus::Running => ("under way", ""),
            StepStatus::Done { evidence } => ("proved", evidence.as_str()),
            StepStatus::Excepted { why } => ("given up", why.as_str()),
            StepStatus::Skipped { why } => ("does not apply", why.as_str()),
        };
        vec![
            json!(id.as_str()),
            json!(status),
            json!(why),
            cell(state.began),
            cell(state.since),
        ]
    });
    head.table(
        "steps",
        &["step", "state", "evidence", "began", "since"],
        steps.collect(),
    );
    let enrolments = report.enrollments.iter().map(|e| {
        vec![
            cell(e.id),
            cell(e.state),
            cell(e.authenticated),
            cell(e.enrolled),
            cell(e.ended),
        ]
    });
    head.table(
        "enrolments",
        &["enrolment", "state", "authenticated", "enrolled", "ended"],
        enrolments.collect(),
    );
    let secrets = report
        .secrets
        .iter()
        .map(|s| vec![json!(s.kind), cell(s.created), cell(s.replaced)]);
    head.table(
        "secrets in the vault",
        &["kind", "sealed", "replaced"],
        secrets.collect(),
    );
    let attempt = report.attempt.iter().flat_map(|a| &a.exceptions);
    let own = report.set_up.iter().flat_map(|s| &s.exceptions);
    let mut seen = std::collections::BTreeSet::new();
    let exceptions = attempt.chain(own).filter(|e| seen.insert(e.what.clone()));
    let under_way = report.set_up.as_ref().is_some_and(|s| !s.is_ended());
    let exceptions = exceptions.map(|e| {
        let next = crate::evidence::next_action(None, Some(e), under_way);
        vec![
            json!(e.what),
            json!(e.why),
            cell(e.owner),
            cell(e.at),
            json!(next),
        ]
    });
    head.table(
        "exceptions",
        &["what", "why", "owner", "at", "next action"],
        exceptions.collect(),
    );
}

fn of_mark(mark: &Mark, now: Timestamp) -> ReportRow {
    let mut row = vec![
        json!(mark.mark.as_str()),
        json!(mark.state.as_str()),
        json!(mark.why),
        cell(mark.source),
    ];
    row.extend(aged(mark.at, now));
    row
}

fn facts(
    report: &DeviceReport,
    original: Option<&OriginalFacts>,
    now: Timestamp,
) -> Vec<ReportRow> {
    let mut rows = Vec::new();
    let mut fact = |name: &str, value: Value, source: &str, at: Option<Timestamp>| {
        if value.is_null() {
            return;
        }
        let mut row = vec![json!(name), value, json!(source)];
        row.extend(aged(at, now));
        rows.push(row);
    };
    let device = &report.device;
    let (told, at) = (&device.facts, device.facts.learned);
    fact("product", cell(&told.product), "mdm", at);
    fact("system", cell(&told.os_version), "mdm", at);
    fact("build", cell(&told.build), "mdm", at);
    fact("name", cell(&told.name), "mdm", at);
    fact("FileVault", cell(told.filevault_on), "mdm", at);
    if let Some(reading) = &device.reading {
        let at = Some(reading.seen);
        fact(
            "service at Apple",
            cell(&reading.assigned_server),
            "api",
            at,
        );
        fact("can migrate", cell(reading.capable), "api", at);
        fact("migration at Apple", cell(&reading.status), "api", at);
        fact("deadline at Apple", cell(reading.deadline), "api", at);
    }
    let lock = &device.lock;
    if let Some(read) = &lock.apple {
        let at = Some(read.at);
        fact("Activation Lock at Apple", cell(&read.word), "api", at);
    }
    if let Some(told) = &lock.device {
        fact("Activation Lock", cell(&told.word), "mdm", Some(told.at));
    }
    if let (Some(clearing), Some((proof, by))) = (&lock.clearing, lock.proof()) {
        let at = by.map_or(clearing.asked, |sight| sight.at);
        fact(
            "clearing of its lock",
            cell(proof.as_str()),
            "api",
            Some(at),
        );
    }
    if let Some(record) = &device.record {
        let at = Some(record.seen);
        fact("in our list", cell(!record.gone), "assignment", at);
        fact(
            "ADE profile",
            cell(&record.profile_status),
            "assignment",
            at,
        );
        fact(
            "deadline in our list",
            cell(record.deadline),
            "assignment",
            at,
        );
    }
    if let Some(original) = original {
        macro_rules! told {
            ($($part:ident $name:literal,)*) => {$(
                if let Some(told) = &original.$part {
                    fact($name, cell(&told.value), "import", Some(told.at));
                }
            )*};
        }
        told! {
            system "system at the original", last_seen "last seen at the original",
            owner "owner", time_zone "time zone", language "language", managed_user "managed user",
            user_lock "locked to an account of somebody",
        }
        let count = |n: usize| json!(n);
        if let Some(apps) = &original.apps {
            fact(
                "managed apps at the original",
                count(apps.value.len()),
                "import",
                Some(apps.at),
            );
        }
    }
    rows
}

fn row(entry: &AuditEntry) -> ReportRow {
    let of = |key: &str| entry.detail.get(key).cloned().unwrap_or_default();
    let mut rest = entry.detail.clone();
    if let Some(object) = rest.as_object_mut() {
        for key in ["from", "to", "cause", "evidence"] {
            object.remove(key);
        }
    }
    vec![
        cell(entry.at),
        json!(entry.actor),
        json!(entry.what),
        of("from"),
        of("to"),
        of("cause"),
        of("evidence"),
        rest,
        cell(entry.id),
    ]
}
