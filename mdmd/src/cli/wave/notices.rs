//! `mdmd wave notices|calendar` and `mdmd text list|set|reset`: what owners of devices are told, for a mail merge, and their
//! deadlines for a calendar. Sends nothing to anybody.

use std::io::Write;
use std::path::PathBuf;

use anyhow::anyhow;
use mdm_core::counted::counted;
use serde_json::{Value, json};

use super::super::client::{Client, Where};
use super::super::inventory::age;
use super::super::report::into_file;
use super::super::{Common, Done, Ended, Exit, Means as _, cell};
use super::find;
use crate::csv;
use crate::out::Paper;
use crate::reports::SERVER;

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
        /// Those of this wave, by its name or number: its own before the organisation's.
        #[arg(long, value_name = "WAVE")]
        wave: Option<String>,
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
        /// For owners of this wave's devices alone, by its name or number.
        #[arg(long, value_name = "WAVE")]
        wave: Option<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Go back to that of this program; of a wave, to that of the organisation.
    Reset {
        /// The language.
        language: String,
        /// The wave's own, by its name or number.
        #[arg(long, value_name = "WAVE")]
        wave: Option<String>,
        #[command(flatten)]
        place: Where,
    },
}

/// Columns behind those: how old what is known of the owner is, when it was read, and by which server.
const OF_EXPORT: [&str; 3] = ["owner_age_s", "report_at", "server"];
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
    // The record says that they were taken along, and is sealed for that.
    let client = Client::exporting(common, &asked.place).await?;
    let found = find(&client, &asked.wave).await?;
    let path = format!("{}/notices{}", found.path, query(asked.language.as_ref()));
    let Some(out) = &asked.out else {
        if common.json {
            let taken = take_along(&client, &path).await?;
            let mut answer = client.pages(&path, "notices").await?;
            // Of the last page alone.
            if let Some(answer) = answer.as_object_mut() {
                answer.remove("staying");
                answer.remove("left_out");
            }
            for (name, of) in [("at", &taken["at"]), ("record", &taken["record"])] {
                answer[name] = of.clone();
            }
            answer["server"] = json!(SERVER);
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
        println!("{} in {}", counted(rows, "row"), out.display())
    });
    Ok(())
}

/// Has the record say that the notices are taken along, and be sealed: once for the whole, and not for each page. Answers when that
/// was, with the newest seal.
async fn take_along(client: &Client, path: &str) -> Result<Value, Ended> {
    let sign = if path.contains('?') { '&' } else { '?' };
    client
        .get(&format!("{path}{sign}export=true&limit=1"))
        .await
}

/// Writes the rows of a mail merge as they are read; answers how many there are.
async fn merge(client: &Client, path: &str, to: &mut (dyn Write + Send)) -> Result<usize, Ended> {
    let (mut count, mut staying, mut left_out) = (0, 0, 0);
    let mut begin = true;
    let taken = take_along(client, path).await?;
    let at = &taken["at"];
    client
        .each_page(path, 0, |page| {
            let mut csv = String::new();
            if std::mem::take(&mut begin) {
                let columns = COLUMNS.iter().map(|(head, _)| *head);
                let columns: Vec<&str> = columns.chain(OF_EXPORT).collect();
                csv.push_str(&columns.join(","));
                csv.push_str("\r\n");
            }
            for row in page["notices"].as_array().into_iter().flatten() {
                let cell = |field: &str| csv::cell(row[field].as_str().unwrap_or_default());
                let own = [
                    age(Some(&row["owner_seen"]), at),
                    super::super::cell(at),
                    SERVER.to_owned(),
                ];
                let own = own.iter().map(|text| csv::cell(text));
                let cells = COLUMNS.iter().map(|(_, field)| cell(field));
                let cells: Vec<String> = cells.chain(own).collect();
                csv.push_str(&cells.join(","));
                csv.push_str("\r\n");
                count += 1;
            }
            staying += page["staying"].as_u64().unwrap_or_default();
            left_out += page["left_out"].as_u64().unwrap_or_default();
            to.write_all(csv.as_bytes()).map_err(|why| anyhow!(why))?;
            Ok(true)
        })
        .await?;
    if staying > 0 {
        eprintln!(
            "mdmd: no row for {}, staying behind (`mdmd wave status`)",
            counted(staying, "member")
        );
    }
    if left_out > 0 {
        eprintln!(
            "mdmd: no row for {}, having begun, being called back, or refused by Apple (`mdmd wave status`)",
            counted(left_out, "member")
        );
    }
    Ok(count)
}

pub(super) async fn calendar(common: &Common, asked: &Notices) -> Done {
    let client = Client::exporting(common, &asked.place).await?;
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

/// Where the texts are: those of a wave, or of the organisation.
async fn texts_at(client: &Client, wave: Option<&String>) -> Result<String, Ended> {
    Ok(match wave {
        Some(wave) => format!("{}/owner-texts", find(client, wave).await?.path),
        None => "/api/v1/owner-texts".to_owned(),
    })
}

fn show_texts(answer: &Value) {
    let own = answer["own"].as_array();
    for (language, text) in answer["texts"].as_object().into_iter().flatten() {
        let of_wave = own.is_some_and(|own| own.iter().any(|one| one == language.as_str()));
        let whose = if of_wave { "  (the wave's own)" } else { "" };
        println!("{language}  {}{whose}", cell(&text["subject"]));
        for line in text["body"].as_str().unwrap_or_default().lines() {
            println!("    {}", cell(&json!(line)));
        }
    }
}

pub(crate) async fn text(common: &Common, command: &Text) -> Done {
    let (place, wave, changes, why) = match command {
        Text::List { wave, place } => {
            let client = Client::looking(common, place).await?;
            let path = texts_at(&client, wave.as_ref()).await?;
            let answer = client.get(&path).await?;
            super::super::print(common, &answer, show_texts);
            return Ok(());
        }
        Text::Set {
            language,
            subject,
            body,
            wave,
            place,
        } => {
            let body = match body.as_os_str() == "-" {
                true => std::io::read_to_string(std::io::stdin()),
                false => std::fs::read_to_string(body),
            };
            let body = body.means(Exit::BadInput)?;
            let text = json!({ "subject": subject, "body": body });
            let why = "owners of this language are told this from now on.";
            (place, wave, json!({ language: text }), why)
        }
        Text::Reset {
            language,
            wave,
            place,
        } => {
            let why = match wave {
                Some(_) => "owners of this language are told what the organisation says.",
                None => "owners of this language are told what this program says by itself.",
            };
            (place, wave, json!({ language: null }), why)
        }
    };
    let client = Client::acting(common, place).await?;
    let path = texts_at(&client, wave.as_ref()).await?;
    let answer = client.act(&path, &json!({ "texts": changes }), why).await?;
    super::super::print(common, &answer, show_texts);
    Ok(())
}
