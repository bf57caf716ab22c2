//! `mdmd events`: the record as it grows, entry by entry, for people and programs. Whoever follows misses nothing while the server
//! is away: it goes on behind the last entry that was shown.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Where};
use super::{Common, Done, Ended, cell, id_of};
use crate::out;

/// How long a server that has gone away is left alone.
const PAUSE: Duration = Duration::from_secs(2);
/// So many of the last entries are remembered: one of the last half minute may come twice.
const REMEMBERED: usize = 20_000;

/// Show what happens, entry by entry of the record; with --json one object in each line.
#[derive(clap::Args, Debug)]
pub(crate) struct Events {
    /// Stay, and show each as it comes; without --after only what comes from now on. Waits for a server that goes away.
    #[arg(long, short)]
    follow: bool,
    /// Only what comes behind this entry; the whole record when left out.
    #[arg(long, value_name = "ID")]
    after: Option<i64>,
    /// Only entries whose name begins so, such as move or hold.
    #[arg(long, value_name = "NAME")]
    what: Option<String>,
    /// End after so many.
    #[arg(long, value_name = "ENTRIES", value_parser = clap::value_parser!(u64).range(1..))]
    most: Option<u64>,
    #[command(flatten)]
    place: Where,
}

pub(crate) async fn run(common: &Common, asked: &Events) -> Done {
    let mut shown = Shown {
        json: common.json,
        what: asked.what.clone().unwrap_or_default(),
        left: asked.most,
        floor: asked.after.unwrap_or_default(),
        last: None,
        seen: BTreeSet::new(),
    };
    if asked.follow {
        let client = Client::acting(common, &asked.place).await?;
        if asked.after.is_none() {
            // Nothing is missed either if the server goes away before the first entry.
            let newest = client.get("/api/v1/audit?newest=true&limit=1").await?;
            shown.floor = id_of(&newest["entries"][0]["id"]).unwrap_or_default();
        }
        return follow(&client, &mut shown).await;
    }
    let client = Client::looking(common, &asked.place).await?;
    client
        .each_page("/api/v1/audit", shown.floor, |page| {
            for entry in page["entries"].as_array().into_iter().flatten() {
                shown.take(entry);
            }
            Ok(shown.is_wanted())
        })
        .await
}

async fn follow(client: &Client, shown: &mut Shown) -> Done {
    let mut connected = false;
    let mut told = false;
    while shown.is_wanted() {
        let mut path = format!("/api/v1/events?after={}", shown.floor);
        if !shown.what.is_empty() {
            let what = form_urlencoded::byte_serialize(shown.what.as_bytes());
            path += &format!("&what={}", what.collect::<String>());
        }
        let last = shown.last.map(|last| last.to_string());
        let header = last.as_deref().map(|last| ("Last-Event-ID", last));
        let mut stream = Stream::new(shown);
        let ended = client.listen(&path, header, &mut stream).await;
        let heard = stream.heard;
        connected |= heard;
        if !shown.is_wanted() {
            break;
        }
        match ended {
            // A stream has its end; its reader comes back.
            Ok(()) => told = false,
            Err(ended) if heard || connected && is_away(&ended) || ended.again.is_some() => {
                if !told {
                    eprintln!(
                        "mdmd: the server has gone away, still waiting: {:#}",
                        ended.why
                    );
                }
                told = true;
            }
            Err(ended) => return Err(ended),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether nobody was there to refuse anything.
fn is_away(ended: &Ended) -> bool {
    let away = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<io::Error>() || cause.is::<hyper::Error>() || cause.is::<openssl::ssl::Error>()
    };
    ended.why.chain().any(away)
}

/// What was shown, and what is still wanted.
struct Shown {
    json: bool,
    what: String,
    left: Option<u64>,
    /// Nothing up to this entry is wanted.
    floor: i64,
    /// The newest entry that came.
    last: Option<i64>,
    seen: BTreeSet<i64>,
}

impl Shown {
    /// Whether somebody still reads, and has not had enough.
    fn is_wanted(&self) -> bool {
        self.left != Some(0) && !out::is_lost()
    }

    fn take(&mut self, entry: &Value) {
        let Some(id) = id_of(&entry["id"]).filter(|id| *id > self.floor) else {
            return;
        };
        let named = entry["what"].as_str().unwrap_or_default();
        let new = self.seen.insert(id);
        self.last = self.last.max(Some(id));
        if self.seen.len() > REMEMBERED {
            self.seen.pop_first();
        }
        if !new || !named.starts_with(&self.what) || !self.is_wanted() {
            return;
        }
        self.left = self.left.map(|left| left - 1);
        if self.json {
            println!("{entry}");
            return;
        }
        let detail = match &entry["detail"] {
            Value::Null => String::new(),
            detail => detail.to_string(),
        };
        println!(
            "{}  {id}  {}  {}  {}",
            cell(&entry["at"]),
            cell(&entry["what"]),
            cell(&entry["actor"]),
            cell(&Value::String(detail))
        );
    }
}

/// Reads a stream of events as it comes, in whatever pieces.
///
/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>
struct Stream<'a> {
    shown: &'a mut Shown,
    /// Anything came.
    heard: bool,
    /// What has no end of its line yet.
    line: Vec<u8>,
    data: String,
}

impl<'a> Stream<'a> {
    const fn new(shown: &'a mut Shown) -> Self {
        Self {
            shown,
            heard: false,
            line: Vec::new(),
            data: String::new(),
        }
    }

    fn end_of_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            if let Ok(entry) = serde_json::from_str(&self.data) {
                self.shown.take(&entry);
            }
            self.data.clear();
        } else if let Some(data) = line.strip_prefix("data:") {
            self.data.push_str(data);
        }
        // The number and the name are in the entry as well; the rest is for browsers.
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard = true;
        for byte in bytes {
            match byte {
                b'\n' => self.end_of_line(),
                _ => self.line.push(*byte),
            }
        }
        match self.shown.is_wanted() {
            true => Ok(bytes.len()),
            false => Err(io::Error::other("enough")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_in_whatever_pieces_it_comes() {
        let text = "retry: 2000\n\nid: 6\ndata: {\"id\":6,\"what\":\"x\"}\n\nid: 7\nevent: move.planned\ndata: {\"id\":7,\"what\":\"move.planned\"}\n\n: still here\n\n\
                    id: 8\r\nevent: x\r\ndata: {\"id\":8,\"what\":\"x\"}\r\n\r\nid: 9\ndata: {\"id\":9,\"what\":\"ä\"}\n\nid: 10\ndata: {\"id\":10";
        for size in 1..20 {
            let mut shown = Shown {
                json: true,
                // Nothing is printed here.
                what: "nothing".to_owned(),
                left: None,
                floor: 6,
                last: None,
                seen: BTreeSet::new(),
            };
            let mut stream = Stream::new(&mut shown);
            for piece in text.as_bytes().chunks(size) {
                stream.write_all(piece).unwrap();
            }
            assert!(stream.heard);
            assert_eq!(shown.seen, BTreeSet::from([7, 8, 9]), "pieces of {size}");
            assert_eq!(shown.last, Some(9));
        }
    }
}
