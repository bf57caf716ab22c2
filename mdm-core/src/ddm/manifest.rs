//! What a channel should have: from the sets that are assigned to it, purely. Knows no store and no request.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Channels, Declaration, DeclarationAssignment, DeclarationKind, DeclarationManifest,
    DeclarationSet, ManifestItem, Target, hex, scope,
};
use crate::clock::Timestamp;
use crate::device::Device;
use crate::enrollment::{ChannelKind, Enrollment};
use crate::ids::{DeclarationId, DeclarationSetId, ManifestId, OrganisationId};

/// What the identifier of a configuration's own activation ends in.
pub(crate) const OWN_ACTIVATION: &str = ".activation";

/// The words under which a channel looks for assignments.
#[must_use]
pub fn scopes(channel: &Enrollment, device: Option<&Device>) -> Vec<String> {
    let channels = match channel.channel {
        ChannelKind::Device => Channels::Device,
        ChannelKind::User { .. } => Channels::Users,
    };
    let mut targets = vec![Target::Organisation];
    if let Some(device) = device {
        targets.push(Target::Device(device.id));
        targets.extend(device.tags.iter().cloned().map(Target::Tag));
        targets.extend(device.groups.iter().cloned().map(Target::Group));
    }
    if let ChannelKind::User { short_name, .. } = &channel.channel {
        targets.extend(short_name.clone().map(Target::User));
        let id = channel.key.split_once(':').map(|(_, user)| user.to_owned());
        targets.extend(id.map(Target::User));
    }
    let mut words: Vec<String> = targets.iter().map(|t| scope(t, channels)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// What is known of the sets that some channels may have: read once, and asked for each of them.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    by_scope: BTreeMap<String, BTreeSet<DeclarationSetId>>,
    sets: BTreeMap<DeclarationSetId, BTreeSet<DeclarationId>>,
    declarations: BTreeMap<DeclarationId, ManifestItem>,
    types: BTreeMap<DeclarationId, String>,
}

impl Catalogue {
    /// Puts together what was read. What is out of use counts as absent.
    #[must_use]
    pub fn new(
        assignments: &[DeclarationAssignment],
        sets: Vec<DeclarationSet>,
        declarations: Vec<Declaration>,
    ) -> Self {
        let mut all = Self::default();
        for assignment in assignments.iter().filter(|a| a.ended.is_none()) {
            let of_scope = all.by_scope.entry(assignment.scope()).or_default();
            of_scope.insert(assignment.set);
        }
        let sets = sets.into_iter().filter(|s| s.removed.is_none());
        all.sets = sets.map(|set| (set.id, set.members)).collect();
        let declarations = declarations.into_iter().filter(|d| d.removed.is_none());
        all.declarations = declarations
            .map(|it| {
                all.types.insert(it.id, it.declaration_type);
                let item = ManifestItem {
                    kind: it.kind,
                    identifier: it.identifier,
                    server_token: it.server_token,
                    content: it.content,
                };
                (it.id, item)
            })
            .collect();
        all
    }

    /// The sets of a channel that looks under these words.
    #[must_use]
    pub fn sets(&self, scopes: &[String]) -> BTreeSet<DeclarationSetId> {
        let found = scopes.iter().filter_map(|word| self.by_scope.get(word));
        let found = found.flatten().copied();
        found.filter(|set| self.sets.contains_key(set)).collect()
    }

    /// Of the types that such a channel should have, those that are not among the ones it knows.
    #[must_use]
    pub fn lacks(
        &self,
        sets: &BTreeSet<DeclarationSetId>,
        own: &BTreeSet<DeclarationId>,
        known: &BTreeSet<&str>,
    ) -> BTreeSet<String> {
        let members = self.members(sets, own);
        let types = members.iter().filter_map(|id| self.types.get(id));
        let lacking = types.filter(|it| !known.contains(it.as_str()));
        lacking.cloned().collect()
    }

    fn members(
        &self,
        sets: &BTreeSet<DeclarationSetId>,
        own: &BTreeSet<DeclarationId>,
    ) -> BTreeSet<DeclarationId> {
        let of_sets = sets.iter().filter_map(|set| self.sets.get(set)).flatten();
        of_sets.chain(own).copied().collect()
    }

    /// What a channel of these sets should have, and what this server declares to it by itself, by kind and identifier;
    /// without the types that it lacks.
    #[must_use]
    pub fn items(
        &self,
        sets: &BTreeSet<DeclarationSetId>,
        own: &BTreeSet<DeclarationId>,
        lacks: &BTreeSet<String>,
    ) -> Vec<ManifestItem> {
        let mut members = self.members(sets, own);
        if !lacks.is_empty() {
            let unknown =
                |id: &DeclarationId| self.types.get(id).is_some_and(|it| lacks.contains(it));
            let left_out = members.iter().filter(|id| unknown(id));
            let left_out = left_out.filter_map(|id| self.declarations.get(id));
            // An activation that is a configuration's own goes with it: it would only be an error.
            let beside: BTreeSet<String> = left_out
                .map(|item| format!("{}{OWN_ACTIVATION}", item.identifier))
                .collect();
            let is_beside = |id: &DeclarationId| {
                let item = self.declarations.get(id);
                item.is_some_and(|it| beside.contains(&it.identifier))
            };
            members.retain(|id| !unknown(id) && !is_beside(id));
        }
        let mut items: Vec<ManifestItem> = members
            .iter()
            .filter_map(|id| self.declarations.get(id))
            .cloned()
            .collect();
        items.sort_unstable();
        items
    }
}

/// The `DeclarationsToken` of a list: another one when an item comes, goes or changes, and only then.
#[must_use]
pub fn declarations_token(items: &[ManifestItem]) -> String {
    let mut hash = openssl::sha::Sha256::new();
    for item in items {
        // Neither has a zero in it.
        for part in [&item.identifier, &item.server_token] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
    }
    hex(&hash.finish())
}

impl DeclarationManifest {
    /// A list of these items.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: ManifestId,
        items: Vec<ManifestItem>,
        now: Timestamp,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            token: declarations_token(&items),
            items,
            created: now,
        }
    }

    /// The item of this kind and identifier.
    #[must_use]
    pub fn item(&self, kind: DeclarationKind, identifier: &str) -> Option<&ManifestItem> {
        let place = self.items.binary_search_by(|item| {
            (item.kind, item.identifier.as_str()).cmp(&(kind, identifier))
        });
        place.ok().map(|nth| &self.items[nth])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AssignmentId, ContentId, DeviceId, EnrollmentId, Serial};

    const ORG: OrganisationId = OrganisationId(1);

    fn at() -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn declaration(id: i64, token: &str) -> Declaration {
        Declaration {
            organisation: ORG,
            id: DeclarationId(id),
            version: 1,
            identifier: format!("d{id}"),
            kind: DeclarationKind::Configuration,
            declaration_type: "com.apple.configuration.management.test".to_owned(),
            server_token: token.to_owned(),
            content: ContentId(id),
            created: at(),
            changed: at(),
            removed: None,
        }
    }

    fn set(id: i64, members: &[i64]) -> DeclarationSet {
        DeclarationSet {
            organisation: ORG,
            id: DeclarationSetId(id),
            version: 1,
            name: format!("s{id}"),
            members: members.iter().map(|m| DeclarationId(*m)).collect(),
            created: at(),
            changed: at(),
            removed: None,
        }
    }

    fn assignment(set: i64, target: Target, channels: Channels) -> DeclarationAssignment {
        DeclarationAssignment {
            organisation: ORG,
            id: AssignmentId(set),
            version: 1,
            set: DeclarationSetId(set),
            target,
            channels,
            created: at(),
            ended: None,
        }
    }

    fn device(tags: &[&str]) -> Device {
        let mut device = Device::new(ORG, DeviceId(7), Serial::parse("S7").unwrap());
        device.tags = tags.iter().map(|t| (*t).to_owned()).collect();
        device
    }

    fn channel(kind: ChannelKind) -> Enrollment {
        let key = match &kind {
            ChannelKind::Device => "UDID-7".to_owned(),
            ChannelKind::User { .. } => "UDID-7:GUID-9".to_owned(),
        };
        Enrollment::pending(ORG, EnrollmentId(3), key, kind, "sha".to_owned(), at())
    }

    fn anna() -> ChannelKind {
        ChannelKind::User {
            short_name: Some("Anna".to_owned()),
            long_name: None,
        }
    }

    fn names(all: &Catalogue, channel: &Enrollment, device: &Device) -> Vec<String> {
        let sets = all.sets(&scopes(channel, Some(device)));
        all.items(&sets, &BTreeSet::new(), &BTreeSet::new())
            .into_iter()
            .map(|i| i.identifier)
            .collect()
    }

    #[test]
    fn a_channel_has_what_its_organisation_tags_device_and_person_are_assigned() {
        let assigned = [
            assignment(1, Target::Organisation, Channels::Device),
            assignment(2, Target::Tag("lab".to_owned()), Channels::Device),
            assignment(3, Target::Device(DeviceId(7)), Channels::Device),
            assignment(4, Target::User("ANNA".to_owned()), Channels::Device),
            assignment(5, Target::User("guid-9".to_owned()), Channels::Users),
            assignment(6, Target::Tag("lab".to_owned()), Channels::Users),
            assignment(7, Target::Device(DeviceId(8)), Channels::Device),
        ];
        let sets = (1..=7).map(|n| set(n, &[n, 9])).collect();
        let declarations = (1..=9).map(|n| declaration(n, "t")).collect();
        let all = Catalogue::new(&assigned, sets, declarations);
        let (own, user) = (channel(ChannelKind::Device), channel(anna()));
        assert_eq!(
            names(&all, &own, &device(&["lab"])),
            ["d1", "d2", "d3", "d9"]
        );
        assert_eq!(names(&all, &own, &device(&["Lab2"])), ["d1", "d3", "d9"]);
        assert_eq!(
            names(&all, &user, &device(&["lab"])),
            ["d4", "d5", "d6", "d9"]
        );
    }

    #[test]
    fn what_is_out_of_use_is_absent() {
        let assigned = [assignment(1, Target::Organisation, Channels::Device)];
        let (own, device) = (channel(ChannelKind::Device), device(&[]));
        let check = |ended: bool, no_set: bool, no_declaration: bool| {
            let mut assigned = assigned.clone();
            let (mut set, mut one) = (set(1, &[1]), declaration(1, "t"));
            assigned[0].ended = ended.then(at);
            set.removed = no_set.then(at);
            one.removed = no_declaration.then(at);
            names(
                &Catalogue::new(&assigned, vec![set], vec![one]),
                &own,
                &device,
            )
            .len()
        };
        assert_eq!(check(false, false, false), 1);
        assert_eq!(check(true, false, false), 0);
        assert_eq!(check(false, true, false), 0);
        assert_eq!(check(false, false, true), 0);
    }

    #[test]
    fn the_token_of_a_list_follows_from_its_items() {
        let item = |id: i64, token: &str| {
            let all = Catalogue::new(&[], Vec::new(), vec![declaration(id, token)]);
            all.declarations[&DeclarationId(id)].clone()
        };
        let token = declarations_token;
        let both = token(&[item(1, "a"), item(2, "b")]);
        assert_eq!(both, token(&[item(1, "a"), item(2, "b")]));
        for other in [
            vec![],
            vec![item(1, "a")],
            vec![item(1, "a"), item(2, "c")],
            vec![item(1, "a"), item(3, "b")],
        ] {
            assert_ne!(both, token(&other));
        }
        let manifest =
            DeclarationManifest::new(ORG, ManifestId(1), vec![item(1, "a"), item(2, "b")], at());
        let kind = DeclarationKind::Configuration;
        assert_eq!(manifest.item(kind, "d2"), Some(&item(2, "b")));
        assert_eq!(manifest.item(kind, "d3"), None);
        assert_eq!(manifest.item(DeclarationKind::Asset, "d2"), None);
    }
}
