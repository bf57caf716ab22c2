//! The project of a plan that is brought in where there is none of its name.

use super::super::Org;
use super::ProjectChange;
use super::plan_differs::same_runbook;
use super::plan_file::PlanFile;
use crate::error::Error;
use crate::project::Project;

impl Org {
    /// Makes it, switched off. Where a template is in force, what the plan leaves out is the template's, and so is a runbook that is the
    /// same but for its profiles, which no plan has.
    pub(super) async fn project_of_plan(&self, plan: &PlanFile) -> Result<Project, Error> {
        // What was taken out has every part.
        let whole = plan.exported.is_some();
        let plan = &plan.project;
        let servers = self.store().servers(self.id()).await?;
        let server = match (&plan.destination, servers.as_slice()) {
            (Some(name), all) => all.iter().find(|s| s.name == *name || s.uuid == *name),
            (None, [only]) => Some(only),
            (None, _) => {
                let problem = "must name one of several server entries";
                return Err(Error::bad_input("project.destination", problem));
            }
        };
        let server = server.ok_or(Error::NotFound("server entry"))?;
        let template = self.fresh().await?.template;
        let mut runbooks = plan.runbooks.clone();
        if let Some(template) = &template {
            let locked = &template.rules.runbooks;
            runbooks.retain(|platform, runbook| {
                let there = locked.get(platform);
                !there.is_some_and(|there| same_runbook(runbook, there))
            });
        }
        let change = ProjectChange {
            destination: None,
            originals: said(&plan.originals, whole),
            window: said(&plan.window, whole),
            calendar: said(&plan.calendar, whole),
            capacity: plan.capacity,
            gap: said(&plan.gap, whole),
            gate: said(&plan.gate, whole),
            stop: said(&plan.stop, whole),
            prerequisites: said(&plan.prerequisites, whole),
            runbooks,
        };
        self.new_project(&plan.name, server.id, &change).await
    }
}

/// A part, unless it is as if it had been left out: then a new project has it by itself, or by the template.
fn said<T: Clone + Default + PartialEq>(part: &T, whole: bool) -> Option<T> {
    (whole || *part != T::default()).then(|| part.clone())
}
