//! What a command changes of a wave's members: what is asked, what that means, and how many it was done for. Each kind stands here once.

use serde_json::{Value, json};

use super::find;
use crate::cli::client::{Client, Where};
use crate::cli::serials::Serials;
use crate::cli::{Common, Done, Ended, cell};

/// A change of members.
pub(super) struct Change {
    /// Below the wave's own address.
    pub(super) path: &'static str,
    pub(super) body: Value,
    /// The field of the answer that says how many it was done for.
    pub(super) counted: &'static str,
    /// What it means, said before it is asked.
    pub(super) means: &'static str,
    /// Why it was done for nobody, where that is no refusal.
    pub(super) nobody: &'static str,
}

impl Change {
    /// Members leave a wave: those that `who` names.
    pub(super) fn leaving(mut who: Value, reason: Option<&str>, means: &'static str) -> Self {
        who["reason"] = json!(reason.unwrap_or_default());
        Self {
            path: "members/remove",
            body: who,
            counted: "removed",
            means,
            nobody: "",
        }
    }

    /// Says what it means, asks for it, and says how many it was done for.
    pub(super) async fn ask(self, common: &Common, place: &Where, wave: &str) -> Done {
        let client = Client::acting(common, place).await?;
        let found = find(&client, wave).await?;
        let path = format!("{}/{}", found.path, self.path);
        let answer = client.act(&path, &self.body, self.means).await?;
        crate::cli::print(common, &answer, |answer| {
            let done = self.counted.replace('_', " ");
            let count = &answer[self.counted];
            match count.as_u64() {
                Some(0) if !self.nobody.is_empty() => println!("{done} 0: {}", self.nobody),
                _ => println!("{done} {}", cell(count)),
            }
        });
        Ok(())
    }
}

/// Somebody's word about members, all where none is named: what shows it, or why it is taken back.
pub(super) fn word(
    devices: &Serials,
    evidence: Option<&str>,
    not: Option<&str>,
) -> Result<Value, Ended> {
    let serials = devices.any()?;
    Ok(json!({
        "evidence": evidence, "not": not, "all": serials.is_empty(), "serials": serials,
    }))
}
