//! `mdmd library list|profile|package|tag|remove`: configuration profiles and packages for the devices that have their
//! tags, or whose owners are in their groups.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use openssl::sha::Sha256;
use serde_json::{Value, json};

use super::client::{Client, Where};
use super::{Common, Done, Ended, Exit, Means as _, cell, secret_file, table};
use crate::packages::{MAGIC, PART};

const NO_PACKAGE: &str = "must be a package (.pkg): a flat one begins with xar!";

/// Profiles and packages for the devices that have their tags, or whose owners are in their groups.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Library {
    /// List them.
    List {
        #[command(flatten)]
        place: Where,
    },
    /// Put a configuration profile in, or a new revision of the item of this name.
    Profile(NewProfile),
    /// Put a package for Macs in, or a new revision of the item of this name. The file goes to the server, which serves it; with
    /// `--served-at` it stays where it is, and only its hashes are read.
    Package {
        /// The package (`.pkg`).
        file: PathBuf,
        /// Where Macs fetch it, by HTTPS, if not from here.
        #[arg(long, value_name = "URL")]
        served_at: Option<String>,
        /// Bundle identifier of the application in it.
        #[arg(long, value_name = "IDENTIFIER")]
        bundle_id: String,
        /// Its version.
        #[arg(long)]
        bundle_version: Option<String>,
        /// Its name, as people see it; the name of the item when left out.
        #[arg(long)]
        title: Option<String>,
        /// Manage the application: then it is taken away with the tag.
        #[arg(long)]
        managed: bool,
        /// What people call it.
        #[arg(long)]
        name: String,
        /// Macs with one of these tags get it.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Macs whose owner is in one of these groups get it.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Give an item other tags and groups.
    Tag {
        /// The item.
        name: String,
        /// All that it has from now on; without any, and without groups, every device loses it.
        tags: Vec<String>,
        /// The groups of owners whose devices get it: all of them from now on.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        place: Where,
    },
    /// Take an item out of use; devices that have it lose it.
    Remove {
        /// The item.
        name: String,
        #[command(flatten)]
        place: Where,
    },
}

// `library profile` and `profile add` take the same; each says for itself what it is for.
#[derive(clap::Args, Debug)]
pub(crate) struct NewProfile {
    /// The profile (`.mobileconfig`), signed or not; `-` reads standard input.
    file: PathBuf,
    /// What people call it.
    #[arg(long)]
    name: String,
    /// Devices with one of these tags get it. Without a tag and a group, an item that is there stays for whom it is.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Devices whose owner is in one of these groups get it.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    #[command(flatten)]
    place: Where,
}

/// Items as a table.
pub(super) fn show(answer: &Value) {
    let items = answer["items"].as_array().into_iter().flatten();
    let rows: Value = items.map(line).collect();
    table(
        &rows,
        &[
            ("NAME", "name"),
            ("KIND", "kind"),
            ("REVISION", "revision"),
            ("TAGS", "tags"),
            ("GROUPS", "groups"),
            ("CHANGED", "changed"),
            ("REMOVED", "removed"),
        ],
    );
}

pub(crate) async fn run(common: &Common, command: &Library) -> Done {
    match command {
        Library::List { place } => {
            let client = Client::looking(common, place).await?;
            let answer = client.pages("/api/v1/library", "items").await?;
            super::print(common, &answer, show);
            Ok(())
        }
        Library::Profile(new) => put_profile(common, new).await,
        Library::Package {
            file,
            served_at,
            bundle_id,
            bundle_version,
            title,
            managed,
            name,
            tags,
            groups,
            place,
        } => {
            let said = "Macs that it is for get it as soon as they come.";
            let title = title.as_ref().unwrap_or(name);
            let Some(served_at) = served_at else {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query
                    .append_pair("name", name)
                    .append_pair("bundle_identifier", bundle_id)
                    .append_pair("title", title)
                    .append_pair("managed", if *managed { "true" } else { "false" });
                if !tags.is_empty() {
                    query.append_pair("tags", &tags.join(","));
                }
                if !groups.is_empty() {
                    query.append_pair("groups", &json!(groups).to_string());
                }
                if let Some(version) = bundle_version {
                    query.append_pair("bundle_version", version);
                }
                let path = format!("/api/v1/library/packages/upload?{}", query.finish());
                let client = Client::acting(common, place).await?;
                // What would be refused is said before a byte is sent: a server that refuses does not read on.
                begins(file)?;
                client.get("/api/v1/library?limit=1").await?;
                let answer = client.upload(&path, file, said).await?;
                put(common, &answer);
                return Ok(());
            };
            let (size, sha256s) = hashes(file)?;
            let package = json!({
                "bundle_identifier": bundle_id, "title": title, "bundle_version": bundle_version,
                "url": served_at, "size": size, "part_size": PART, "sha256s": sha256s, "managed": managed,
            });
            let mut body = json!({ "name": name, "package": package });
            whom(&mut body, tags, groups);
            act(common, place, "/api/v1/library/packages", &body, said).await
        }
        Library::Tag {
            name,
            tags,
            groups,
            place,
        } => {
            let said = "devices that it is for now get it, others lose it.";
            let body = json!({ "name": name, "tags": tags, "groups": groups });
            act(common, place, "/api/v1/library/tags", &body, said).await
        }
        Library::Remove { name, place } => {
            let said = "devices that have it lose it.";
            let body = json!({ "name": name });
            act(common, place, "/api/v1/library/remove", &body, said).await
        }
    }
}

/// Puts a configuration profile in.
pub(super) async fn put_profile(common: &Common, new: &NewProfile) -> Done {
    let profile = secret_file::read(&new.file)?;
    let mut open = json!({ "name": new.name });
    whom(&mut open, &new.tags, &new.groups);
    let client = Client::acting(common, &new.place).await?;
    let answer = client
        .post_hidden(
            "/api/v1/library/profiles",
            &open,
            &[("profile", &profile)],
            "devices that it is for get it as soon as they come.",
        )
        .await?;
    put(common, &answer);
    Ok(())
}

/// For whom an item is, where somebody says so: without a word it stays for whom it is.
fn whom(body: &mut Value, tags: &[String], groups: &[String]) {
    for (name, said) in [("tags", tags), ("groups", groups)] {
        if !said.is_empty() {
            body[name] = json!(said);
        }
    }
}

async fn act(common: &Common, place: &Where, path: &str, body: &Value, said: &str) -> Done {
    let client = Client::acting(common, place).await?;
    let answer = client.act(path, body, said).await?;
    put(common, &answer);
    Ok(())
}

fn put(common: &Common, answer: &Value) {
    super::print(common, answer, |answer| {
        let line = line(answer);
        let whom = [&line["tags"], &line["groups"]].map(cell).join(" ");
        if !line["removed"].is_null() {
            println!("{} is out of use", cell(&line["name"]));
            return;
        }
        println!(
            "{} revision {} for {}",
            cell(&line["name"]),
            cell(&line["revision"]),
            whom.trim()
        );
        if answer["unchanged"] == true {
            println!("nothing changed");
        }
    });
}

/// An item for people.
fn line(item: &Value) -> Value {
    let tags = item["tags"].as_array().into_iter().flatten();
    let tags: Vec<&str> = tags.filter_map(Value::as_str).collect();
    let groups = item["groups"].as_array().into_iter().flatten();
    let groups: Vec<String> = groups.map(|g| format!("group:{}", cell(g))).collect();
    json!({
        "name": item["name"], "kind": item["content"]["kind"], "revision": item["revision"],
        "tags": tags.join(" "), "groups": groups.join(", "), "changed": item["changed"], "removed": item["removed"],
    })
}

/// Refuses what begins as no package does.
fn begins(file: &Path) -> Done {
    let name = || file.display().to_string();
    let opened = std::fs::File::open(file)
        .with_context(name)
        .means(Exit::BadInput)?;
    let mut first = Vec::new();
    opened
        .take(MAGIC.len() as u64)
        .read_to_end(&mut first)
        .with_context(name)
        .means(Exit::BadInput)?;
    match first == MAGIC {
        true => Ok(()),
        false => Err(anyhow!("{}: {NO_PACKAGE}", name())).means(Exit::BadInput),
    }
}

/// Bytes of a file, and the SHA-256 of each of its parts.
fn hashes(file: &Path) -> Result<(u64, Vec<String>), Ended> {
    let name = || file.display().to_string();
    let mut opened = std::fs::File::open(file)
        .with_context(name)
        .means(Exit::BadInput)?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut size, mut parts) = (0_u64, Vec::new());
    let (mut hash, mut in_part) = (Sha256::new(), 0);
    loop {
        let room = buffer.len().min(PART - in_part);
        let read = opened
            .read(&mut buffer[..room])
            .with_context(name)
            .means(Exit::BadInput)?;
        if size == 0 && !buffer[..read].starts_with(MAGIC) {
            return Err(anyhow!("{}: {NO_PACKAGE}", name())).means(Exit::BadInput);
        }
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        size += read as u64;
        in_part += read;
        if in_part == PART {
            parts.push(hex(std::mem::take(&mut hash)));
            in_part = 0;
        }
    }
    if in_part > 0 {
        parts.push(hex(hash));
    }
    Ok((size, parts))
}

fn hex(hash: Sha256) -> String {
    hash.finish().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_package_has_its_hash() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "root:x:0:0").unwrap();
        assert!(hashes(file.path()).is_err(), "no package");
        let bytes = (0..PART + 1).map(|n| n.to_le_bytes()[0]);
        let content: Vec<u8> = MAGIC.iter().copied().chain(bytes).collect();
        std::fs::write(file.path(), &content).unwrap();
        let (size, parts) = hashes(file.path()).unwrap();
        let whole = |bytes: &[u8]| -> String {
            let hash = openssl::sha::sha256(bytes);
            hash.iter().map(|b| format!("{b:02x}")).collect()
        };
        assert_eq!(size, content.len() as u64);
        assert_eq!(parts, [whole(&content[..PART]), whole(&content[PART..])]);
    }
}
