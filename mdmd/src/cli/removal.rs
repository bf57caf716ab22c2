//! What is taken away for good (an account, a token, a location, a key pair): says what that means, and does nothing before whoever
//! wants it has typed its name once more.

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::client::Client;
use super::{Common, Done, Ended, Exit, Means as _, cell, id_of, rows};

/// One of them, found.
pub(super) struct Removal<'a> {
    /// Where it is asked for.
    pub(super) path: &'a str,
    /// The field of the request that has the name as it was typed.
    pub(super) field: &'a str,
    /// How the name is typed behind `--confirm`.
    pub(super) typed: &'a str,
    /// What it means.
    pub(super) means: &'a str,
    /// What is shown of the answer: a word before it, and the field that names what is gone.
    pub(super) gone: (&'a str, &'a str),
}

/// Takes it away, once `confirm` says its name; whether it does, the server decides.
pub(super) async fn removed(
    common: &Common,
    client: &Client,
    removal: &Removal<'_>,
    confirm: Option<&str>,
) -> Done {
    let Removal { means, typed, .. } = removal;
    let Some(confirm) = confirm else {
        // Whether something needs it the server says, once it is asked.
        let why = anyhow!(
            "nothing was done. With --confirm {typed}, unless something still needs it: {means}"
        );
        return Err(why).means(Exit::Precondition);
    };
    let body = json!({ (removal.field): confirm });
    let answer = client.act(removal.path, &body, means).await?;
    let (before, name) = removal.gone;
    super::print(common, &answer, |answer| {
        println!("{before}{} is removed", cell(&answer[name]));
    });
    Ok(())
}

/// The row with this number in a list of the API.
pub(super) fn numbered(
    list: &Value,
    number: i64,
    none: impl FnOnce() -> String,
) -> Result<&Value, Ended> {
    rows(list)
        .find(|row| id_of(&row["id"]) == Some(number))
        .with_context(none)
        .means(Exit::Precondition)
}
