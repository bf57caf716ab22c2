//! `mdmd restore`: a backup back into an empty place, on either kind of database. All of it or nothing.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use mdm_core::counted::counted;
use mdm_core::service::Ports;
use mdm_core::store::{ArchivedRow, StoreError};
use serde_json::json;
use tokio::sync::mpsc;

use super::backup::{ROWS, files};
use super::{Common, Done, Exit, Means as _};
use crate::app::{self, Overrides};
use crate::backup::{Line, Opener, OtherKey};
use crate::install::Site;
use crate::key_wrap::MasterKeys;

/// Bring a backup back into an empty data directory (`--data`), in which its master key lies, and an empty database: the one that
/// the configuration names, of either kind.
#[derive(clap::Args, Debug)]
pub(crate) struct Restore {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(common: &Common, restore: &Restore) -> Done {
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
    let there = files(&before).map(|found| found.names);
    let database = before.database.sqlite_file(&before.data_directory);
    if let Some(taken) = there
        .unwrap_or_default()
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
    let site = Site::open(&before.data_directory).means(Exit::Precondition)?;
    let mut layer = Layer::new(site, &before.data_directory);
    let first = layer
        .lay(&mut opener)
        .with_context(name)
        .means(Exit::BadInput)?;
    // The configuration that was in it holds from here on.
    let config = super::config::load(common)?;
    layer.packages = Some(config.path(&config.packages.directory));
    if let Some(file) = config.database.sqlite_file(&config.data_directory) {
        for end in ["", "-wal", "-shm"] {
            let mut name = file.clone().into_os_string();
            name.push(end);
            layer.site.makes(Path::new(&name));
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
    let reading = tokio::task::spawn_blocking(move || rest(opener, first, layer, &to));
    let taken = archive.import(from).await;
    // That the file is damaged is the reason why no row was taken.
    let layer = reading.await?.with_context(name).means(Exit::BadInput)?;
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
    let (files, packages) = (layer.files, config.path(&config.packages.directory));
    layer.site.keep()?;
    let told = json!({ "made": made, "rows": rows, "files": files, "organisations": organisations, "packages": packages });
    super::print(common, &told, |_| {
        println!(
            "{} and {} of {made} are back, of {}.",
            counted(rows, "row"),
            counted(files, "file"),
            counted(organisations, "organisation")
        );
        println!(
            "Device lists are read anew, and nothing is sent to Apple before it was read what is so there."
        );
    });
    Ok(())
}

/// Puts files where they belong.
struct Layer {
    site: Site,
    directory: PathBuf,
    /// Where packages belong, once the configuration is known.
    packages: Option<PathBuf>,
    open: Option<Open>,
    files: u64,
}

/// The file that is being laid.
enum Open {
    New(File),
    /// A package that lies there already, on a volume that outlived the installation: it must be the same.
    There(PathBuf, File),
}

impl Layer {
    fn new(site: Site, directory: &Path) -> Self {
        Self {
            site,
            directory: directory.to_owned(),
            packages: None,
            open: None,
            files: 0,
        }
    }

    /// Lays files until a line comes that is none of the kind that is due; answers that line.
    fn lay<R: std::io::BufRead>(&mut self, opener: &mut Opener<R>) -> anyhow::Result<Option<Line>> {
        loop {
            let next = opener.next()?;
            if let ControlFlow::Break(other) = self.take(next)? {
                return Ok(other);
            }
        }
    }

    /// Lays one line, if it is a file's; gives any other back.
    fn take(&mut self, line: Option<Line>) -> anyhow::Result<ControlFlow<Option<Line>>> {
        let (directory, name, mode) = match (line, &self.packages) {
            (Some(Line::Part(part)), _) => {
                self.fill(&part.bytes()?)?;
                return Ok(ControlFlow::Continue(()));
            }
            (Some(Line::File { name, mode }), None) => (self.directory.clone(), name, mode),
            (Some(Line::Package { name, mode }), Some(packages)) => (packages.clone(), name, mode),
            (other, _) => {
                self.end_file()?;
                return Ok(ControlFlow::Break(other));
            }
        };
        self.end_file()?;
        let below = Path::new(&name);
        let inside = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        ensure!(
            inside && !name.is_empty(),
            "names a file outside of its directory"
        );
        let there = directory.join(below);
        self.open = Some(match self.packages.is_some() && there.exists() {
            true => Open::There(there.clone(), File::open(&there)?),
            false => Open::New(self.site.file(&directory, below, mode & 0o777)?),
        });
        self.files += 1;
        Ok(ControlFlow::Continue(()))
    }

    fn fill(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self.open.as_mut().context("is damaged")? {
            Open::New(file) => file.write_all(bytes)?,
            Open::There(path, file) => {
                let mut there = vec![0; bytes.len()];
                let same = file.read_exact(&mut there).is_ok() && there == bytes;
                ensure!(same, "{}: is there already, and is another", path.display());
            }
        }
        Ok(())
    }

    fn end_file(&mut self) -> anyhow::Result<()> {
        match self.open.take() {
            None => {}
            Some(Open::New(file)) => file.sync_all()?,
            Some(Open::There(path, mut file)) => {
                let over = file.read(&mut [0])? == 0;
                ensure!(over, "{}: is there already, and is longer", path.display());
            }
        }
        Ok(())
    }
}

/// Sends the rows and lays the packages; an error instead of the end when the file has none.
fn rest<R: std::io::BufRead>(
    mut opener: Opener<R>,
    first: Option<Line>,
    mut layer: Layer,
    to: &mpsc::Sender<Result<ArchivedRow, StoreError>>,
) -> anyhow::Result<Layer> {
    let (mut next, mut count) = (Ok(first), 0);
    let read = loop {
        // What `take` gives back is no file's.
        let line = match next.and_then(|line| layer.take(line)) {
            Ok(ControlFlow::Continue(())) => {
                next = opener.next();
                continue;
            }
            Ok(ControlFlow::Break(line)) => line,
            Err(error) => break Err(error),
        };
        match line {
            Some(Line::Row(row)) => {
                count += 1;
                if to.blocking_send(Ok(*row)).is_err() {
                    // Whoever takes them has a reason of its own.
                    return Ok(layer);
                }
            }
            Some(Line::End { rows, files }) => {
                let whole = rows == count && files == layer.files;
                break match (whole, opener.next()) {
                    (true, Ok(None)) => Ok(()),
                    (_, Err(error)) => Err(error),
                    _ => Err(anyhow!("is damaged")),
                };
            }
            _ => break Err(anyhow!("is damaged")),
        }
        next = opener.next();
    };
    if let Err(error) = read {
        let torn = StoreError::Unavailable("the backup does not come to its end".to_owned());
        let _ = to.blocking_send(Err(torn));
        return Err(error);
    }
    Ok(layer)
}
