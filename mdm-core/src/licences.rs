//! Licences of Apps and Books: what a location has, what the members of a wave need, and what is lacking. Pure; asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{JobId, LocationId, MoveId, OrganisationId, SecretId, Serial};

/// A location of Apps and Books whose content token we hold, and its licences as last read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Location {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// Its key.
    pub id: LocationId,
    /// Version of the row; 0 for a new one.
    #[serde(skip)]
    pub version: i64,
    /// Apple's name of it.
    pub name: String,
    /// Apple's identifier of its library (`uId`): two tokens with one library see the same licences.
    pub library: String,
    /// The sealed content token.
    pub token: SecretId,
    /// When the token ends.
    pub token_expires: Option<Timestamp>,
    /// When Apple last said whose it is.
    #[serde(default)]
    pub claim_read: Option<Timestamp>,
    /// The management service that has claimed it, if it is not us.
    pub claimed_by_other: Option<String>,
    /// The management service that had it last before us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
    /// Licences by store identifier.
    pub stock: BTreeMap<u64, Stock>,
    /// When they were read.
    pub stock_read: Option<Timestamp>,
    /// Apps whose holders were noted on the devices of open waves in a reading that is not at its end, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub noted: BTreeMap<u64, Timestamp>,
    /// Most apps and devices that Apple takes in one request.
    pub limits: LicenceLimits,
    /// Why a person is needed, in a sentence.
    pub needs_person: Option<String>,
    /// The recurring job that reads the stock.
    pub job: JobId,
    /// When it was given up: its token is destroyed, and nothing is read, given or taken back there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

impl Location {
    /// A location of which nothing was read.
    #[must_use]
    pub fn new(
        organisation: OrganisationId,
        id: LocationId,
        name: &str,
        library: &str,
        token: SecretId,
        job: JobId,
    ) -> Self {
        Self {
            organisation,
            id,
            version: 0,
            name: name.to_owned(),
            library: library.to_owned(),
            token,
            token_expires: None,
            claim_read: None,
            claimed_by_other: None,
            taken_over: None,
            stock: BTreeMap::new(),
            stock_read: None,
            noted: BTreeMap::new(),
            limits: LicenceLimits::default(),
            needs_person: None,
            job,
            removed: None,
        }
    }
}

impl Location {
    /// Whether licences can be had of it now: nobody else has claimed it, and its token is good.
    #[must_use]
    pub const fn gives(&self) -> bool {
        self.claimed_by_other.is_none() && self.needs_person.is_none()
    }
}

/// That a location was another management service's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "from whom, and when")]
pub struct TakenOver {
    /// As that service called itself.
    pub from: String,
    /// When it became ours.
    pub at: Timestamp,
}

/// How much one request may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "two numbers of Apple's")]
pub struct LicenceLimits {
    /// Most apps.
    pub apps: usize,
    /// Most devices.
    pub devices: usize,
}

impl Default for LicenceLimits {
    fn default() -> Self {
        Self {
            apps: 25,
            devices: 1000,
        }
    }
}

/// The licences of one app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "built by the port")]
pub struct Stock {
    /// All licences.
    pub total: u64,
    /// Given out.
    pub assigned: u64,
    /// Left.
    pub available: u64,
    /// A free app: as many as one likes.
    pub unlimited: bool,
    /// May be given to devices.
    pub device_assignable: bool,
}

impl Stock {
    /// With the licences of another location. Where devices can get some at one of the two, what only people can get at the other is
    /// not left for anybody who migrates.
    pub(crate) const fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.assigned = self.assigned.saturating_add(other.assigned);
        match (self.device_assignable, other.device_assignable) {
            (true, false) => {}
            (false, true) => {
                self.available = other.available;
                self.unlimited = other.unlimited;
                self.device_assignable = true;
            }
            (true, true) | (false, false) => {
                self.available = self.available.saturating_add(other.available);
                self.unlimited |= other.unlimited;
            }
        }
    }

    /// There are licences, and Apple gives them to people only: no device gets one in its set-up.
    #[must_use]
    pub const fn is_for_users_only(&self) -> bool {
        !self.device_assignable && (self.total > 0 || self.unlimited)
    }
}

/// A licence that a device has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[expect(clippy::exhaustive_structs, reason = "five facts of one licence")]
pub struct HeldLicence {
    /// Of which location.
    pub location: LocationId,
    /// Store identifier of the app.
    pub app: u64,
    /// When it was read at Apple.
    pub read: Timestamp,
    /// We gave it for an attempt, and take it back when that is withdrawn.
    pub ours: bool,
    /// For which attempt we gave it.
    #[serde(default)]
    pub attempt: Option<MoveId>,
}

/// What one app needs, has and lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LicenceNeed {
    /// Store identifier of the app.
    pub app: u64,
    /// Its bundle identifiers in the runbooks.
    pub bundles: BTreeSet<String>,
    /// Devices that need it.
    pub needs: u64,
    /// Of these, devices that have it already, or to which an open request is about to give it.
    pub has: u64,
    /// Licences left at the location, without those that open requests have promised to devices.
    pub available: u64,
    /// It is free: nothing can lack.
    pub unlimited: bool,
    /// It is in the location, and may be given to devices.
    pub assignable: bool,
    /// There are licences, and they can be given to people only: no device gets one in its set-up.
    pub user_only: bool,
    /// Licences that must be bought or transferred before all devices that go can have it.
    pub lacks: u64,
    /// Of a what-if: devices that need it, have none, and stay behind for something else, which may be the want of a licence of another
    /// app that they have. They take no licence from who goes.
    pub behind: u64,
    /// Members of open waves that are not counted here, lack it too and were promised none.
    pub others: u64,
}

/// Counts what devices need, by app; keeps no device.
#[derive(Clone, Debug, Default)]
pub struct NeedCount(BTreeMap<u64, LicenceNeed>);

impl NeedCount {
    /// Counts a device: the apps that it needs, by store and bundle identifier, and of which it has a licence.
    pub fn add(&mut self, apps: &[(u64, String)], has: impl Fn(u64) -> bool) {
        self.add_those(apps, |_| true, has);
    }

    /// Counts a device that stays behind: it takes no licence from the others.
    pub fn add_behind(&mut self, apps: &[(u64, String)], has: impl Fn(u64) -> bool) {
        self.add_those(apps, |_| false, has);
    }

    /// Counts a device, and says of which apps it takes a licence from the others.
    pub(crate) fn add_those(
        &mut self,
        apps: &[(u64, String)],
        takes: impl Fn(u64) -> bool,
        has: impl Fn(u64) -> bool,
    ) {
        let mut seen = BTreeSet::new();
        for (app, bundle) in apps {
            let need = self.0.entry(*app).or_insert_with(|| LicenceNeed {
                app: *app,
                bundles: BTreeSet::new(),
                needs: 0,
                has: 0,
                available: 0,
                unlimited: false,
                assignable: false,
                user_only: false,
                lacks: 0,
                behind: 0,
                others: 0,
            });
            if !need.bundles.contains(bundle) {
                need.bundles.insert(bundle.clone());
            }
            if seen.insert(*app) {
                need.needs += 1;
                let has = has(*app);
                need.has += u64::from(has);
                need.behind += u64::from(!has && !takes(*app));
            }
        }
    }

    /// What was counted, beside what there is.
    #[must_use]
    pub fn finish(mut self, stock: &BTreeMap<u64, Stock>) -> Vec<LicenceNeed> {
        for need in self.0.values_mut() {
            if let Some(stock) = stock.get(&need.app) {
                need.available = stock.available;
                need.unlimited = stock.unlimited;
                need.assignable = stock.device_assignable;
                need.user_only = stock.is_for_users_only();
            }
            let open = need.needs - need.has - need.behind;
            need.lacks = match (need.assignable, need.unlimited) {
                (true, true) => 0,
                (true, false) => open.saturating_sub(need.available),
                (false, _) => open,
            };
        }
        self.0.into_values().collect()
    }
}

/// What the devices need, by app. `wants` names the apps of each device: store and bundle identifier.
#[must_use]
pub fn needs<'a>(
    wants: impl IntoIterator<Item = (&'a Serial, &'a [(u64, String)])>,
    holds: &BTreeSet<(u64, Serial)>,
    stock: &BTreeMap<u64, Stock>,
) -> Vec<LicenceNeed> {
    let mut count = NeedCount::default();
    for (serial, apps) in wants {
        count.add(apps, |app| holds.contains(&(app, serial.clone())));
    }
    count.finish(stock)
}

/// Devices with the apps that each lacks.
pub(crate) type Lacking<T> = Vec<(T, BTreeSet<u64>)>;

/// From which location each device gets what it lacks: the first one that gives, has the app for devices, and has a licence
/// left that is not promised to somebody else. Where there are too few, those come `first` of which that is said, in the order in which
/// they are given here. Who would get none is left out.
pub(crate) fn allot<'a, T: Clone>(
    lacking: impl IntoIterator<Item = (T, BTreeSet<u64>)>,
    locations: &'a [Location],
    promised: &BTreeMap<(LocationId, u64), u64>,
    first: impl Fn(&T, u64) -> bool,
) -> Vec<(&'a Location, Lacking<T>)> {
    let lacking: Lacking<T> = lacking.into_iter().collect();
    let mut left: BTreeMap<(LocationId, u64), u64> = BTreeMap::new();
    // By the place of each device: one that is served in both turns is in one request all the same.
    let mut given: Vec<(&Location, BTreeMap<usize, BTreeSet<u64>>)> = locations
        .iter()
        .filter(|location| location.gives())
        .map(|location| (location, BTreeMap::new()))
        .collect();
    for turn in [true, false] {
        for (place, (device, apps)) in lacking.iter().enumerate() {
            let its_turn = apps
                .iter()
                .copied()
                .filter(|app| first(device, *app) == turn);
            let mut apps: BTreeSet<u64> = its_turn.collect();
            for (location, members) in &mut given {
                let mut here = BTreeSet::new();
                apps.retain(|app| {
                    let stock = location.stock.get(app).filter(|s| s.device_assignable);
                    let Some(stock) = stock else { return true };
                    let key = (location.id, *app);
                    let free = || {
                        let promised = promised.get(&key).copied().unwrap_or_default();
                        stock.available.saturating_sub(promised)
                    };
                    let left = left.entry(key).or_insert_with(free);
                    if *left == 0 && !stock.unlimited {
                        return true;
                    }
                    *left = left.saturating_sub(1);
                    here.insert(*app);
                    false
                });
                if !here.is_empty() {
                    members.entry(place).or_default().append(&mut here);
                }
            }
        }
    }
    given.retain(|(_, members)| !members.is_empty());
    let named = |members: BTreeMap<usize, BTreeSet<u64>>| -> Lacking<T> {
        let members = members.into_iter();
        let named = members.filter_map(|(place, apps)| Some((lacking.get(place)?.0.clone(), apps)));
        named.collect()
    };
    given
        .into_iter()
        .map(|(location, members)| (location, named(members)))
        .collect()
}

/// Notes what a device holds of one app of a location: `None` that it holds nothing. Who gave it is kept. Answers whether that
/// changed anything.
pub(crate) fn note(
    licences: &mut Vec<HeldLicence>,
    location: LocationId,
    app: u64,
    held: Option<HeldLicence>,
) -> bool {
    let is = |l: &HeldLicence| l.app == app && l.location == location;
    match (held, licences.iter().position(is)) {
        (Some(held), None) => licences.push(held),
        (None, Some(at)) => {
            licences.remove(at);
        }
        (Some(_), Some(_)) | (None, None) => return false,
    }
    true
}

/// Divides pairs of app and device into requests: each device gets exactly what it lacks, devices that lack the same go
/// together, and no request names more than Apple takes.
#[must_use]
pub fn requests<T: Clone>(
    lacking: impl IntoIterator<Item = (T, BTreeSet<u64>)>,
    limits: LicenceLimits,
) -> Vec<(Vec<u64>, Vec<T>)> {
    let mut alike: BTreeMap<Vec<u64>, Vec<T>> = BTreeMap::new();
    for (device, apps) in lacking {
        let apps: Vec<u64> = apps.into_iter().collect();
        for apps in apps.chunks(limits.apps.max(1)) {
            alike.entry(apps.to_vec()).or_default().push(device.clone());
        }
    }
    let mut requests = Vec::new();
    for (apps, devices) in alike {
        for devices in devices.chunks(limits.devices.max(1)) {
            requests.push((apps.clone(), devices.to_vec()));
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(n: u32) -> Serial {
        Serial::parse(&format!("SERIAL{n}")).unwrap()
    }

    #[test]
    fn what_is_lacking_is_counted_without_what_devices_have_and_without_free_apps() {
        let serials: Vec<Serial> = (0..10).map(serial).collect();
        let apps = [
            (1, "paid".to_owned()),
            (2, "free".to_owned()),
            (3, "absent".to_owned()),
            (1, "paid too".to_owned()),
        ];
        let holds = [
            (1, serial(0)),
            (1, serial(1)),
            (3, serial(5)),
            (1, serial(99)),
        ]
        .into();
        let stock = |available, unlimited| Stock {
            total: 100,
            assigned: 0,
            available,
            unlimited,
            device_assignable: true,
        };
        let found = needs(
            serials.iter().map(|s| (s, &apps[..])),
            &holds,
            &BTreeMap::from([(1, stock(5, false)), (2, stock(0, true))]),
        );
        let short: Vec<_> = found
            .iter()
            .map(|n| (n.app, n.needs, n.has, n.lacks))
            .collect();
        assert_eq!(short, [(1, 10, 2, 3), (2, 10, 0, 0), (3, 10, 1, 9)]);
        assert_eq!(found[0].bundles.len(), 2);
    }

    #[test]
    fn what_only_people_can_get_is_not_left_for_devices() {
        let stock = |available, unlimited, device_assignable| Stock {
            total: available,
            assigned: 0,
            available,
            unlimited,
            device_assignable,
        };
        let (people, devices) = (stock(500, true, false), stock(10, false, true));
        for both in [[people, devices], [devices, people]] {
            let mut all = Stock::default();
            for one in both {
                all.add(one);
            }
            assert_eq!((all.total, all.available), (510, 10), "{both:?}");
            assert!(all.device_assignable && !all.unlimited, "{both:?}");
            all.add(devices);
            assert_eq!(all.available, 20, "{both:?}");
        }
        let mut all = people;
        all.add(people);
        assert!(all.is_for_users_only());
        assert_eq!(all.available, 1000);
    }

    #[test]
    fn requests_keep_within_apples_limits_and_give_nobody_more_than_it_lacks() {
        let limits = LicenceLimits {
            apps: 2,
            devices: 3,
        };
        let all: BTreeSet<u64> = [1, 2, 3].into();
        let mut lacking: Vec<(u32, BTreeSet<u64>)> = (0..4).map(|n| (n, all.clone())).collect();
        lacking.push((9, [2].into()));
        let requests = requests(lacking.clone(), limits);
        let mut pairs = BTreeSet::new();
        for (apps, devices) in &requests {
            assert!(apps.len() <= 2 && devices.len() <= 3);
            for app in apps {
                for device in devices {
                    assert!(pairs.insert((*device, *app)), "given twice");
                }
            }
        }
        let wanted: BTreeSet<(u32, u64)> = lacking
            .iter()
            .flat_map(|(d, apps)| apps.iter().map(|a| (*d, *a)))
            .collect();
        assert_eq!(pairs, wanted);
    }

    fn location(id: i64, app: u64, available: u64, unlimited: bool) -> Location {
        let mut location = Location::new(
            OrganisationId(1),
            LocationId(id),
            "Library",
            "L",
            SecretId(1),
            JobId(1),
        );
        let stock = Stock {
            available,
            unlimited,
            device_assignable: true,
            ..Stock::default()
        };
        location.stock.insert(app, stock);
        location
    }

    #[test]
    fn each_device_gets_its_licence_where_one_is_left() {
        let apps: BTreeSet<u64> = [1].into();
        let devices = || (0..5).map(|n| (n, apps.clone()));
        let mut locations = vec![
            location(1, 2, 9, false),
            location(2, 1, 2, false),
            location(3, 1, 1, false),
        ];
        let shares = |locations: &[Location]| -> Vec<(i64, usize)> {
            let given = allot(devices(), locations, &BTreeMap::new(), |_, _| false);
            given.iter().map(|(l, m)| (l.id.0, m.len())).collect()
        };
        // Two of the five get none, and are asked for nowhere.
        assert_eq!(shares(&locations), [(2, 2), (3, 1)]);
        locations[2].stock.get_mut(&1).unwrap().unlimited = true;
        assert_eq!(shares(&locations), [(2, 2), (3, 3)]);
        let promised = BTreeMap::from([((LocationId(2), 1), 1)]);
        let given = allot(devices(), &locations, &promised, |_, _| false);
        assert_eq!(given[0].1.len(), 1, "one is promised to another");
        locations[2].needs_person = Some("its token has ended".to_owned());
        assert_eq!(shares(&locations), [(2, 2)]);
    }

    #[test]
    fn who_would_lose_data_comes_first_and_is_in_one_request_with_its_other_apps() {
        let both: BTreeSet<u64> = [1, 2].into();
        let devices = (0..4).map(|n| (n, both.clone()));
        let mut location = location(1, 1, 2, false);
        let free = Stock {
            unlimited: true,
            device_assignable: true,
            ..Stock::default()
        };
        location.stock.insert(2, free);
        let has = |device: &i32, app: u64| app == 1 && [1, 3].contains(device);
        let locations = [location];
        let given = allot(devices, &locations, &BTreeMap::new(), has);
        let expected: Vec<(i32, BTreeSet<u64>)> = vec![
            (0, [2].into()),
            (1, both.clone()),
            (2, [2].into()),
            (3, both),
        ];
        assert_eq!(given[0].1, expected);
    }
}
