//! Manifests of apps of one's own: what this server has seen at their addresses, and what it knows without looking because it serves
//! them itself. Asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::checklist::SeenManifest;
use crate::clock::Timestamp;

/// What is known of manifests.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// How addresses of packages begin that this server serves itself.
    pub(crate) own: String,
    /// Addresses of manifests among them that there are.
    pub(crate) kept: BTreeSet<String>,
    /// What was seen elsewhere, by address.
    pub(crate) seen: BTreeMap<String, SeenManifest>,
    /// Why nothing is known of others, by address, where more can be said than that nobody has looked yet.
    pub(crate) unseen: BTreeMap<String, String>,
}

/// What is to be said of the manifests that one device needs.
#[derive(Debug, Default)]
pub(super) struct Reached<'a> {
    /// Those with which nothing can be installed, and why.
    pub(super) wrong: Vec<(&'a str, String)>,
    /// Those of which nothing is known yet, and why, where that is known.
    pub(super) unseen: Vec<(&'a str, Option<&'a str>)>,
    /// Those that say nothing of what their files must be.
    pub(super) bare: Vec<&'a str>,
    /// How many were read.
    pub(super) read: usize,
    /// How many there are, those that are served here as well.
    pub(super) all: usize,
    /// When the one was read that was read longest ago.
    pub(super) at: Option<Timestamp>,
}

impl Manifests {
    /// Of these apps, each with the address of its manifest.
    pub(super) fn of<'a>(&'a self, apps: impl Iterator<Item = (&'a str, &'a str)>) -> Reached<'a> {
        let mut reached = Reached::default();
        for (app, url) in apps {
            reached.all += 1;
            if !self.own.is_empty() && url.starts_with(&self.own) {
                // Served here: nobody has to be asked.
                if !self.kept.contains(url) {
                    let why = "no package of the library is kept at that address of this server";
                    reached.wrong.push((app, why.to_owned()));
                }
                continue;
            }
            let Some(seen) = self.seen.get(url) else {
                let why = self.unseen.get(url).map(String::as_str);
                reached.unseen.push((app, why));
                continue;
            };
            reached.read += 1;
            reached.at = Some(reached.at.map_or(seen.at, |at| at.min(seen.at)));
            match &seen.problem {
                Some(problem) => reached.wrong.push((app, problem.clone())),
                None if !seen.hashed => reached.bare.push(app),
                None => {}
            }
        }
        reached
    }
}
