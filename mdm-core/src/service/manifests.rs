//! Manifests of apps of one's own that runbooks name: which addresses somebody should look at, and what was seen there. The host looks,
//! for devices fetch them by their public names; nothing here asks anybody. What was seen is this process's, and is looked at anew after
//! a start: so no acceptance is bound to it, and only what has failed twice keeps anybody back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Mdm, Org};
use crate::checklist::SeenManifest;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{OrganisationId, RunbookId};
use crate::library::LibraryContent;
use crate::migration::what_if::Manifests;
use crate::migration::{AppAction, PinnedRunbook};
use crate::store::StoreError;

/// Addresses of one organisation: more are not looked at.
const MOST: usize = 200;
/// So long an address is looked at again after somebody has asked for it: longer than from one daily look at a wave to the next.
const KEPT: Duration = Duration::from_secs(2 * 86_400);
/// When one is looked at again.
const AGAIN: Duration = Duration::from_secs(900);
/// When one is that has failed for the first time, or of which somebody has asked since: it may be mended.
const SOON: Duration = Duration::from_secs(60);
/// So long it is believed what was seen.
const BELIEVED: Duration = Duration::from_secs(3600);

/// What is asked for and known, by organisation.
pub(super) type ManifestMemory = Mutex<HashMap<OrganisationId, Known>>;

/// Of one organisation.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Addresses that runbooks of open projects and waves name, when they were last read.
    planned: BTreeSet<String>,
    /// Addresses that a what-if wanted to know of, and when last.
    wanted: BTreeMap<String, Timestamp>,
    looks: HashMap<String, Looks>,
}

/// What was seen at one address.
#[derive(Debug)]
struct Looks {
    /// What is known: the last look that found all as it should be, or one that failed after another.
    counts: Option<SeenManifest>,
    /// Since when it fails.
    failing: Option<Timestamp>,
    last: SeenManifest,
}

impl Looks {
    /// One failure may be the moment: a file server that is restarted, a name that is looked up too slowly.
    fn take(&mut self, seen: SeenManifest) {
        if seen.looked && seen.problem.is_none() {
            self.failing = None;
            self.counts = Some(seen.clone());
        } else if seen.looked {
            let since = *self.failing.get_or_insert(seen.at);
            if seen.at >= since + SOON {
                self.counts = Some(seen.clone());
            }
        }
        self.last = seen;
    }

    /// Whether it should be looked at; somebody has last `asked` for it then.
    fn is_due(&self, asked: Option<Timestamp>, now: Timestamp) -> bool {
        let known = |seen: &SeenManifest| seen.problem.is_some();
        let once = self.failing.is_some() && !self.counts.as_ref().is_some_and(known);
        let again = self.last.problem.is_some() && asked.is_some_and(|at| at > self.last.at);
        let pause = match once || again {
            true => SOON,
            false => AGAIN,
        };
        now >= self.last.at + pause
    }

    /// What is known of it, or why nothing is.
    fn tell(&self, now: Timestamp) -> Result<&SeenManifest, Option<String>> {
        match &self.counts {
            Some(seen) if now < seen.at + BELIEVED => Ok(seen),
            _ if !self.last.looked => Err(self.last.problem.clone()),
            _ => Err(self.last.problem.as_ref().map(|problem| {
                format!("{problem}; that was seen once, and is looked at again in a minute")
            })),
        }
    }
}

impl Known {
    /// Those that are looked at: what plans name, then what else somebody wants to know, the newest first.
    fn in_question(&self) -> impl Iterator<Item = &str> {
        let only = self.wanted.iter();
        let mut only: Vec<_> = only
            .filter(|(url, _)| !self.planned.contains(*url))
            .collect();
        only.sort_by_key(|(_, at)| Reverse(**at));
        let only = only.into_iter().map(|(url, _)| url);
        self.planned
            .iter()
            .chain(only)
            .map(String::as_str)
            .take(MOST)
    }

    /// Those that should be looked at now: what plans name first, and of these those at which nobody has looked for longest.
    fn due(&self, now: Timestamp) -> Vec<String> {
        let is_due = |url: &&str| {
            let asked = self.wanted.get(*url).copied();
            let looks = self.looks.get(*url);
            looks.is_none_or(|looks| looks.is_due(asked, now))
        };
        let mut due: Vec<&str> = self.in_question().filter(is_due).collect();
        due.sort_by_key(|url| {
            let last = self.looks.get(*url).map(|looks| looks.last.at);
            (!self.planned.contains(*url), last)
        });
        due.into_iter().map(str::to_owned).collect()
    }

    /// Notes that somebody wants to know of these. Those of which nobody has asked for longest make room.
    fn want(&mut self, urls: impl Iterator<Item = String>, now: Timestamp) {
        self.wanted.extend(urls.map(|url| (url, now)));
        let over = self.wanted.len().saturating_sub(MOST);
        if over > 0 {
            let mut all: Vec<_> = self.wanted.iter().map(|(u, at)| (*at, u.clone())).collect();
            all.sort();
            for (_, url) in all.into_iter().take(over) {
                self.wanted.remove(&url);
            }
        }
    }

    /// Forgets what nobody has asked for, and what was seen of it.
    fn forget(&mut self, now: Timestamp) {
        self.wanted.retain(|_, at| now < *at + KEPT);
        let (planned, wanted) = (&self.planned, &self.wanted);
        self.looks
            .retain(|url, _| planned.contains(url) || wanted.contains_key(url));
    }
}

impl Mdm {
    /// Organisations with manifests at which somebody should look now: nobody has yet, or not lately, or they failed a minute ago.
    #[must_use]
    pub fn manifests_wanted(&self) -> Vec<OrganisationId> {
        let now = self.now();
        let all = self.inner.manifests.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        let wanting = all.iter().filter(|(_, known)| !known.due(now).is_empty());
        wanting.map(|(id, _)| *id).collect()
    }

    /// Notes what was seen of manifests of an organisation, each beside what was seen of it before: for the what-if.
    pub fn tell_manifests(&self, organisation: OrganisationId, seen: Vec<SeenManifest>) {
        let all = self.inner.manifests.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(organisation).or_default();
        for seen in seen {
            let looks = known.looks.entry(seen.url.clone());
            let looks = looks.or_insert_with(|| Looks {
                counts: None,
                failing: None,
                last: seen.clone(),
            });
            looks.take(seen);
        }
    }
}

impl Org {
    /// The addresses of manifests elsewhere at which somebody should look now, in this order: of those of the runbooks of open projects
    /// and waves, and of those of which a what-if wanted to know within two days, the ones at which nobody has looked lately. What is
    /// left of them comes again.
    ///
    /// # Errors
    /// The store's.
    pub async fn manifests(&self) -> Result<Vec<String>, Error> {
        let mut runbooks: BTreeSet<RunbookId> = BTreeSet::new();
        for project in self.projects().await? {
            if project.closed.is_none() {
                runbooks.extend(project.runbooks.values());
            }
        }
        for wave in self.all_waves().await? {
            if wave.is_open() {
                runbooks.extend(wave.runbooks.values());
            }
        }
        let own = self.own_packages();
        let mut planned = BTreeSet::new();
        for id in runbooks {
            match self.plan(id).await {
                Ok(runbook) => {
                    let elsewhere = addresses(&runbook).filter(|url| !url.starts_with(&own));
                    planned.extend(elsewhere.map(str::to_owned));
                }
                // One that cannot be read is told elsewhere, and keeps nobody from looking at the others.
                Err(Error::NotFound(_) | Error::Store(StoreError::Corrupt { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let now = self.now();
        let all = self.mdm.inner.manifests.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(self.id()).or_default();
        known.planned = planned;
        known.forget(now);
        Ok(known.due(now))
    }

    /// Of these addresses the ones that plans or kept runbooks name, by the edits in force.
    pub(in crate::service) async fn manifests_of_ours(
        &self,
        urls: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Error> {
        let planned = |url: &&String| {
            let all = self.mdm.inner.manifests.lock();
            let all = all.unwrap_or_else(PoisonError::into_inner);
            all.get(&self.id())
                .is_some_and(|known| known.planned.contains(*url))
        };
        let mut ours: BTreeSet<String> = urls.iter().filter(planned).cloned().collect();
        if ours.len() == urls.len() {
            return Ok(ours);
        }
        let kept = self.store().kept_runbooks(self.id()).await?;
        let kept = kept.iter().filter(|kept| kept.removed.is_none());
        let edits = kept.filter_map(|kept| Some(kept.edit(None)?.pinned));
        for id in edits.collect::<BTreeSet<RunbookId>>() {
            match self.plan(id).await {
                Ok(runbook) => {
                    let named = addresses(&runbook).filter(|url| urls.contains(*url));
                    ours.extend(named.map(str::to_owned));
                }
                Err(Error::NotFound(_) | Error::Store(StoreError::Corrupt { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ours)
    }

    /// What is known of the manifests at these addresses; all of them are asked for, or `only` those.
    pub(in crate::service) async fn manifests_known(
        &self,
        wanted: BTreeSet<String>,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Manifests, Error> {
        let mut found = Manifests {
            own: self.own_packages(),
            ..Manifests::default()
        };
        if wanted.is_empty() {
            return Ok(found);
        }
        if wanted.iter().any(|url| url.starts_with(&found.own)) {
            let there = self.library().await?.into_iter();
            let files = there.filter(|item| item.removed.is_none());
            found.kept = files
                .filter_map(|item| match item.content {
                    LibraryContent::Package(package) => package.file,
                    LibraryContent::Profile { .. } => None,
                })
                .map(|file| format!("{}/manifest", self.package_url(&file)))
                .collect();
        }
        let now = self.now();
        let all = self.mdm.inner.manifests.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(self.id()).or_default();
        let is_asked = |url: &str| only.is_none_or(|only| only.contains(url));
        let elsewhere = wanted.iter().filter(|url| !url.starts_with(&found.own));
        known.want(elsewhere.filter(|url| is_asked(url)).cloned(), now);
        let looked_at: BTreeSet<&str> = known.in_question().collect();
        for url in wanted {
            match known.looks.get(&url).map(|looks| looks.tell(now)) {
                _ if url.starts_with(&found.own) => {}
                Some(Ok(seen)) => {
                    found.seen.insert(url, seen.clone());
                }
                Some(Err(Some(why))) => {
                    found.unseen.insert(url, why);
                }
                _ if !looked_at.contains(&*url) && !is_asked(&url) => {
                    let why = "nobody looks at it before a planner asks, or keeps a runbook that names it";
                    found.unseen.insert(url, why.to_owned());
                }
                _ if !looked_at.contains(&*url) => {
                    let why = format!("more than {MOST} are asked for at a time");
                    found.unseen.insert(url, why);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// How the addresses of packages begin that this server serves.
    fn own_packages(&self) -> String {
        self.package_url("")
    }
}

/// The manifests of apps that a runbook installs or keeps.
pub(in crate::service) fn addresses(runbook: &PinnedRunbook) -> impl Iterator<Item = &str> {
    let apps = runbook.apps.iter();
    let apps = apps.filter(|app| app.action != AppAction::Drop);
    apps.filter_map(|app| app.manifest_url.as_deref())
}
