//! `mdmd backup` and `mdmd restore`: everything of an installation but its master key into one sealed file, also while the
//! server runs, and back into an empty place, on either kind of database. Restores all or nothing.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::service::Ports;
use mdm_core::store::{ArchivedRow, StoreError};
use serde_json::json;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::{Common, Done, Exit, Means as _};
use crate::app::{self, Overrides};
use crate::backup::{Line, Opener, OtherKey, Sealer};
use crate::config::{Config, KeySource};
use crate::install::Site;
use crate::key_wrap::MasterKeys;

/// How much of a file is read at a time.
const PIECE: usize = 192 * 1024;
/// Rows on their way.
const ROWS: usize = 64;

/// Put everything of this installation but its master key into one sealed file, also while the server runs.
#[derive(clap::Args, Debug)]
pub(crate) struct Backup {
    /// The file. One that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Bring a backup back into an empty data directory (`--data`), in which its master key lies, and an empty database: the one that
/// the configuration names, of either kind.
#[derive(clap::Args, Debug)]
pub(crate) struct Restore {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn back_up(common: &Common, backup: &Backup) -> Done {
    let config = super::config::load(common)?;
    let master = MasterKeys::load(&config).means(Exit::Precondition)?;
    let archive = app::look_at_archive(&config)
        .await
        .means(Exit::Precondition)?;
    let name = || backup.out.display().to_string();
    // Before the file is made: it may lie there too.
    let names = files(&config).means(Exit::Precondition)?;
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&backup.out)
        .with_context(name)
        .means(Exit::Precondition)?;
    let made = SystemClock.now();
    let written = async {
        let mut sealer =
            Sealer::begin(BufWriter::new(file), &master, made, archive.schema()).await?;
        for name in &names {
            add(&mut sealer, &config.data_directory, name)?;
        }
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
        let sealer = sealer?;
        let rows = sent?;
        let file = sealer.end(rows, u64::try_from(names.len())?)?;
        let file = file
            .into_inner()
            .map_err(|error| anyhow!(error.to_string()))?;
        file.sync_all()?;
        anyhow::Ok((rows, names.len(), file.metadata()?.len()))
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
    let told =
        json!({ "file": backup.out, "made": made, "rows": rows, "files": files, "bytes": bytes });
    super::print(common, &told, |_| {
        println!(
            "{}: {rows} rows, {files} files, {bytes} bytes",
            backup.out.display()
        );
        println!("It opens with the master key only, which is not in it: keep that elsewhere.");
    });
    Ok(())
}

/// What lies in the data directory beside the database and the master key, by names below it.
fn files(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
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
    let mut found = Vec::new();
    let mut folders = vec![config.data_directory.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && !without.contains(&path) {
                found.push(path.strip_prefix(&config.data_directory)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn add<W: std::io::Write>(
    sealer: &mut Sealer<W>,
    directory: &Path,
    name: &Path,
) -> anyhow::Result<()> {
    let path = directory.join(name);
    let told = || path.display().to_string();
    let mut file = File::open(&path).with_context(told)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let name = name
        .to_str()
        .with_context(|| format!("{}: its name is no text", told()))?;
    sealer.line(&Line::File {
        name: name.to_owned(),
        mode,
    })?;
    let mut piece = Zeroizing::new(vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece).with_context(told)?;
        if read == 0 {
            return Ok(());
        }
        sealer.line(&Line::part(&piece[..read]))?;
    }
}

pub(crate) async fn restore(common: &Common, restore: &Restore) -> Done {
    let before = super::config::load(common)?;
    let name = || restore.file.display().to_string();
    let file = File::open(&restore.file)
        .with_context(name)
        .means(Exit::BadInput)?;
    let mut opener = Opener::begin(BufReader::new(file))
        .with_context(name)
        .means(Exit::BadInput)?;
    let master = MasterKeys::load(&before)
        .context("the master key of the installation must lie where the configuration says")
        .means(Exit::Precondition)?;
    if let Err(error) = opener.open(&master).await {
        let exit = match error.is::<OtherKey>() {
            true => Exit::Precondition,
            false => Exit::BadInput,
        };
        return Err(error.context(name())).means(exit);
    }
    let there = files(&before).unwrap_or_default();
    let database = before.database.sqlite_file(&before.data_directory);
    if let Some(taken) = there
        .first()
        .cloned()
        .or(database.filter(|file| file.exists()))
    {
        let why = anyhow!(
            "{}: is there already; a backup is restored into an empty place",
            taken.display()
        );
        return Err(why).means(Exit::Precondition);
    }

    // From here on something is made; what is made goes again unless all of it could be.
    let mut site = Site::open(&before.data_directory).means(Exit::Precondition)?;
    let (files, first) = lay_out(&mut site, &before.data_directory, &mut opener)
        .with_context(name)
        .means(Exit::BadInput)?;
    let config = super::config::load(common)?;
    if let Some(file) = config.database.sqlite_file(&config.data_directory) {
        for end in ["", "-wal", "-shm"] {
            let mut name = file.clone().into_os_string();
            name.push(end);
            site.makes(Path::new(&name));
        }
    }
    let archive = app::open_archive(&config).await.means(Exit::Precondition)?;
    let (made, schema) = (opener.header.made, opener.header.schema);
    if archive.schema() != schema {
        let ours = archive.schema();
        archive.close().await?;
        let why = anyhow!(
            "{}: its tables are of version {schema}, and this mdmd's of {ours}: restore it with the mdmd that made it",
            name()
        );
        return Err(why).means(Exit::Precondition);
    }
    let (to, from) = mpsc::channel(ROWS);
    let reading = tokio::task::spawn_blocking(move || rest(opener, first, files, &to));
    let taken = archive.import(from).await;
    // That the file is damaged is the reason why no row was taken.
    reading.await?.with_context(name).means(Exit::BadInput)?;
    let rows = match taken {
        Ok(rows) => rows,
        Err(StoreError::Conflict) => {
            archive.close().await?;
            let why = anyhow!(
                "database {:?}: holds an installation already",
                config.database
            );
            return Err(why).means(Exit::Precondition);
        }
        Err(error) => return Err(error.into()),
    };
    let overrides = Overrides {
        store: Some(archive),
        ports: Some(Ports::refusing()),
        ..Overrides::default()
    };
    let mdm = app::assemble(&config, &overrides).await?;
    let organisations = mdm.after_restore().await;
    let closed = mdm.store().close().await;
    let organisations = organisations?;
    closed?;
    site.keep()?;
    let told =
        json!({ "made": made, "rows": rows, "files": files, "organisations": organisations });
    super::print(common, &told, |_| {
        println!(
            "{rows} rows and {files} files of {made} are back, of {organisations} organisations."
        );
        println!(
            "Device lists are read anew, and nothing is sent to Apple before it was read what is so there."
        );
    });
    Ok(())
}

/// Writes the files; answers how many, and the first line behind them.
fn lay_out<R: std::io::BufRead>(
    site: &mut Site,
    directory: &Path,
    opener: &mut Opener<R>,
) -> anyhow::Result<(u64, Option<Line>)> {
    let mut files = 0;
    let mut open: Option<File> = None;
    loop {
        match opener.next()? {
            Some(Line::File { name, mode }) => {
                if let Some(file) = open.take() {
                    file.sync_all()?;
                }
                let below = Path::new(&name);
                let inside = below
                    .components()
                    .all(|part| matches!(part, Component::Normal(_)));
                ensure!(
                    inside && !name.is_empty(),
                    "names a file outside of the data directory"
                );
                open = Some(site.file(directory, below, mode & 0o777)?);
                files += 1;
            }
            Some(Line::Part(part)) => {
                let file = open.as_mut().context("is damaged")?;
                file.write_all(&part.bytes()?)?;
            }
            other => {
                if let Some(file) = open.take() {
                    file.sync_all()?;
                }
                return Ok((files, other));
            }
        }
    }
}

/// Sends the rows; an error instead of the end when the file has none.
fn rest<R: std::io::BufRead>(
    mut opener: Opener<R>,
    first: Option<Line>,
    files: u64,
    to: &mpsc::Sender<Result<ArchivedRow, StoreError>>,
) -> anyhow::Result<()> {
    let (mut next, mut count) = (first, 0);
    let read = loop {
        match next {
            Some(Line::Row(row)) => {
                count += 1;
                if to.blocking_send(Ok(*row)).is_err() {
                    // Whoever takes them has a reason of its own.
                    return Ok(());
                }
            }
            Some(Line::End { rows, files: all }) => {
                let whole = rows == count && all == files;
                break match (whole, opener.next()) {
                    (true, Ok(None)) => Ok(()),
                    (_, Err(error)) => Err(error),
                    _ => Err(anyhow!("is damaged")),
                };
            }
            _ => break Err(anyhow!("is damaged")),
        }
        next = match opener.next() {
            Ok(line) => line,
            Err(error) => break Err(error),
        };
    };
    if read.is_err() {
        let torn = StoreError::Unavailable("the backup does not come to its end".to_owned());
        let _ = to.blocking_send(Err(torn));
    }
    read
}
