//! The stop rule, as the people of a project meet it: it pauses the offers of a wave in which too much goes wrong, somebody looks and has
//! them go on, and until then nobody else is asked to migrate. What was asked at Apple the world says.

use std::collections::BTreeMap;

use fixtures::world::World;
use mdm_core::clock::Timestamp;
use mdm_core::evidence::ReportAsk;
use mdm_core::ids::{ProjectId, Serial, WaveId};
use mdm_core::migration::plan::Tally;
use mdm_core::service::Org;
use mdm_core::wave::{Pause, Wave};

use super::account;

/// From when to when the offers of a wave were paused.
struct Span {
    from: Timestamp,
    to: Timestamp,
}

/// Pauses that somebody has ended, by wave.
#[derive(Default)]
pub(super) struct Stops {
    of: BTreeMap<WaveId, Vec<Span>>,
    odd: Vec<String>,
}

impl Stops {
    /// Looks at every wave that is paused, and has its offers go on. Says whether there was one.
    pub(super) async fn resume(&mut self, org: &Org, project: ProjectId) -> anyhow::Result<bool> {
        let mut acted = false;
        for wave in org.waves_of(project).await? {
            let Some(pause) = &wave.paused else { continue };
            // The report is a long one: it is looked at of the first pause of each wave.
            if !self.of.contains_key(&wave.id) && !is_reported(org, &wave, pause).await? {
                self.odd.push(format!(
                    "the report of the wave {} does not show that it is paused",
                    wave.name
                ));
            }
            let reason = format!("we know of it, and go on: {}", pause.why);
            let standing = org.pause_wave(wave.id, false, &reason, true).await?;
            self.odd.extend(untrue(&wave, pause, &standing.tally));
            self.of.entry(wave.id).or_default().push(Span {
                from: pause.at,
                to: standing.at,
            });
            acted = true;
        }
        Ok(acted)
    }

    /// How often a wave was paused.
    pub(super) fn count(&self, wave: WaveId) -> usize {
        self.of.get(&wave).map_or(0, Vec::len)
    }

    /// What was not as it should be of the pauses.
    pub(super) fn odd(&self) -> &[String] {
        &self.odd
    }

    /// Members of a wave whose migration was offered to them while it was paused; `offers` is when each was first offered it.
    pub(super) fn offered_meanwhile(
        &self,
        wave: WaveId,
        members: &[Serial],
        offers: &BTreeMap<String, i64>,
    ) -> Vec<String> {
        let spans = self.of.get(&wave).map_or(&[][..], Vec::as_slice);
        let within = |at: i64| {
            // Whatever is of the same moment as the pause may have been under way.
            let mut spans = spans.iter();
            spans.any(|span| span.from.as_millis() < at && at < span.to.as_millis())
        };
        let offered = members.iter().filter(|serial| {
            let at = offers.get(serial.as_str());
            at.is_some_and(|at| within(*at))
        });
        offered
            .map(|serial| format!("{serial} was offered its migration while its wave was paused"))
            .collect()
    }
}

/// When each device was first offered its migration, as Apple's own ledger has it.
pub(super) fn first_offers(world: &World) -> BTreeMap<String, i64> {
    let mut first = BTreeMap::new();
    for entry in world.apple().ledger() {
        let assigns = ["POST", "PUT"].contains(&entry.method.as_str());
        if assigns && entry.path.ends_with("/profile/devices") && entry.status == 200 {
            for serial in entry.serials {
                first.entry(serial).or_insert(entry.at_ms);
            }
        }
    }
    first
}

/// Whether the report of a wave shows that it is paused, by whom, since when and why.
async fn is_reported(org: &Org, wave: &Wave, pause: &Pause) -> anyhow::Result<bool> {
    let report = account::whole(org, &ReportAsk::Wave(wave.id)).await?;
    let mut facts = report.head.iter().flat_map(|head| &head.facts);
    let said = serde_json::to_value(pause)?;
    Ok(facts.any(|(name, value)| *name == "offers paused" && *value == said))
}

/// What a pause says wrongly: that it is the rule's, and that as much has gone wrong as the rule wants.
fn untrue(wave: &Wave, pause: &Pause, tally: &Tally) -> Vec<String> {
    let mut odd = Vec::new();
    let name = &wave.name;
    if !pause.is_by_rule() {
        odd.push(format!(
            "the wave {name} is paused by {}, and nobody did",
            pause.by
        ));
    }
    let known = wave.resumed.as_ref().map_or(0, |resumed| resumed.bad);
    let bad = (tally.failed + tally.with_exceptions).saturating_sub(known);
    // More may have gone wrong since, and nothing less.
    let enough = wave
        .plan
        .as_ref()
        .is_some_and(|plan| bad >= plan.stop.failed);
    let why = &pause.why;
    let is_true = match why.ends_with("failed or have exceptions") {
        true => enough,
        false => why.ends_with("are held for long"),
    };
    if !is_true {
        odd.push(format!(
            "the wave {name} is paused because {why}, and {bad} devices more have failed or have exceptions"
        ));
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_first_offered_its_migration_in_a_pause_is_named_and_nobody_else() {
        let at = Timestamp::from_millis;
        let mut stops = Stops::default();
        let spans = stops.of.entry(WaveId(1)).or_default();
        for (from, to) in [(100, 200), (400, 500)] {
            let (from, to) = (at(from), at(to));
            spans.push(Span { from, to });
        }
        assert_eq!((stops.count(WaveId(1)), stops.count(WaveId(2))), (2, 0));
        // At the very moment of the pause it may have been under way, and from its end on it may be.
        for (moment, odd) in [
            (99, false),
            (100, false),
            (101, true),
            (200, false),
            (300, false),
            (499, true),
        ] {
            let serial = Serial::parse("C02A").unwrap();
            let offers = BTreeMap::from([("C02A".to_owned(), moment)]);
            let one = std::slice::from_ref(&serial);
            let said = |wave| stops.offered_meanwhile(wave, one, &offers);
            assert_eq!(said(WaveId(1)).len(), usize::from(odd), "{moment}");
            assert!(said(WaveId(2)).is_empty());
        }
    }
}
