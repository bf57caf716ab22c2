//! Lists that come in pages, as one answer or page by page.

use serde_json::Value;

use super::Client;
use crate::cli::{Ended, cell};

/// How many rows of a list are asked for at once.
const PAGE: u32 = 1000;

impl Client {
    /// Every page of a list, as one answer: what the last page says, with the rows of all of them under `rows`.
    pub(crate) async fn pages(&self, path: &str, rows: &str) -> Result<Value, Ended> {
        self.walk(PAGE, path, &[rows], "after").await
    }

    /// The same for an answer with several parts, each of them rows or a table by names.
    pub(crate) async fn pages_with(&self, path: &str, parts: &[&str]) -> Result<Value, Ended> {
        self.walk(PAGE, path, parts, "after").await
    }

    /// The same for a list whose next page is before, and not after, what the last one had.
    pub(crate) async fn pages_back(&self, path: &str, rows: &str) -> Result<Value, Ended> {
        self.walk(PAGE, path, &[rows], "before").await
    }

    pub(super) async fn walk(
        &self,
        size: u32,
        path: &str,
        parts: &[&str],
        side: &str,
    ) -> Result<Value, Ended> {
        let mut all = vec![Value::Null; parts.len()];
        let mut next = Some(String::new());
        let mut last = Value::Null;
        while let Some(place) = next {
            (last, next) = self.page(size, path, &place, side).await?;
            for (part, all) in parts.iter().zip(&mut all) {
                match (&mut *all, last[*part].take()) {
                    (Value::Array(all), Value::Array(mut rows)) => all.append(&mut rows),
                    (Value::Object(all), Value::Object(rows)) => all.extend(rows),
                    (all, first) => *all = first,
                }
            }
        }
        for (part, all) in parts.iter().zip(all) {
            last[*part] = all;
        }
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
            (page, next) = self.page(PAGE, path, &place, "after").await?;
            if !take(page)? {
                break;
            }
        }
        Ok(())
    }

    /// One page of a list, and where the next one begins: on which side of what this one had.
    async fn page(
        &self,
        size: u32,
        path: &str,
        place: &str,
        side: &str,
    ) -> Result<(Value, Option<String>), Ended> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut page = self
            .get(&format!("{path}{sign}limit={size}{place}"))
            .await?;
        let next = match page["next"].take() {
            // A name, or an id: text may have anything in it.
            Value::String(text) => {
                let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                Some(format!("&{side}={text}"))
            }
            // A server of an earlier version.
            Value::Number(id) => Some(format!("&{side}={id}")),
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
