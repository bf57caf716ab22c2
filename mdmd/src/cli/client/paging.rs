//! Lists that come in pages, as one answer or page by page.

use serde_json::Value;

use super::Client;
use crate::cli::{Ended, cell};

/// How many rows of a list are asked for at once.
const PAGE: u32 = 1000;

impl Client {
    /// Every page of a list, as one answer: what the last page says, with the rows of all of them under `rows`.
    pub(crate) async fn pages(&self, path: &str, rows: &str) -> Result<Value, Ended> {
        self.pages_of(PAGE, path, rows).await
    }

    pub(super) async fn pages_of(&self, size: u32, path: &str, rows: &str) -> Result<Value, Ended> {
        let mut all = Vec::new();
        let mut next = Some(String::new());
        let mut last = Value::Null;
        while let Some(place) = next {
            (last, next) = self.page(size, path, &place).await?;
            if let Some(found) = last[rows].as_array_mut() {
                all.append(found);
            }
        }
        last[rows] = Value::Array(all);
        Ok(last)
    }

    /// Every page of a list behind a row, one by one, for as long as they are wanted: for lists that are as long as the fleet.
    pub(crate) async fn each_page(
        &self,
        path: &str,
        after: i64,
        mut take: impl FnMut(Value) -> Result<bool, Ended>,
    ) -> Result<(), Ended> {
        let mut next = Some(format!("&after={after}"));
        while let Some(place) = next {
            let page;
            (page, next) = self.page(PAGE, path, &place).await?;
            if !take(page)? {
                break;
            }
        }
        Ok(())
    }

    /// One page of a list, and where the next one begins.
    async fn page(
        &self,
        size: u32,
        path: &str,
        place: &str,
    ) -> Result<(Value, Option<String>), Ended> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut page = self
            .get(&format!("{path}{sign}limit={size}{place}"))
            .await?;
        let next = match page["next"].take() {
            // A server of an earlier version answers a number.
            after @ (Value::String(_) | Value::Number(_)) => {
                Some(format!("&after={}", cell(&after)))
            }
            Value::Object(place) => Some(
                place
                    .iter()
                    .map(|(name, value)| format!("&{name}={}", cell(value)))
                    .collect(),
            ),
            _ => None,
        };
        Ok((page, next))
    }
}
