//! Lays a data directory out: its modes, the master key, a small CA with a server certificate. Overwrites nothing, and takes
//! away what it made when not all of it could be made.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mdm_core::clock::{Clock as _, SystemClock};
use mdm_core::organisation::Der;

use crate::key_wrap::MasterKeys;
use crate::pki;

/// Our own CA lives long; whoever wants another one gives a certificate.
const CA_DAYS: u32 = 3650;
/// Apple's clients refuse server certificates of more than 825 days.
const SERVER_DAYS: u32 = 825;

/// Lays out a data directory with which a server can start in this process: for rehearsals and tests. Answers the
/// certificate that clients of its listeners must trust.
///
/// # Errors
/// When something of it is there already, or cannot be written.
pub fn lay_out(directory: &Path, organisation: &str, host: &str) -> anyhow::Result<Der> {
    free(directory, ["master.key", "mdmd.sqlite"].map(Path::new))?;
    let mut site = Site::open(directory)?;
    let anchor = own_certificates(&mut site, organisation, host)?;
    let key = directory.join("master.key");
    MasterKeys::create(&key)?;
    site.keep()?;
    Ok(anchor)
}

/// Says no when something of an installation is there: one of these, or a certificate of ours.
pub(crate) fn free<'a>(
    directory: &Path,
    places: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<()> {
    if let Some(left) = unfinished(directory) {
        anyhow::bail!(left);
    }
    let certificates = ["tls/server.key", "tls/ca.key"].map(Path::new);
    for place in places.into_iter().chain(certificates) {
        let path = directory.join(place);
        anyhow::ensure!(
            !path.exists(),
            "{} is there already; init never overwrites an installation",
            path.display()
        );
    }
    Ok(())
}

/// Lists what an installation that is being made has made so far, one path a line. It goes when all is made, so that one that
/// was killed half-way is known for what it is.
const UNFINISHED: &str = "init.unfinished";

/// What an earlier `mdmd init` left that never came to its end, and how to go on; `None` when there is no such thing.
pub(crate) fn unfinished(directory: &Path) -> Option<String> {
    let list = directory.join(UNFINISHED);
    let text = std::fs::read_to_string(&list).ok()?;
    let made: Vec<&str> = text.lines().collect();
    let left = made.iter().map(Path::new).filter(|path| path.exists());
    let left: Vec<String> = left.map(|path| format!("  {}", path.display())).collect();
    Some(format!(
        "an earlier `mdmd init` was cut off before its end, and what it made is in use by nobody:\n{}\n  {}\n\
         Remove these (the last one last) and run `mdmd init` again. If its database is PostgreSQL, empty that, too.",
        left.join("\n"),
        list.display()
    ))
}

/// An installation that is being made. What was made is taken away again unless it is kept in the end: whoever mends what
/// was wrong can begin anew.
pub(crate) struct Site {
    directory: PathBuf,
    made: Vec<PathBuf>,
    list: Option<File>,
}

impl Site {
    /// The data directory, made if it is not there, for its owner only.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let mut site = Self {
            directory: directory.to_owned(),
            made: Vec::new(),
            list: None,
        };
        let tls = directory.join("tls");
        let missing: Vec<&Path> = tls
            .ancestors()
            // The last one of a relative path is empty: where we are.
            .take_while(|p| !p.as_os_str().is_empty() && !p.exists())
            .collect();
        let name = || format!("data directory {}", directory.display());
        for path in missing.into_iter().rev() {
            let made = std::fs::DirBuilder::new().mode(0o700).create(path);
            made.with_context(name)?;
            site.makes(path);
        }
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
            .with_context(name)?;
        let list = directory.join(UNFINISHED);
        // The first to go in, and the first to come out if the rest fails.
        let mut file = create(&list, 0o600)?;
        let directories = site.made.iter().map(|path| format!("{}\n", path.display()));
        fill(&mut file, directories.collect::<String>().as_bytes()).with_context(name)?;
        site.made.push(list);
        site.list = Some(file);
        Ok(site)
    }

    /// Notes what was made, or is about to be made where nothing is.
    pub(crate) fn makes(&mut self, path: &Path) {
        if let Some(list) = &mut self.list {
            // Without its line a file is only not named to whoever clears up.
            let _ = fill(list, format!("{}\n", path.display()).as_bytes());
        }
        self.made.push(path.to_owned());
    }

    /// Writes a new file in the directory; one that is there is an error.
    pub(crate) fn write(&mut self, name: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.directory.join(name);
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
        self.makes(&path);
        let mut file = create(&path, mode)?;
        fill(&mut file, content).with_context(|| path.display().to_string())
    }

    /// A new file somewhere below the directory, to be filled; folders on the way to it are made.
    pub(crate) fn file(
        &mut self,
        directory: &Path,
        below: &Path,
        mode: u32,
    ) -> anyhow::Result<File> {
        let path = directory.join(below);
        let folders = path.ancestors().skip(1);
        let missing: Vec<&Path> = folders
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .collect();
        for folder in missing.into_iter().rev() {
            let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
            made.with_context(|| folder.display().to_string())?;
            self.makes(folder);
        }
        let file = create(&path, mode)?;
        self.makes(&path);
        Ok(file)
    }

    /// It is complete.
    ///
    /// # Errors
    /// When the list of what was made cannot be removed: then nothing is kept.
    pub(crate) fn keep(mut self) -> anyhow::Result<()> {
        let list = self.directory.join(UNFINISHED);
        std::fs::remove_file(&list).with_context(|| list.display().to_string())?;
        self.made.clear();
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // A directory goes only when nothing of somebody else's is in it.
            if std::fs::remove_file(path).is_err() {
                let _ = std::fs::remove_dir(path);
            }
        }
    }
}

/// A CA of our own and a certificate for our listeners; answers the CA's certificate.
pub(crate) fn own_certificates(
    site: &mut Site,
    organisation: &str,
    host: &str,
) -> anyhow::Result<Der> {
    let now = SystemClock.now();
    let ca = pki::authority(&format!("{} device management", organisation), CA_DAYS, now)?;
    let mut names = vec![host.to_ascii_lowercase()];
    for local in ["localhost", "127.0.0.1"] {
        if host != local {
            names.push(local.to_owned());
        }
    }
    let server = pki::server(&ca, &names, SERVER_DAYS, now)?;
    site.write("tls/ca.pem", &ca.certificate_pem()?, 0o644)?;
    site.write("tls/ca.key", &ca.key_pem()?, 0o600)?;
    site.write("tls/server.pem", &server.certificate_pem()?, 0o644)?;
    site.write("tls/server.key", &server.key_pem()?, 0o600)?;
    Ok(Der(ca.certificate.to_der()?))
}

/// A new file; one that is there is an error.
fn create(path: &Path, mode: u32) -> anyhow::Result<File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| path.display().to_string())
}

fn fill(file: &mut File, content: &[u8]) -> std::io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}
