//! The what-if as a report: what holds for all, reasons by devices, apps that would be lost, and every finding of every member.

use std::collections::BTreeMap;

use serde_json::json;

use super::cell;
use crate::check::{Check, CheckResult};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::evidence::{ReportKind, ReportRow, ReportSink};
use crate::ids::{Serial, WaveId};
use crate::migration::Met;
use crate::migration::what_if::{CheckFinding, met_line};
use crate::service::{Detail, Org};

const COLUMNS: &[&str] = &[
    "serial",
    "platform",
    "check",
    "result",
    "counts as",
    "fact",
    "source",
    "at",
    "age s",
    "fix",
    "who",
];

/// Of the apps, what would become of them.
const APPS: &[&str] = &[
    "app",
    "name",
    "devices",
    "kept",
    "dropped",
    "lost",
    "uncertain",
    "licences short",
    "lost on",
    "people",
];
/// So many devices and people are named beside an app; all are among the rows.
const NAMED: usize = 20;

impl Org {
    pub(super) async fn report_what_if(
        &self,
        wave: WaveId,
        sink: &mut dyn ReportSink,
    ) -> Result<(), Error> {
        let row = self.wave_row(wave).await?;
        let report = self.look_at_wave(wave, Detail::Problems).await?;
        let now = report.at;
        let attempts = self.members(wave).await?.into_iter();
        let met: BTreeMap<Serial, BTreeMap<String, Met>> = attempts
            .filter(|m| !m.is_ended() && !m.met.is_empty())
            .map(|m| (m.serial, m.met))
            .collect();
        let title = format!("What-if of wave {}", row.name);
        let mut head = self.report_head(ReportKind::WhatIf, title, now);
        head.columns = COLUMNS;
        if row.is_submitted() {
            let told = "how things are now, of members that have not ended; what was accepted then is in the evidence pack";
            head.fact("what this is", told);
        }
        head.fact("blocked", report.blocked);
        head.fact("with something to be known", report.warned);
        head.fact("clear", report.clear);
        head.fact("accepted", &row.acceptance);
        let server = report.server.iter().map(|finding| {
            let mut row = vec![json!(finding.check.as_str()), cell(finding.result)];
            row.extend(words(finding, now));
            row
        });
        head.table(
            "for all",
            &[
                "check", "result", "fact", "source", "at", "age s", "fix", "who",
            ],
            server.collect(),
        );
        let matrix = report.matrix.rows.iter().map(|row| {
            let fixes: Vec<&str> = row.fixes.iter().map(String::as_str).collect();
            vec![
                json!(row.check.as_str()),
                cell(row.result),
                cell(row.counts_as),
                json!(row.devices.len()),
                json!(row.fact),
                json!(fixes.join("; ")),
            ]
        });
        head.table(
            "reasons",
            &[
                "check",
                "result",
                "counts as",
                "devices",
                "for example",
                "fix",
            ],
            matrix.collect(),
        );
        let forecast = &report.forecast;
        head.fact("devices whose apps nobody has told", forecast.unknown.len());
        head.fact(
            "devices that would lose an app with its data",
            forecast.losing.len(),
        );
        let apps = forecast.apps.iter().map(|app| {
            let names: Vec<&str> = app.lost.keys().map(Serial::as_str).take(NAMED).collect();
            let people: Vec<&str> = app.people.iter().map(String::as_str).take(NAMED).collect();
            vec![
                json!(app.bundle_id),
                json!(app.name),
                json!(app.present),
                json!(app.kept),
                json!(app.dropped),
                json!(app.lost.len()),
                json!(app.uncertain),
                json!(app.short),
                json!(names.join(" ")),
                json!(people.join(", ")),
            ]
        });
        head.table("apps", APPS, apps.collect());
        sink.head(head).await?;
        let rules = &self.organisation.settings.unknowns;
        for members in report.members.chunks(100) {
            let mut rows = Vec::new();
            for member in members {
                let platform = cell(member.platform.map(crate::device::Platform::as_str));
                for finding in &member.findings {
                    if finding.result == CheckResult::Pass {
                        continue;
                    }
                    let counts_as = finding.counts_as(rules, member.platform);
                    let mut row: ReportRow = vec![
                        json!(member.serial.as_str()),
                        platform.clone(),
                        json!(finding.check.as_str()),
                        cell(finding.result),
                        cell(counts_as),
                    ];
                    row.extend(words(finding, now));
                    rows.push(row);
                }
                // A word that a prerequisite is met is no finding, and its evidence is wanted all the same.
                for said in met.get(&member.serial).into_iter().flatten() {
                    let mut finding = CheckFinding::said(Check::Prerequisites, met_line(said));
                    finding.at = Some(said.1.at);
                    let result = cell(finding.result);
                    let mut row: ReportRow = vec![
                        json!(member.serial.as_str()),
                        platform.clone(),
                        json!(finding.check.as_str()),
                        result.clone(),
                        result,
                    ];
                    row.extend(words(&finding, now));
                    rows.push(row);
                }
            }
            if !rows.is_empty() {
                sink.rows(rows).await?;
            }
        }
        Ok(())
    }
}

fn words(finding: &CheckFinding, now: Timestamp) -> Vec<serde_json::Value> {
    vec![
        json!(finding.fact),
        cell(finding.source),
        cell(finding.at),
        cell(finding.at.map(|at| now.since(at).as_secs())),
        json!(finding.fix),
        cell(finding.who),
    ]
}
