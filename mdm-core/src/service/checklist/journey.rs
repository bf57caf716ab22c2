//! The way of each project, from its first wave to the clean-up.

use std::collections::BTreeSet;

use super::Members;
use crate::checklist::ItemState::{Later, Missing, Warn};
use crate::checklist::{ChecklistItem, Stage};
use crate::counted::{agree, counted};
use crate::error::Error;
use crate::ids::WaveId;
use crate::project::Project;
use crate::service::Org;
use crate::wave::{Preset, Wave, WaveState};

impl Org {
    /// From the what-if to the end, over all projects.
    pub(super) async fn journey(
        &self,
        waves: &[Wave],
        members: &Members,
    ) -> Result<Vec<ChecklistItem>, Error> {
        let mut items = Vec::new();
        let projects = self.store().projects(self.id()).await?;
        let open: Vec<_> = projects.iter().filter(|p| p.closed.is_none()).collect();
        if open.is_empty() {
            let fix = "`mdmd project new`";
            items.push(match projects.is_empty() {
                true => ChecklistItem::not(Later, Stage::Plan, "project", "there is none", fix),
                false => ChecklistItem::done(Stage::Close, "projects", "all are closed"),
            });
        }
        for project in &projects {
            let of = |wave: &Wave| wave.project == Some(project.id);
            let of = waves.iter().filter(|wave| of(wave)).map(|wave| wave.id);
            items.extend(clean_up_of(&project.name, &of.collect(), members));
        }
        // Devices that were assigned as a list have left a service too.
        let planned: BTreeSet<WaveId> = waves
            .iter()
            .filter(|w| w.project.is_some())
            .map(|w| w.id)
            .collect();
        let lists = members
            .left_behind
            .keys()
            .filter(|id| !planned.contains(id));
        items.extend(clean_up_of("lists", &lists.copied().collect(), members));
        for project in projects.iter().filter(|p| p.closed.is_some()) {
            items.extend(self.imported_of(project).await?);
        }
        let (none, mut codes) = ([0; 6], None);
        for project in open {
            items.push(match project.on {
                true => ChecklistItem::done(Stage::Plan, &project.name, "is switched on"),
                false => {
                    let fix = "`mdmd project on`, once it may begin";
                    ChecklistItem::not(Later, Stage::Plan, &project.name, "is switched off", fix)
                }
            });
            let has_some = |w: &&Wave| members.by_wave.get(&w.id).is_some_and(|of| of[0] > 0);
            let of: Vec<&Wave> = waves
                .iter()
                .filter(|w| w.project == Some(project.id))
                // Of one that was closed with nobody in it nothing is to be done.
                .filter(|w| w.is_open() || has_some(w))
                .collect();
            let name = |what: &str| format!("{}: {what}", project.name);
            let pilot = of.iter().find(|w| w.preset == Some(Preset::Pilot));
            items.push(match pilot {
                None => ChecklistItem::not(
                    Later,
                    Stage::Plan,
                    &name("pilot"),
                    "there is no pilot wave",
                    "`mdmd wave new NAME --preset pilot` with a device of each model",
                ),
                Some(wave) => {
                    let [all, ..] = members.by_wave.get(&wave.id).copied().unwrap_or(none);
                    ChecklistItem::done(Stage::Plan, &name("pilot"), counted(all, "device"))
                }
            });
            items.push(rehearsed(&name("rehearsal"), &of, members));
            items.extend(self.prepared_for(project, &mut codes).await?);
            for wave in of {
                let counts = members.by_wave.get(&wave.id).copied().unwrap_or(none);
                items.extend(self.of_wave(wave, counts).await?);
            }
        }
        Ok(items)
    }

    /// What of a closed project's imported secrets is still there; nothing where nothing was imported for it.
    async fn imported_of(&self, project: &Project) -> Result<Option<ChecklistItem>, Error> {
        let found = self.look_at_imported(project, false).await?;
        let stays: u64 = found.stays.values().sum();
        let name = format!("{}: what was imported", project.name);
        Ok(match (found.count(), stays) {
            (0, 0) => None,
            (0, stays) => {
                let whys: Vec<&str> = found.stays.keys().map(String::as_str).collect();
                let fact = format!(
                    "whatever could go is destroyed; {} {}: {}",
                    counted(stays, "secret"),
                    agree(stays, "stays", "stay"),
                    whys.join("; ")
                );
                Some(ChecklistItem::done(Stage::Close, &name, fact))
            }
            (goes, _) => {
                let fact = format!(
                    "{goes} keys, codes and passwords of the service that devices left are still kept, and open nothing that ours do not"
                );
                let fix = "`mdmd project purge PROJECT --reason TEXT`";
                Some(ChecklistItem::not(Warn, Stage::Close, &name, fact, fix))
            }
        })
    }

    async fn of_wave(
        &self,
        wave: &Wave,
        [all, planned, moving, migrated, otherwise, attention]: [u64; 6],
    ) -> Result<Vec<ChecklistItem>, Error> {
        let mut items = Vec::new();
        let name = wave.name.as_str();
        if all == 0 {
            let fix = "`mdmd wave add`";
            items.push(ChecklistItem::not(
                Later,
                Stage::Plan,
                name,
                "has no members",
                fix,
            ));
            return Ok(items);
        }
        if planned > 0 {
            let run = self.store().what_if_run(self.id(), wave.id).await?;
            items.push(match (&wave.acceptance, run) {
                (Some(accepted), _) => {
                    let mut item = match Box::pin(self.what_if(wave.id)).await {
                        Ok(found) if found.accepted.is_some() => {
                            let fact = format!("accepted by {}", accepted.by);
                            ChecklistItem::done(Stage::WhatIf, name, fact)
                        }
                        // Accepted once, and something has changed since.
                        Ok(_) => {
                            let fact = format!(
                                "what {} accepted is void: members, findings or runbooks have changed since",
                                accepted.by
                            );
                            let fix = "`mdmd wave whatif`, then `mdmd wave accept`";
                            ChecklistItem::not(Later, Stage::WhatIf, name, fact, fix)
                        }
                        Err(error) if error.retry_after().is_some() => return Err(error),
                        Err(error) => {
                            let fact = format!("cannot be looked at: {error}");
                            let fix = "mend that, then `mdmd wave whatif`";
                            ChecklistItem::not(Missing, Stage::WhatIf, name, fact, fix)
                        }
                    };
                    item.at = Some(accepted.at);
                    item
                }
                (None, Some(run)) => {
                    let fix = "mend what it found, then `mdmd wave accept`";
                    let fact = "was looked at, and not accepted";
                    let mut item = ChecklistItem::not(Later, Stage::WhatIf, name, fact, fix);
                    item.at = Some(run.at);
                    item
                }
                (None, None) => {
                    let fact = "was not looked at";
                    ChecklistItem::not(Later, Stage::WhatIf, name, fact, "`mdmd wave whatif`")
                }
            });
            let fact = format!("{planned} of {all} devices are not submitted");
            let fix = "`mdmd wave submit`, once the what-if is accepted";
            items.push(ChecklistItem::not(Later, Stage::Submit, name, fact, fix));
        } else {
            items.push(ChecklistItem::done(
                Stage::Submit,
                name,
                counted(all, "device"),
            ));
        }
        if let Some(pause) = &wave.paused {
            let fix = "see why, then `mdmd wave resume`";
            let fact = format!("no more devices are offered their migration: {}", pause.why);
            items.push(ChecklistItem::not(Missing, Stage::Watch, name, fact, fix));
        }
        if moving > 0 || attention > 0 {
            let fact = format!(
                "{} on the way, {} that a person must look at",
                counted(moving, "device"),
                counted(attention, "device")
            );
            items.push(match attention {
                0 => ChecklistItem::done(Stage::Watch, name, fact),
                _ => {
                    let fix = "`mdmd report exceptions`";
                    ChecklistItem::not(Warn, Stage::Watch, name, fact, fix)
                }
            });
        }
        if moving == 0 && planned == 0 {
            let fact = format!("{migrated} migrated, {otherwise} ended otherwise");
            items.push(match (&wave.signed, &wave.state) {
                (Some(signed), _) => {
                    let fact = format!("{fact}; signed by {}", signed.by);
                    ChecklistItem::done(Stage::Gate, name, fact)
                }
                (None, _) => {
                    let fix = "`mdmd wave gate --sign`";
                    ChecklistItem::not(Later, Stage::Gate, name, fact.as_str(), fix)
                }
            });
            let fix = "`mdmd report evidence`, have exceptions mended, `mdmd project close`, then `mdmd project purge` what was imported";
            let over = matches!(wave.state, WaveState::Closed { .. });
            let said = if over {
                "closed"
            } else {
                "every device has ended"
            };
            items.push(ChecklistItem::not(Later, Stage::Close, name, said, fix));
        }
        Ok(items)
    }
}

/// Whether one real device of each model has migrated: what works on one may fail on another.
fn rehearsed(name: &str, waves: &[&Wave], members: &Members) -> ChecklistItem {
    let of = waves.iter().filter_map(|wave| members.models.get(&wave.id));
    let (mut all, mut tried) = (BTreeSet::new(), BTreeSet::new());
    for [models, migrated] in of {
        all.extend(models);
        tried.extend(migrated);
    }
    let moved = waves.iter().filter_map(|w| members.left_behind.get(&w.id));
    let moved: u64 = moved.map(|of| of[0]).sum();
    let missing: Vec<&str> = all.difference(&tried).map(|model| model.as_str()).collect();
    if moved > 0 && missing.is_empty() {
        let fact = match all.len() {
            0 => "devices have migrated; nobody has told of which models they are".to_owned(),
            count => format!("a device of each of the {count} models has migrated"),
        };
        return ChecklistItem::done(Stage::Rehearse, name, fact);
    }
    let fact = match moved {
        0 => "no real device has migrated yet".to_owned(),
        _ => format!(
            "no device of these models has migrated yet: {}",
            missing.join(", ")
        ),
    };
    let fix = "`mdmd rehearse`, then one real device of each model in the pilot";
    ChecklistItem::not(Later, Stage::Rehearse, name, fact, fix)
}

/// What the original service still has to clean up; nothing before the first device has moved.
fn clean_up_of(of: &str, waves: &BTreeSet<WaveId>, members: &Members) -> Option<ChecklistItem> {
    let counts = waves
        .iter()
        .filter_map(|wave| members.left_behind.get(wave));
    let [moved, open] = counts.fold([0, 0], |sum, of| [sum[0] + of[1], sum[1] + of[2]]);
    let name = format!("{of}: clean-up at the original");
    match (moved, open) {
        (0, _) => None,
        (_, 0) => {
            let (devices, are) = (counted(moved, "device"), agree(moved, "is", "are"));
            let fact = format!("{devices} {are} out of the lists of the services that they left");
            Some(ChecklistItem::done(Stage::Close, &name, fact))
        }
        (_, open) => {
            let fact = format!(
                "{open} of {moved} devices that have migrated may still be listed by the service that they left"
            );
            let fix = "`mdmd report clean-up`, have them removed there, then `mdmd wave cleaned`";
            Some(ChecklistItem::not(Warn, Stage::Close, &name, fact, fix))
        }
    }
}
