//! Declarations as people keep them: contents, sets, and for whom they are. Every change leaves one job that has the channels
//! looked at; whose list has become another is told, and nobody else. Serves no device: that is [`door`] and [`files`].

mod door;
mod files;
mod ours;
mod shown;
mod walk;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub(in crate::service) use door::declared_apps;
pub use files::NewFile;
pub use shown::{AssignmentView, ChannelDeclarations, SetView, WantedDeclaration};

use super::Org;
use crate::clock::Timestamp;
use crate::ddm::manifest::OWN_ACTIVATION as ACTIVATION;
use crate::ddm::own;
use crate::ddm::{
    Channels, Declaration, DeclarationAssignment, DeclarationContent, DeclarationKind,
    DeclarationSet, Target, check_content, check_identifier, check_set, server_token,
};
use crate::error::Error;
use crate::ids::{AssignmentId, ContentId, DeclarationId, DeclarationSetId};
use crate::job::{Job, JobKind};
use crate::store::{Batch, Noun};
use crate::wire::declared::Payload;

/// Declarations of an organisation.
const MOST: u32 = 5_000;
/// Sets of an organisation. A set that is put, and a declaration that is removed, read all of them.
const MOST_SETS: usize = 1_000;

/// A declaration as it is to be kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewDeclaration {
    /// `Identifier`.
    pub identifier: String,
    /// `Type`.
    pub declaration_type: String,
    /// `Payload`.
    pub payload: Map<String, Value>,
    /// The file that it refers to, to be kept here: of assets, and of `com.apple.configuration.legacy`. What the payload says
    /// of its address, size and hash is written over.
    pub file: Option<NewFile>,
    /// Of a configuration: put an activation of its own beside it, in every set that has it, under this predicate.
    pub activation: Option<Activation>,
}

/// When a configuration is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activation {
    /// `Predicate`, carried as it is; always, when there is none.
    pub predicate: Option<String>,
}

impl Activation {
    /// Under this predicate, or always.
    #[must_use]
    pub fn when(predicate: Option<String>) -> Self {
        Self { predicate }
    }
}

impl NewDeclaration {
    /// The same from a typed payload.
    #[must_use]
    pub fn of(identifier: &str, payload: impl Into<Payload>) -> Self {
        let payload = payload.into();
        Self::new(identifier, payload.declaration_type(), payload.to_json())
    }

    /// A declaration without a file, and without an activation of its own.
    #[must_use]
    pub fn new(identifier: &str, declaration_type: &str, payload: Map<String, Value>) -> Self {
        Self {
            identifier: identifier.to_owned(),
            declaration_type: declaration_type.to_owned(),
            payload,
            file: None,
            activation: None,
        }
    }
}

impl Org {
    /// Puts a declaration, or another content of the one of this identifier. The same content again changes nothing, on no
    /// device either.
    ///
    /// # Errors
    /// [`Error::BadInput`] for what no device would take, another kind than the declaration has, or a payload that Apple's
    /// schema rules out; [`Error::Precondition`] for 5,000 declarations, and for an app that a migration under way is to keep
    /// and that would not be required; the vault's, the store's.
    pub async fn put_declaration(&self, new: &NewDeclaration) -> Result<Declaration, Error> {
        check_identifier(&new.identifier)?;
        if new.identifier.starts_with(own::PREFIX) {
            return Err(Error::bad_input(
                "Identifier",
                "begins as those that this server declares by itself",
            ));
        }
        let kind = check_content(&new.declaration_type, &new.payload)?;
        if new.activation.is_some() {
            if kind != DeclarationKind::Configuration {
                return Err(Error::bad_input("activation", "is for configurations"));
            }
            check_identifier(&format!("{}{ACTIVATION}", new.identifier))?;
        }
        self.check_app(new).await?;
        self.again_on_conflict(|| self.put_declaration_once(new, kind))
            .await
    }

    async fn put_declaration_once(
        &self,
        new: &NewDeclaration,
        kind: DeclarationKind,
    ) -> Result<Declaration, Error> {
        let now = self.now();
        let mut batch = Batch::new();
        let (declaration, mut changed) = self.content_into(&mut batch, new, kind, now).await?;
        if let Some(activation) = &new.activation {
            let mut payload = Map::new();
            payload.insert("StandardConfigurations".to_owned(), json!([new.identifier]));
            if let Some(predicate) = &activation.predicate {
                payload.insert("Predicate".to_owned(), json!(predicate));
            }
            let beside = NewDeclaration::new(
                &format!("{}{ACTIVATION}", new.identifier),
                "com.apple.activation.simple",
                payload,
            );
            let (own, other) = self
                .content_into(&mut batch, &beside, DeclarationKind::Activation, now)
                .await?;
            if other && !changed {
                // Whoever puts it into a set at this moment has not seen the activation.
                batch.put(declaration.clone());
            }
            changed |= other;
            for mut set in self.store().declaration_sets(self.id()).await? {
                if set.members.contains(&declaration.id) && set.members.insert(own.id) {
                    set.changed = now;
                    changed = true;
                    batch.put(set);
                }
            }
        }
        if changed {
            self.declare_into(&mut batch, now);
            self.audit_into(
                &mut batch,
                "declaration.put",
                json!({ "declaration": declaration.id, "identifier": declaration.identifier,
                    "type": declaration.declaration_type, "token": declaration.server_token }),
            );
            self.store().commit(batch).await?;
        }
        Ok(declaration)
    }

    /// Whether one more declaration may be in use. Those that were removed take nobody's place.
    async fn check_room(&self) -> Result<(), Error> {
        let (mut used, mut after) = (0, DeclarationId(0));
        loop {
            let page = self.store().declarations(self.id(), after, MOST).await?;
            used += page.iter().filter(|it| it.removed.is_none()).count();
            if used >= MOST as usize {
                return Err(Error::Precondition(format!(
                    "there are {MOST} declarations already"
                )));
            }
            match page.last() {
                Some(last) => after = last.id,
                None => return Ok(()),
            }
        }
    }

    /// The rows of one declaration; whether anything is new.
    async fn content_into(
        &self,
        batch: &mut Batch,
        new: &NewDeclaration,
        kind: DeclarationKind,
        now: Timestamp,
    ) -> Result<(Declaration, bool), Error> {
        let store = self.store();
        let old = store
            .declaration_by_identifier(self.id(), &new.identifier)
            .await?;
        if old.as_ref().is_some_and(|old| old.kind != kind) {
            return Err(Error::bad_input(
                "Type",
                "is of another kind than the declaration of this identifier",
            ));
        }
        let is_own = new.identifier.starts_with(own::PREFIX);
        if old.as_ref().is_none_or(|old| old.removed.is_some()) && !is_own {
            // Its own are few, and no report of a device fails because people have declared much.
            self.check_room().await?;
        }
        let id = ContentId(self.ids().next(now));
        let held = match &old {
            Some(old) => store.declaration_content(self.id(), old.content).await?,
            None => None,
        };
        let held = held.and_then(|content| content.file);
        let (payload, file) = self.file_into(batch, new, id, held, now).await?;
        check_content(&new.declaration_type, &payload)?;
        if let Some(fault) = crate::wire::declared::fault(&new.declaration_type, &payload) {
            return Err(Error::bad_input("Payload", fault));
        }
        let token = server_token(&new.declaration_type, &new.identifier, &payload);
        if let Some(old) = &old
            && old.server_token == token
            && old.removed.is_none()
        {
            return Ok((old.clone(), false));
        }
        let content = match store
            .declaration_content_by_token(self.id(), &token)
            .await?
        {
            Some(content) => {
                // Nothing may name it at this moment, and then it may be on its way out.
                let noun = Noun::DeclarationContent;
                batch.expect(noun, self.id(), content.id.0, content.version);
                content.id
            }
            None => {
                batch.put(DeclarationContent {
                    organisation: self.id(),
                    id,
                    version: 0,
                    identifier: new.identifier.clone(),
                    declaration_type: new.declaration_type.clone(),
                    payload,
                    server_token: token.clone(),
                    file,
                    created: now,
                });
                id
            }
        };
        let declaration = Declaration {
            organisation: self.id(),
            id: old
                .as_ref()
                .map_or_else(|| DeclarationId(self.ids().next(now)), |old| old.id),
            version: old.as_ref().map_or(0, |old| old.version),
            identifier: new.identifier.clone(),
            kind,
            declaration_type: new.declaration_type.clone(),
            server_token: token,
            content,
            created: old.as_ref().map_or(now, |old| old.created),
            changed: now,
            removed: None,
        };
        batch.put(declaration.clone());
        Ok((declaration, true))
    }

    /// Takes a declaration out of use and out of every set, with the activation that was put beside it. Devices lose it.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn remove_declaration(&self, identifier: &str) -> Result<Declaration, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let gone = self.declaration(identifier).await?;
            let beside = format!("{identifier}{ACTIVATION}");
            let beside = self
                .store()
                .declaration_by_identifier(self.id(), &beside)
                .await?
                .filter(|it| it.removed.is_none() && gone.kind == DeclarationKind::Configuration);
            let mut batch = Batch::new();
            let mut ids = BTreeSet::new();
            for it in [Some(&gone), beside.as_ref()].into_iter().flatten() {
                let mut row = it.clone();
                row.removed = Some(now);
                ids.insert(row.id);
                batch.put(row);
            }
            for mut set in self.store().declaration_sets(self.id()).await? {
                let before = set.members.len();
                set.members.retain(|member| !ids.contains(member));
                if set.members.len() != before {
                    set.changed = now;
                    batch.put(set);
                }
            }
            self.declare_into(&mut batch, now);
            let detail = json!({ "declaration": gone.id, "identifier": gone.identifier });
            self.audit_into(&mut batch, "declaration.removed", detail);
            self.store().commit(batch).await?;
            Ok(gone)
        })
        .await
    }

    /// A declaration that is in use.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn declaration(&self, identifier: &str) -> Result<Declaration, Error> {
        let found = self.if_declared(identifier).await?;
        found.ok_or(Error::NotFound("declaration"))
    }

    async fn if_declared(&self, identifier: &str) -> Result<Option<Declaration>, Error> {
        let found = self
            .store()
            .declaration_by_identifier(self.id(), identifier);
        Ok(found.await?.filter(|it| it.removed.is_none()))
    }

    /// The present content of a declaration.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn declaration_content(
        &self,
        declaration: &Declaration,
    ) -> Result<DeclarationContent, Error> {
        let found = self
            .store()
            .declaration_content(self.id(), declaration.content);
        found
            .await?
            .ok_or(Error::NotFound("content of a declaration"))
    }

    /// Puts a set, or other members of the set of this name. A configuration brings the activation that was put beside it.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a name that cannot be, or a member that is no declaration; [`Error::Precondition`] for a
    /// thousand sets; the store's.
    pub async fn put_declaration_set(
        &self,
        name: &str,
        members: &[String],
    ) -> Result<DeclarationSet, Error> {
        check_set(name, members.len())?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let (mut ids, mut seen) = (BTreeSet::new(), Vec::new());
            for identifier in members {
                let Some(member) = self.if_declared(identifier).await? else {
                    return Err(Error::bad_input(
                        "members",
                        format!("{identifier} is no declaration"),
                    ));
                };
                ids.insert(member.id);
                // One that is removed, or gets an activation, meanwhile is looked at anew.
                seen.push((member.id, member.version));
                if member.kind == DeclarationKind::Configuration
                    && let Some(beside) = self
                        .if_declared(&format!("{identifier}{ACTIVATION}"))
                        .await?
                {
                    ids.insert(beside.id);
                    seen.push((beside.id, beside.version));
                }
            }
            let all = self.store().declaration_sets(self.id()).await?;
            let count = all.iter().filter(|set| set.removed.is_none()).count();
            let old = all.into_iter().find(|set| set.name == name);
            let is_one_more = old.as_ref().is_none_or(|old| old.removed.is_some());
            if is_one_more && count >= MOST_SETS {
                return Err(Error::Precondition(format!(
                    "there are {MOST_SETS} sets already"
                )));
            }
            if let Some(old) = &old
                && old.members == ids
                && old.removed.is_none()
            {
                return Ok(old.clone());
            }
            let set = DeclarationSet {
                organisation: self.id(),
                id: old
                    .as_ref()
                    .map_or_else(|| DeclarationSetId(self.ids().next(now)), |old| old.id),
                version: old.as_ref().map_or(0, |old| old.version),
                name: name.to_owned(),
                members: ids,
                created: old.as_ref().map_or(now, |old| old.created),
                changed: now,
                removed: None,
            };
            let mut batch = Batch::new();
            for (member, version) in seen {
                batch.expect(Noun::Declaration, self.id(), member.0, version);
            }
            batch.put(set.clone());
            self.declare_into(&mut batch, now);
            let detail = json!({ "set": set.id, "name": name, "members": set.members.len() });
            self.audit_into(&mut batch, "declaration-set.put", detail);
            self.store().commit(batch).await?;
            Ok(set)
        })
        .await
    }

    /// Takes a set out of use, with everything for whom it is. Devices lose what they have by it alone.
    ///
    /// # Errors
    /// [`Error::NotFound`], the store's.
    pub async fn remove_declaration_set(&self, name: &str) -> Result<DeclarationSet, Error> {
        self.again_on_conflict(|| async {
            let now = self.now();
            let set = self.declaration_set(name).await?;
            let mut gone = set.clone();
            gone.removed = Some(now);
            gone.members.clear();
            let mut batch = Batch::new();
            batch.put(gone);
            let assigned = self.store().declaration_assignments_of(self.id(), set.id);
            for mut assignment in assigned.await?.into_iter().filter(|a| a.ended.is_none()) {
                assignment.ended = Some(now);
                batch.put(assignment);
            }
            self.declare_into(&mut batch, now);
            let detail = json!({ "set": set.id, "name": name });
            self.audit_into(&mut batch, "declaration-set.removed", detail);
            self.store().commit(batch).await?;
            Ok(set)
        })
        .await
    }

    async fn declaration_set(&self, name: &str) -> Result<DeclarationSet, Error> {
        let all = self.store().declaration_sets(self.id()).await?;
        let mut used = all.into_iter().filter(|set| set.removed.is_none());
        used.find(|set| set.name == name)
            .ok_or(Error::NotFound("set of declarations"))
    }

    /// Gives a set to somebody. Answers whether that is new.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::BadInput`] for a tag or a person that cannot be; the store's.
    pub async fn assign_declarations(
        &self,
        set: &str,
        target: &Target,
        channels: Channels,
    ) -> Result<bool, Error> {
        let target = checked(target)?;
        self.again_on_conflict(|| async {
            let now = self.now();
            let set = self.declaration_set(set).await?;
            let assignment = DeclarationAssignment {
                organisation: self.id(),
                id: AssignmentId(self.ids().next(now)),
                version: 0,
                set: set.id,
                target: target.clone(),
                channels,
                created: now,
                ended: None,
            };
            let assigned = self.store().declaration_assignments_of(self.id(), set.id);
            let scope = assignment.scope();
            let is_there = assigned
                .await?
                .iter()
                .any(|a| a.ended.is_none() && a.scope() == scope);
            if is_there {
                return Ok(false);
            }
            let mut batch = Batch::new();
            batch.expect(Noun::DeclarationSet, self.id(), set.id.0, set.version);
            let detail =
                json!({ "set": set.name, "target": assignment.target, "channels": channels });
            batch.put(assignment);
            self.declare_into(&mut batch, now);
            self.audit_into(&mut batch, "declaration-set.assigned", detail);
            self.store().commit(batch).await?;
            Ok(true)
        })
        .await
    }

    /// Takes a set from somebody. Answers whether there was anything to take.
    ///
    /// # Errors
    /// As [`Org::assign_declarations`].
    pub async fn unassign_declarations(
        &self,
        set: &str,
        target: &Target,
        channels: Channels,
    ) -> Result<bool, Error> {
        let target = checked(target)?;
        let scope = crate::ddm::scope(&target, channels);
        self.again_on_conflict(|| async {
            let now = self.now();
            let set = self.declaration_set(set).await?;
            let assigned = self.store().declaration_assignments_of(self.id(), set.id);
            let mut assigned = assigned.await?.into_iter();
            let found = assigned.find(|a| a.ended.is_none() && a.scope() == scope);
            let Some(mut assignment) = found else {
                return Ok(false);
            };
            let mut batch = Batch::new();
            assignment.ended = Some(now);
            let detail =
                json!({ "set": set.name, "target": assignment.target, "channels": channels });
            batch.put(assignment);
            self.declare_into(&mut batch, now);
            self.audit_into(&mut batch, "declaration-set.unassigned", detail);
            self.store().commit(batch).await?;
            Ok(true)
        })
        .await
    }

    /// Has every channel looked at, from the first one on: one job, however many changes come before it is begun. A walk that
    /// is under way goes to its end first: whoever changes something every second keeps nobody waiting for ever.
    pub(super) fn declare_into(&self, batch: &mut Batch, now: Timestamp) {
        let key = walk::next_key(self.id());
        batch.put(Job::new(self.id(), key, now, JobKind::DeclareAll));
    }
}

/// A target as it is kept: tags and groups as the library spells them.
fn checked(target: &Target) -> Result<Target, Error> {
    Ok(match target {
        Target::Tag(tag) => {
            let one = crate::library::tags([tag])?.into_iter().next();
            Target::Tag(one.ok_or_else(|| Error::bad_input("tag", "must not be empty"))?)
        }
        Target::Group(group) => {
            let one = crate::library::groups([group])?.into_iter().next();
            Target::Group(one.ok_or_else(|| Error::bad_input("groups", "must not be empty"))?)
        }
        Target::User(name) => {
            crate::line::check_filled("user", name, 255)?;
            Target::User(name.clone())
        }
        Target::Organisation | Target::Device(_) => target.clone(),
    })
}
