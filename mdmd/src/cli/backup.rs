//! `mdmd backup`: everything of an installation but its master key into one sealed file, also while the server runs. What it
//! leaves out is named: what lies elsewhere, earlier backups, links to folders.
//!
//! Files come first, then the rows, then the packages that were uploaded meanwhile: whatever package a row names is in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::counted::counted;
use mdm_core::ids::OrganisationId;
use mdm_core::store::ArchivedRow;
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::new_file::create;
use super::{Common, Done, Exit, Means as _};
use crate::app;
use crate::backup::{Line, Opener, Sealer};
use crate::config::{Config, KeySource};
use crate::key_wrap::MasterKeys;
use crate::packages;

/// How much of a file is read at a time.
const PIECE: usize = 192 * 1024;
/// Rows on their way.
pub(super) const ROWS: usize = 64;

/// Put everything of this installation but its master key into one sealed file, also while the server runs.
#[derive(clap::Args, Debug)]
pub(crate) struct Backup {
    /// The file. One that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) async fn back_up(common: &Common, backup: &Backup) -> Done {
    let config = super::config::load(common)?;
    let master = MasterKeys::load(&config).means(Exit::Precondition)?;
    let archive = app::look_at_archive(&config)
        .await
        .means(Exit::Precondition)?;
    let unsealed = seal(&config).await.err();
    let name = || backup.out.display().to_string();
    // Before the file is made: it may lie there too.
    let found = files(&config).means(Exit::Precondition)?;
    let left_out: Vec<String> = found
        .left_out
        .into_iter()
        .chain(outside(common, &config))
        .collect();
    let file = create(&backup.out, 0o600)?;
    let made = SystemClock.now();
    let written = async {
        let mut sealer =
            Sealer::begin(BufWriter::new(file), &master, made, archive.schema()).await?;
        let mut files = 0;
        for name in &found.names {
            files += u64::from(add(&mut sealer, &config.data_directory, name, false)?);
        }
        let store = config.path(&config.packages.directory);
        let mut carried = BTreeSet::new();
        files += add_packages(&mut sealer, &store, &mut carried)?;
        let (to, mut from) = mpsc::channel::<ArchivedRow>(ROWS);
        let written = async {
            // Owned here, so that whoever sends learns at once that nobody takes any more.
            while let Some(row) = from.recv().await {
                sealer.line(&Line::Row(Box::new(row)))?;
            }
            drop(from);
            anyhow::Ok(sealer)
        };
        let (sent, sealer) = tokio::join!(archive.export(to), written);
        // What went wrong with the file is the reason; that nobody took the rows only follows.
        let mut sealer = sealer?;
        let rows = sent?;
        files += add_packages(&mut sealer, &store, &mut carried)?;
        let file = sealer.end(rows, files)?;
        let file = file
            .into_inner()
            .map_err(|error| anyhow!(error.to_string()))?;
        file.sync_all()?;
        anyhow::Ok((rows, files, file.metadata()?.len()))
    }
    .await;
    let closed = archive.close().await;
    let (rows, files, bytes) = match written {
        Ok(done) => done,
        Err(error) => {
            // A piece of a backup is worse than none.
            let _ = std::fs::remove_file(&backup.out);
            return Err(error.context(name())).means(Exit::Failure);
        }
    };
    closed?;
    let unsealed = unsealed.map(|error| format!("{error:#}"));
    let told = json!({ "file": backup.out, "made": made, "rows": rows, "files": files, "bytes": bytes, "left_out": left_out, "unsealed": unsealed });
    super::print(common, &told, |_| {
        println!(
            "{}: {}, {}, {bytes} bytes",
            backup.out.display(),
            counted(rows, "row"),
            counted(files, "file")
        );
        for what in &left_out {
            println!("NOT in it: {what}");
        }
        if let Some(why) = &unsealed {
            println!("The record could not be sealed before: {why}");
        }
        println!("It opens with the master key only, which is not in it: keep that elsewhere.");
    });
    Ok(())
}

/// Seals the record of every organisation: a backup leaves the building. It is made also where that fails.
async fn seal(config: &Config) -> anyhow::Result<()> {
    let store = app::open_store(config).await?;
    let overrides = app::Overrides {
        store: Some(store.clone()),
        ..app::Overrides::default()
    };
    let mdm = app::assemble(config, &overrides).await?;
    let sealed = async {
        let mut after = OrganisationId(0);
        loop {
            let page = mdm.organisations(after, 200).await?;
            let Some(last) = page.last() else {
                return anyhow::Ok(());
            };
            after = last.id;
            for organisation in page {
                let org = mdm.organisation_by_id(organisation.id).await?;
                org.acting_for("backup").leaves(Some("backup")).await?;
            }
        }
    };
    let sealed = sealed.await;
    drop(mdm);
    let closed = store.close().await;
    sealed?;
    Ok(closed?)
}

/// Files of an installation.
pub(super) struct Found {
    /// By their names below the data directory.
    pub(super) names: Vec<PathBuf>,
    /// What is there and not carried: earlier backups, links to folders and to nothing.
    left_out: Vec<String>,
}

/// What lies in the data directory beside the database, the master key and the packages.
pub(super) fn files(config: &Config) -> anyhow::Result<Found> {
    let mut without: Vec<PathBuf> = Vec::new();
    if let Some(database) = config.database.sqlite_file(&config.data_directory) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut name = database.clone().into_os_string();
            name.push(end);
            without.push(name.into());
        }
    }
    if config.master_key.source == KeySource::File {
        without.push(config.path(&config.master_key.file));
    }
    let packages = config.path(&config.packages.directory);
    let mut found = Found {
        names: Vec::new(),
        left_out: Vec::new(),
    };
    let mut folders = vec![config.data_directory.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if path == packages || without.contains(&path) {
                continue;
            }
            // What a link leads to is carried in its place: certificates are often links.
            let leads_to_file = kind.is_symlink() && path.is_file();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() || leads_to_file {
                match Opener::begin(BufReader::new(File::open(&path)?)) {
                    Ok(_) => found
                        .left_out
                        .push(format!("{} (a backup)", path.display())),
                    Err(_) => found
                        .names
                        .push(path.strip_prefix(&config.data_directory)?.to_owned()),
                }
            } else if kind.is_symlink() {
                found.left_out.push(format!("{} (a link)", path.display()));
            }
        }
    }
    found.names.sort();
    found.left_out.sort();
    Ok(found)
}

/// What the configuration names outside of the data directory, and the configuration itself.
fn outside(common: &Common, config: &Config) -> Vec<String> {
    let elsewhere = |path: &Path| !path.starts_with(&config.data_directory);
    let file = common.config.clone().filter(|file| {
        let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        !whole(file).starts_with(whole(&config.data_directory))
    });
    let named = config.named_files().into_iter();
    let named = named.filter(|(_, path)| elsewhere(path));
    file.map(|file| format!("the configuration {}", file.display()))
        .into_iter()
        .chain(named.map(|(key, path)| format!("{key} {}", path.display())))
        .collect()
}

/// Every finished package that is not in it yet; answers how many.
fn add_packages<W: Write>(
    sealer: &mut Sealer<W>,
    store: &Path,
    carried: &mut BTreeSet<PathBuf>,
) -> anyhow::Result<u64> {
    let mut files = 0;
    for name in packages::all_below(store)? {
        if carried.insert(name.clone()) {
            files += u64::from(add(sealer, store, &name, true)?);
        }
    }
    Ok(files)
}

/// Puts a file in; answers whether it was still there.
fn add<W: Write>(
    sealer: &mut Sealer<W>,
    directory: &Path,
    name: &Path,
    package: bool,
) -> anyhow::Result<bool> {
    let path = directory.join(name);
    let told = || path.display().to_string();
    let mut file = match File::open(&path) {
        // Removed meanwhile: it is as if it had never been.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened.with_context(told)?,
    };
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let name = name
        .to_str()
        .with_context(|| format!("{}: its name is no text", told()))?
        .to_owned();
    sealer.line(&match package {
        true => Line::Package { name, mode },
        false => Line::File { name, mode },
    })?;
    let mut piece = Zeroizing::new(vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece).with_context(told)?;
        if read == 0 {
            return Ok(true);
        }
        sealer.line(&Line::part(&piece[..read]))?;
    }
}
