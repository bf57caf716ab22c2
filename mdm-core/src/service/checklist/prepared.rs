//! What a project's runbooks bring: profiles, apps with their licences, and what becomes of locks.

use crate::checklist::ItemState::{Missing, Warn};
use crate::checklist::{ChecklistItem, Stage};
use crate::error::Error;
use crate::migration::AppAction;
use crate::project::Project;
use crate::service::Org;
use crate::service::licences::store_apps;

const STAGE: Stage = Stage::Prepare;

impl Org {
    /// Whether a project's destination is prepared, runbook by runbook. The standard ones bring nothing, and say so. `codes` is
    /// whether a code can be made and kept, once somebody has tried.
    pub(super) async fn prepared_for(
        &self,
        project: &Project,
        codes: &mut Option<bool>,
    ) -> Result<Vec<ChecklistItem>, Error> {
        let mut items = Vec::new();
        if project.runbooks.is_empty() {
            return Ok(items);
        }
        let stock = self.whole_stock().await?;
        let mut locks = Vec::new();
        for (platform, id) in &project.runbooks {
            let name = |what: &str| format!("{}: {what} for {}", project.name, platform.as_str());
            let plan = match self.plan(*id).await {
                Ok(plan) => plan,
                Err(error) if error.retry_after().is_some() => return Err(error),
                Err(error) => {
                    let fact = format!("the runbook cannot be read: {error}");
                    let fix = "restore it from a backup, or give the project another";
                    items.push(ChecklistItem::not(
                        Missing,
                        STAGE,
                        &name("runbook"),
                        fact,
                        fix,
                    ));
                    continue;
                }
            };
            items.push(match plan.profiles.len() {
                0 => {
                    let fact = "the runbook brings none: networks, certificates and restrictions of the original go";
                    let fix = "`mdmd profile equivalence` shows what is lacking; put profiles into the runbook";
                    ChecklistItem::not(Warn, STAGE, &name("profiles"), fact, fix)
                }
                count => {
                    let fact = format!("the runbook brings {count}");
                    ChecklistItem::done(STAGE, &name("profiles"), fact)
                }
            });
            let of_store = store_apps(&plan);
            let lacking: Vec<&str> = of_store
                .iter()
                .filter(|(app, _)| {
                    let held = stock.get(app).filter(|stock| stock.device_assignable);
                    held.is_none_or(|stock| !stock.unlimited && stock.total == 0)
                })
                .map(|(_, bundle)| bundle.as_str())
                .collect();
            let stay = plan.apps.iter().filter(|row| row.action != AppAction::Drop);
            items.push(match (stay.count(), lacking.as_slice()) {
                (0, _) if platform.is_mac() => {
                    let fact = "the runbook installs none; what is on a Mac stays there with its data";
                    ChecklistItem::done(STAGE, &name("apps"), fact)
                }
                (0, _) => {
                    let fact = "the runbook keeps and installs none: what the original manages is lost with its data";
                    let fix = "`mdmd apps diff` shows them; put those that stay into the runbook";
                    ChecklistItem::not(Warn, STAGE, &name("apps"), fact, fix)
                }
                (count, []) => {
                    let fact = format!(
                        "the runbook keeps or installs {count}, and each of the {} of the store has licences here",
                        of_store.len()
                    );
                    ChecklistItem::done(STAGE, &name("apps"), fact)
                }
                (_, lacking) => {
                    let fact = format!("no licence for devices is here of {}", lacking.join(", "));
                    let fix = "buy or transfer licences in Apple's portal, then `mdmd licences list`; how many are lacking the what-if says";
                    ChecklistItem::not(Missing, STAGE, &name("apps"), fact, fix)
                }
            });
            if plan.lock {
                locks.push(platform.as_str());
            }
        }
        let name = format!("{}: lock policy", project.name);
        if !locks.is_empty() && codes.is_none() {
            *codes = Some(self.codes_work().await?);
        }
        items.push(match (locks.is_empty(), *codes == Some(true)) {
            (true, _) => {
                let fact = "the runbooks ask for no Activation Lock: a lost device can be used by its finder";
                ChecklistItem::done(STAGE, &name, fact)
            }
            (false, true) => {
                let fact = format!(
                    "Activation Lock is asked for on {}; a code was made, sealed and opened again",
                    locks.join(" and ")
                );
                ChecklistItem::done(STAGE, &name, fact)
            }
            (false, false) => {
                let fact = "Activation Lock is wanted, and a code cannot be made and kept";
                let fix = "see that the master key is there and the vault opens: `mdmd doctor`";
                ChecklistItem::not(Missing, STAGE, &name, fact, fix)
            }
        });
        Ok(items)
    }
}
