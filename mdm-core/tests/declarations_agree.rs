//! Any history of edits, assignments, tags, fetches and reports ends in agreement once everybody is quiet, a device hears of
//! news only by its notices, and no order of requests gives *not found* for what exists, or an item that cannot be had.

mod declared;
mod service_house;

use std::collections::BTreeSet;

use declared::{Gear, fetch, map, notices};
use mdm_core::ddm::{Channels, Target};
use mdm_core::ids::DeviceId;
use mdm_core::service::{NewDeclaration, Org};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use service_house::{Gadget, House};

const TEST: &str = "com.apple.configuration.management.test";
const DEVICES: usize = 3;
const DECLARATIONS: usize = 4;
const SETS: usize = 3;

/// Something that a person or a device does.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Remove(usize),
    /// Which declarations, by bits.
    Set(usize, u8),
    RemoveSet(usize),
    /// A set to: everybody, a tag, a device.
    Assign(usize, usize),
    Unassign(usize, usize),
    Tag(usize, bool),
    /// The worker does what is due.
    Work,
    /// A device that has heard of news takes a list, if it is at none.
    Begin(usize),
    /// It fetches one of its list.
    Take(usize, usize),
    /// It fetches what is left, drops what is gone and reports.
    Finish(usize),
    /// It looks whether there is news, for no reason.
    Look(usize),
    /// It asks for some declaration.
    Ask(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (d, n, s, t) = (0..DEVICES, 0..DECLARATIONS, 0..SETS, 0..5_usize);
    prop_oneof![
        4 => (n.clone(), 0..3_u8).prop_map(|(n, c)| Step::Put(n, c)),
        1 => n.clone().prop_map(Step::Remove),
        3 => (s.clone(), 0..16_u8).prop_map(|(s, m)| Step::Set(s, m)),
        1 => s.clone().prop_map(Step::RemoveSet),
        3 => (s.clone(), t.clone()).prop_map(|(s, t)| Step::Assign(s, t)),
        1 => (s, t).prop_map(|(s, t)| Step::Unassign(s, t)),
        1 => (d.clone(), any::<bool>()).prop_map(|(d, on)| Step::Tag(d, on)),
        4 => Just(Step::Work),
        4 => d.clone().prop_map(Step::Begin),
        6 => (d.clone(), 0..DECLARATIONS).prop_map(|(d, n)| Step::Take(d, n)),
        3 => d.clone().prop_map(Step::Finish),
        1 => d.clone().prop_map(Step::Look),
        2 => (d, n).prop_map(|(d, n)| Step::Ask(d, n)),
    ]
}

/// A device with what it has, and the list that it is at.
struct Player {
    gadget: Gadget,
    id: DeviceId,
    gear: Gear,
    news: bool,
    list: Option<Vec<(String, String, String)>>,
}

impl Player {
    async fn hear(&mut self, house: &House) {
        self.news |= notices(house, &self.gadget).await > 0;
    }

    async fn begin(&mut self, house: &House) {
        self.hear(house).await;
        if self.news && self.list.is_none() {
            self.news = false;
            let token = self.gear.tokens(house, &self.gadget).await;
            if self.gear.token.as_ref() != Some(&token) {
                self.list = Some(self.gear.items(house, &self.gadget).await);
            }
        }
    }

    async fn finish(&mut self, house: &House) {
        if let Some(list) = self.list.take() {
            for item in &list {
                self.gear.take(house, &self.gadget, item).await;
            }
            self.gear.settle(house, &self.gadget, &list).await;
        }
    }
}

fn name(n: usize) -> String {
    format!("d{n}")
}

async fn players(house: &House) -> Vec<Player> {
    let mut all = Vec::new();
    for n in 0..DEVICES {
        let gadget = house.device(&format!("C02AGREE0{n}")).await;
        house.enrol(&gadget).await;
        house.settle().await;
        notices(house, &gadget).await;
        let org = house.org().await;
        let id = org.device_of_serial(&gadget.serial).await.unwrap();
        all.push(Player {
            gadget,
            id,
            gear: Gear::default(),
            news: false,
            list: None,
        });
    }
    all
}

async fn do_one(house: &House, org: &Org, players: &mut [Player], step: &Step) {
    let target = |t: usize| match t {
        0 => Target::Organisation,
        1 => Target::Tag("lab".to_owned()),
        n => Target::Device(players[n - 2].id),
    };
    // What people ask for may be impossible just then; that is theirs to hear, and changes nothing.
    match step.clone() {
        Step::Put(n, content) => put(org, n, content).await,
        Step::Remove(n) => drop(org.remove_declaration(&name(n)).await),
        Step::Set(s, members) => {
            let mut all = Vec::new();
            for n in (0..DECLARATIONS).filter(|n| members & (1 << n) != 0) {
                if org.declaration(&name(n)).await.is_ok() {
                    all.push(name(n));
                }
            }
            org.put_declaration_set(&format!("s{s}"), &all)
                .await
                .unwrap();
        }
        Step::RemoveSet(s) => drop(org.remove_declaration_set(&format!("s{s}")).await),
        Step::Assign(s, t) => {
            let set = format!("s{s}");
            drop(
                org.assign_declarations(&set, &target(t), Channels::Device)
                    .await,
            );
        }
        Step::Unassign(s, t) => {
            let set = format!("s{s}");
            drop(
                org.unassign_declarations(&set, &target(t), Channels::Device)
                    .await,
            );
        }
        Step::Tag(d, on) => {
            let lab = BTreeSet::from(["lab".to_owned()]);
            let (add, take) = if on {
                (lab, BTreeSet::new())
            } else {
                (BTreeSet::new(), lab)
            };
            let serial = std::slice::from_ref(&players[d].gadget.serial);
            org.tag_devices(serial, &add, &take).await.unwrap();
        }
        Step::Work => house.settle().await,
        Step::Begin(d) => players[d].begin(house).await,
        Step::Take(d, nth) => {
            let player = &mut players[d];
            if let Some(item) = player.list.as_ref().and_then(|list| list.get(nth)).cloned() {
                player.gear.take(house, &player.gadget, &item).await;
            }
        }
        Step::Finish(d) => players[d].finish(house).await,
        Step::Look(d) => drop(players[d].gear.tokens(house, &players[d].gadget).await),
        Step::Ask(d, n) => {
            let player = &players[d];
            let answer = fetch(house, &player.gadget, "configuration", &name(n)).await;
            if answer.is_none() {
                let listed = player.list.iter().flatten().any(|item| item.1 == name(n));
                assert!(!listed, "an item of its list is said not to exist");
                let wanted = org
                    .declarations_of_device(&player.gadget.serial)
                    .await
                    .unwrap();
                let wanted = wanted[0].wanted.iter().any(|w| w.identifier == name(n));
                assert!(
                    !wanted,
                    "a declaration that it should have is said not to exist"
                );
            }
        }
    }
}

async fn put(org: &Org, n: usize, content: u8) {
    let payload = map(&json!({ "Echo": content.to_string() }));
    let new = NewDeclaration::new(&name(n), TEST, payload);
    org.put_declaration(&new).await.unwrap();
}

/// Everybody finishes what they are at, and does what the notices say, until there are none.
async fn quiet_down(house: &House, players: &mut [Player]) {
    for _ in 0..10 {
        house.settle().await;
        let mut busy = false;
        for player in &mut *players {
            busy |= player.list.is_some();
            player.finish(house).await;
            player.hear(house).await;
            busy |= player.news;
            player.begin(house).await;
        }
        if !busy {
            return;
        }
    }
    panic!("news without an end");
}

async fn agree(org: &Org, players: &[Player]) {
    for player in players {
        let shown = org
            .declarations_of_device(&player.gadget.serial)
            .await
            .unwrap();
        let wanted: Vec<(&str, &str)> = shown[0]
            .wanted
            .iter()
            .map(|w| (w.identifier.as_str(), w.server_token.as_str()))
            .collect();
        let has: Vec<(&str, &str)> = player
            .gear
            .has
            .iter()
            .map(|(identifier, held)| (identifier.as_str(), held.token.as_str()))
            .collect();
        assert_eq!(has, wanted, "{}", player.gadget.serial);
        assert!(shown[0].agrees, "{}", player.gadget.serial);
    }
}

#[test]
fn any_history_ends_in_agreement() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 8,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let history = proptest::collection::vec(step(), 60..120);
    runner
        .run(&history, |history| {
            runtime.block_on(async {
                let house = House::new().await;
                let org = house.org().await;
                let mut players = players(&house).await;
                for step in &history {
                    do_one(&house, &org, &mut players, step).await;
                }
                quiet_down(&house, &mut players).await;
                agree(&org, &players).await;
            });
            Ok(())
        })
        .unwrap();
}

/// Edits and synchronisations at the same moment, on several threads: a change that falls between a device's list being made
/// and being kept is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_beside_synchronisations_are_not_lost() {
    let house = House::new().await;
    let org = house.org().await;
    let mut players = players(&house).await;
    for n in 0..DECLARATIONS {
        put(&org, n, 0).await;
    }
    let all: Vec<String> = (0..DECLARATIONS).map(name).collect();
    org.put_declaration_set("s", &all).await.unwrap();
    org.assign_declarations("s", &Target::Organisation, Channels::Device)
        .await
        .unwrap();
    for round in 1..=15_u8 {
        let edits = async {
            for n in 0..DECLARATIONS {
                // There and back: the list before and the list after may be the same.
                put(&org, n, round).await;
                put(&org, n, round % 2).await;
            }
            house.settle().await;
        };
        let syncs = futures_util::future::join_all(players.iter_mut().map(|player| async {
            for _ in 0..4 {
                player.begin(&house).await;
                player.finish(&house).await;
                // Not only when told: a list may be asked for at any moment.
                player.list = Some(player.gear.items(&house, &player.gadget).await);
                player.finish(&house).await;
            }
        }));
        tokio::join!(edits, syncs);
        quiet_down(&house, &mut players).await;
        agree(&org, &players).await;
    }
}
