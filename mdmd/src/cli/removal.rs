//! What is taken away for good (an account, a token, a location, a key pair): says what that means, and does nothing before whoever
//! wants it has typed its name once more.

use anyhow::{Context as _, anyhow};
use serde_json::json;

use super::client::{Client, Where};
use super::{Common, Done, Exit, Means as _, cell, id_of, rows};

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

/// A list of the API whose rows have a number and a name.
pub(super) struct Listed<'a> {
    /// Where it is read; a row is taken away at its number below.
    pub(super) path: &'a str,
    /// The field that has the rows.
    pub(super) rows: &'a str,
    /// What one of them is called, and the command that lists them.
    pub(super) called: (&'a str, &'a str),
}

/// Takes away the row with this number, once `confirm` says its name; `means` says of the name what it means.
pub(super) async fn remove_listed(
    common: &Common,
    place: &Where,
    list: &Listed<'_>,
    (number, confirm): (i64, Option<&str>),
    means: fn(&str) -> String,
) -> Done {
    let client = Client::acting(common, place).await?;
    let all = client.get(list.path).await?;
    let (one, command) = list.called;
    let row = rows(&all[list.rows])
        .find(|row| id_of(&row["id"]) == Some(number))
        .with_context(|| format!("there is no {one} {number}: `{command}`"))
        .means(Exit::Precondition)?;
    let name = cell(&row["name"]);
    let removal = Removal {
        path: &format!("{}/{number}/remove", list.path),
        field: "name",
        typed: &format!("\"{name}\""),
        means: &means(&name),
        gone: ("", "name"),
    };
    removed(common, &client, &removal, confirm).await
}
