//! To which service a device is assigned, by a page of a list and by what was known before. Pure.

use crate::clock::Timestamp;
use crate::device::OrgReading;

/// What a page of the device list comes to for one device.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The device was read by itself after the page was asked for.
    Older,
    /// With the service that has it, or the fact that none has.
    Known(OrgReading),
    /// No service's list had it, and it is not unassigned: it moved between two lists while they were read.
    Nowhere(OrgReading),
}

/// Sets what a page of the device list says beside what is known. `at` is when the reading began and when the page was asked
/// for: what the lists of services said before the beginning does not count.
pub(super) fn placed(
    page: &OrgReading,
    before: Option<&OrgReading>,
    (begun, asked): (Timestamp, Timestamp),
) -> Placed {
    let mut reading = page.clone();
    // Nothing of it is older than the beginning.
    reading.seen = begun;
    let Some(before) = before else {
        reading.unplaced = (reading.assigned != Some(false)).then_some(begun);
        return match reading.unplaced {
            None => Placed::Known(reading),
            Some(_) => Placed::Nowhere(reading),
        };
    };
    if before.seen > asked {
        return Placed::Older;
    }
    reading.listed = before.listed;
    let by_itself = before.seen > begun && before.unplaced.is_none();
    if by_itself {
        // It knows the service, and everything that is younger here is true since then.
        reading.seen = before.seen;
    }
    let listed = before.listed.is_some_and(|at| at >= begun);
    if page.assigned == Some(false) {
        reading.assigned_server = None;
    } else if listed || by_itself {
        reading.assigned_server.clone_from(&before.assigned_server);
    } else {
        reading.assigned_server.clone_from(&before.assigned_server);
        reading.seen = before.seen;
        reading.unplaced = Some(begun);
        return Placed::Nowhere(reading);
    }
    Placed::Known(reading)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_796_112_000_000 + minute * 60_000)
    }

    fn reading(seen: i64, server: Option<&str>, listed: Option<i64>) -> OrgReading {
        OrgReading {
            seen: at(seen),
            assigned_server: server.map(str::to_owned),
            listed: listed.map(at),
            ..OrgReading::default()
        }
    }

    fn page(assigned: Option<bool>) -> OrgReading {
        OrgReading {
            assigned,
            deadline: Some(at(999)),
            ..OrgReading::default()
        }
    }

    /// A reading that began at minute 10, whose page of devices was asked for at minute 20.
    fn placed_at(page: &OrgReading, before: Option<&OrgReading>) -> Placed {
        placed(page, before, (at(10), at(20)))
    }

    #[test]
    fn a_page_takes_the_service_from_the_lists_of_its_own_reading() {
        let before = reading(0, Some("A"), Some(12));
        let Placed::Known(kept) = placed_at(&page(Some(true)), Some(&before)) else {
            panic!("it was in a list")
        };
        assert_eq!(
            (kept.assigned_server.as_deref(), kept.seen),
            (Some("A"), at(10))
        );
        assert_eq!(kept.deadline, Some(at(999)));
    }

    #[test]
    fn a_page_does_not_overwrite_what_was_read_singly_since_the_reading_began() {
        let single = reading(15, Some("B"), None);
        for assigned in [None, Some(true)] {
            let Placed::Known(kept) = placed_at(&page(assigned), Some(&single)) else {
                panic!("it was read by itself")
            };
            assert_eq!(
                (kept.assigned_server.as_deref(), kept.seen),
                (Some("B"), at(15))
            );
        }
        let younger = reading(21, Some("B"), None);
        assert_eq!(placed_at(&page(Some(true)), Some(&younger)), Placed::Older);
    }

    #[test]
    fn a_device_in_no_list_is_not_called_unassigned_unless_apple_does() {
        let before = reading(0, Some("A"), Some(-5));
        for assigned in [None, Some(true)] {
            let Placed::Nowhere(kept) = placed_at(&page(assigned), Some(&before)) else {
                panic!("it moved between two lists")
            };
            assert_eq!(kept.assigned_server.as_deref(), Some("A"));
            assert!(!kept.is_young(at(0)) && kept.unplaced == Some(at(10)));
            assert!(
                matches!(placed_at(&page(assigned), None), Placed::Nowhere(r) if !r.is_young(at(0)))
            );
        }
        for before in [None, Some(&before)] {
            let Placed::Known(kept) = placed_at(&page(Some(false)), before) else {
                panic!("Apple says so")
            };
            assert_eq!((kept.assigned_server, kept.seen), (None, at(10)));
        }
    }
}
