//! What stands against devices of a list, told for all of them at once: whoever mends a long list is not to find the next line with each
//! try.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::ids::Serial;

/// So many are named for each reason; of the rest it is said how many they are.
const NAMED: usize = 100;

/// What was found, by reason.
#[derive(Debug, Default)]
pub(super) struct Against(BTreeMap<String, Vec<Serial>>);

impl Against {
    pub(super) fn add(&mut self, serial: &Serial, problem: impl Into<String>) {
        self.0
            .entry(problem.into())
            .or_default()
            .push(serial.clone());
    }

    /// Adds what a look at one device came to.
    ///
    /// # Errors
    /// What says nothing of the device.
    pub(super) fn take<T>(
        &mut self,
        serial: &Serial,
        looked: Result<T, Error>,
    ) -> Result<(), Error> {
        match looked {
            Ok(_) => Ok(()),
            Err(Error::BadInput { problem, .. }) => {
                self.add(serial, problem);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Nothing stands against any of them.
    ///
    /// # Errors
    /// [`Error::BadInput`] that names the device, or, where there are several, each of them with its reason.
    pub(super) fn none(self) -> Result<(), Error> {
        let mut all = self
            .0
            .iter()
            .flat_map(|(why, of)| of.iter().map(move |s| (why, s)));
        let Some((why, serial)) = all.next() else {
            return Ok(());
        };
        if all.next().is_none() {
            return Err(Error::bad_input(serial.as_str(), why.as_str()));
        }
        let reasons = self.0.iter().map(|(why, of)| {
            let named: Vec<&str> = of.iter().take(NAMED).map(Serial::as_str).collect();
            let rest = match of.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{why}: {}{rest}", named.join(", "))
        });
        let reasons: Vec<String> = reasons.collect();
        Err(Error::bad_input("serials", reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serials(count: usize) -> Vec<Serial> {
        let serial = |n| Serial::parse(&format!("AGAINST{n:04}")).unwrap();
        (0..count).map(serial).collect()
    }

    #[test]
    fn one_is_named_as_the_field_and_several_with_their_reasons() {
        assert!(Against::default().none().is_ok());
        let mut one = Against::default();
        let all = serials(250);
        one.add(&all[0], "is not known here");
        one.take(&all[1], Ok(())).unwrap();
        let said = one.none().unwrap_err().to_string();
        assert_eq!(said, "AGAINST0000: is not known here");

        let mut many = Against::default();
        let problem = || Err::<(), _>(Error::bad_input("AGAINST0000", "has no runbook"));
        many.take(&all[0], problem()).unwrap();
        for serial in &all[1..] {
            many.add(serial, "is not known here");
        }
        let said = many.none().unwrap_err().to_string();
        let begin =
            "serials: has no runbook: AGAINST0000; is not known here: AGAINST0001, AGAINST0002, ";
        assert!(said.starts_with(begin), "{said}");
        assert!(said.ends_with("AGAINST0100 and 149 more"), "{said}");

        let other = Against::default().take(&all[0], Err::<(), _>(Error::NotFound("wave")));
        assert!(matches!(other, Err(Error::NotFound("wave"))), "{other:?}");
    }
}
