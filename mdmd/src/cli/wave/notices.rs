//! `mdmd wave notices|calendar` and `mdmd text list|set|reset`: what owners of devices are told, for a mail merge, and their
//! deadlines for a calendar. Sends nothing to anybody.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Value, json};

use super::super::client::{Client, Where};
use super::super::report::into_file;
use super::super::{Common, Done, Ended, Exit, Means as _, cell};
use super::find;
use crate::csv;
use crate::out::Paper;

/// The notices of a wave.
#[derive(clap::Args, Debug)]
pub(crate) struct Notices {
    /// The wave, by its name or number.
    wave: String,
    /// The language, such as de, in place of each owner's own.
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// A file, which must not be there; standard output when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

/// Texts for owners of devices.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Text {
    /// Show them: the organisation's own, and those of this program for other languages.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Put one in place of that of this program. Places are {owner}, {device}, {deadline}, {available}, {organisation}.
    Set {
        /// The language, such as en or pt-BR.
        language: String,
        /// The line.
        #[arg(long)]
        subject: String,
        /// A file with the text below it; - for standard input.
        #[arg(long, value_name = "FILE")]
        body: PathBuf,
        #[command(flatten)]
        place: Where,
    },
    /// Go back to that of this program.
    Reset {
        /// The language.
        language: String,
        #[command(flatten)]
        place: Where,
    },
}

/// Columns of the CSV, and the fields of a notice.
const COLUMNS: [(&str, &str); 9] = [
    ("owner", "owner"),
    ("address", "email"),
    ("device", "serial"),
    ("language", "language"),
    ("available_from", "available_from"),
    ("deadline", "deadline"),
    ("deadline_local", "local_deadline"),
    ("subject", "subject"),
    ("text", "body"),
];

fn query(language: Option<&String>) -> String {
    let text = language
        .map(|language| form_urlencoded::byte_serialize(language.as_bytes()).collect::<String>());
    text.map(|text| format!("?language={text}"))
        .unwrap_or_default()
}

pub(super) async fn notices(common: &Common, asked: &Notices) -> Done {
    let client = Client::looking(common, &asked.place).await?;
    let found = find(&client, &asked.wave).await?;
    let path = format!("{}/notices{}", found.path, query(asked.language.as_ref()));
    let Some(out) = &asked.out else {
        if common.json {
            let answer = client.pages(&path, "notices").await?;
            super::super::print(common, &answer, |_| {});
            return Ok(());
        }
        return merge(&client, &path, &mut Paper).await.map(|_| ());
    };
    let mut rows = 0;
    into_file(out, async |to| {
        rows = merge(&client, &path, to).await?;
        Ok(())
    })
    .await?;
    let answer = json!({ "file": out, "rows": rows });
    super::super::print(common, &answer, |_| {
        println!("{rows} rows in {}", out.display())
    });
    Ok(())
}

/// Writes the rows of a mail merge as they are read; answers how many there are.
async fn merge(client: &Client, path: &str, to: &mut (dyn Write + Send)) -> Result<usize, Ended> {
    let mut count = 0;
    let mut begin = true;
    client
        .each_page(path, 0, |page| {
            let mut csv = String::new();
            if std::mem::take(&mut begin) {
                csv.push_str(&COLUMNS.map(|(head, _)| head).join(","));
                csv.push_str("\r\n");
            }
            for row in page["notices"].as_array().into_iter().flatten() {
                let cell = |field: &str| csv::cell(row[field].as_str().unwrap_or_default());
                csv.push_str(&COLUMNS.map(|(_, field)| cell(field)).join(","));
                csv.push_str("\r\n");
                count += 1;
            }
            to.write_all(csv.as_bytes()).map_err(|why| anyhow!(why))?;
            Ok(true)
        })
        .await?;
    Ok(count)
}

pub(super) async fn calendar(common: &Common, asked: &Notices) -> Done {
    let client = Client::looking(common, &asked.place).await?;
    let found = find(&client, &asked.wave).await?;
    let path = format!("{}/calendar{}", found.path, query(asked.language.as_ref()));
    let Some(out) = &asked.out else {
        if common.json {
            let mut text = Vec::new();
            client.download("GET", &path, Vec::new(), &mut text).await?;
            let answer = json!({ "calendar": String::from_utf8_lossy(&text) });
            super::super::print(common, &answer, |_| {});
            return Ok(());
        }
        return client.download("GET", &path, Vec::new(), &mut Paper).await;
    };
    into_file(out, async |to| {
        client.download("GET", &path, Vec::new(), to).await
    })
    .await?;
    let answer = json!({ "file": out });
    super::super::print(common, &answer, |_| {
        println!("the calendar is in {}", out.display())
    });
    Ok(())
}

pub(crate) async fn text(common: &Common, command: &Text) -> Done {
    let shown = |answer: &Value| {
        for (language, text) in answer["texts"].as_object().into_iter().flatten() {
            println!("{language}  {}", cell(&text["subject"]));
            for line in text["body"].as_str().unwrap_or_default().lines() {
                println!("    {}", cell(&json!(line)));
            }
        }
    };
    let (place, changes, why) = match command {
        Text::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.get("/api/v1/owner-texts").await?;
            super::super::print(common, &answer, shown);
            return Ok(());
        }
        Text::Set {
            language,
            subject,
            body,
            place,
        } => {
            let body = match body.as_os_str() == "-" {
                true => std::io::read_to_string(std::io::stdin()),
                false => std::fs::read_to_string(body),
            };
            let body = body.means(Exit::BadInput)?;
            let text = json!({ "subject": subject, "body": body });
            let why = "owners of this language are told this from now on.";
            (place, json!({ language: text }), why)
        }
        Text::Reset { language, place } => {
            let why = "owners of this language are told what this program says by itself.";
            (place, json!({ language: null }), why)
        }
    };
    let client = Client::acting(common, place).await?;
    let body = json!({ "texts": changes });
    let answer = client.act("/api/v1/owner-texts", &body, why).await?;
    super::super::print(common, &answer, shown);
    Ok(())
}
