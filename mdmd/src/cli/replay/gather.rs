//! Finds recordings: a file, or a directory with its subdirectories, in the order of names. A file may be one request, or a
//! dump of many property lists one behind the other, as other servers write them. Judges no content.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use fixtures::recorded::{INDEX, Line, Proof, SIGNATURE_SUFFIX, Sender, TABLE_HEAD, read_index};

/// What files of a directory are taken for recordings. A file that is named outright, or by the index, may be called anything.
const EXTENSIONS: [&str; 3] = ["plist", "xml", "dump"];

/// The largest file that is read, in bytes: twice the largest body that a server reads.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

const LIST_END: &[u8] = b"</plist>";

/// Files with recordings, in the order in which they are played.
pub(super) struct Gathered {
    root: PathBuf,
    files: Vec<String>,
    index: BTreeMap<String, Line>,
}

/// One recorded request.
pub(super) struct Recording {
    /// The file relative to the directory; with a number behind it when the file holds several.
    pub(super) name: String,
    /// The body of the request.
    pub(super) body: Vec<u8>,
    /// How it is to be sent.
    pub(super) sender: Sender,
    /// The recorded `Mdm-Signature`.
    pub(super) signature: Option<String>,
    /// What the index says of it.
    pub(super) line: Option<Line>,
}

impl Gathered {
    /// Looks for recordings.
    ///
    /// # Errors
    /// Names the path that cannot be read, or says that there is nothing to play.
    pub(super) fn look(path: &Path) -> anyhow::Result<Self> {
        let named = || path.display().to_string();
        let found = std::fs::metadata(path).with_context(named)?;
        if !found.is_dir() {
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .with_context(|| format!("{}: its name is not UTF-8", named()))?;
            return Ok(Self {
                root: path.parent().unwrap_or(Path::new("")).to_owned(),
                files: vec![name.to_owned()],
                index: BTreeMap::new(),
            });
        }
        let mut index = BTreeMap::new();
        let index_file = path.join(INDEX);
        if let Ok(text) = std::fs::read_to_string(&index_file)
            // Another page of that name is nobody's business here.
            && text.contains(TABLE_HEAD)
        {
            let lines = read_index(&text).with_context(|| index_file.display().to_string())?;
            index.extend(lines.into_iter().map(|l| (l.file.clone(), l)));
        }
        let mut files = Vec::new();
        walk(path, "", &index, &mut files)?;
        ensure!(
            !files.is_empty(),
            "{}: there are no recordings (*.plist, *.xml, *.dump) in it",
            named()
        );
        Ok(Self {
            root: path.to_owned(),
            files,
            index,
        })
    }

    /// The files, relative to the directory.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// The recordings of one file.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(super) fn read(&self, file: &str) -> anyhow::Result<Vec<Recording>> {
        let path = self.root.join(file);
        let named = || path.display().to_string();
        let size = std::fs::metadata(&path).with_context(named)?.len();
        ensure!(
            size <= FILE_LIMIT,
            "{}: is larger than {FILE_LIMIT} bytes",
            named()
        );
        let bytes = std::fs::read(&path).with_context(named)?;
        let beside = self.root.join(format!("{file}{SIGNATURE_SUFFIX}"));
        let signature = match std::fs::read_to_string(&beside) {
            Ok(text) => Some(text.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(anyhow!(error).context(beside.display().to_string())),
        };
        let line = self.index.get(file).cloned();
        let sender = match (&line, &signature) {
            (Some(line), _) => line.sender.clone(),
            (None, Some(_)) => Sender::new(Proof::SignatureBeside),
            (None, None) => Sender::new(Proof::Certificate),
        };
        let parts = split(&bytes);
        let several = parts.len() > 1;
        let recording = |(at, part): (usize, &[u8])| Recording {
            name: if several {
                format!("{file}#{}", at + 1)
            } else {
                file.to_owned()
            },
            body: part.to_vec(),
            sender: sender.clone(),
            signature: signature.clone(),
            line: line.clone(),
        };
        Ok(parts.into_iter().enumerate().map(recording).collect())
    }
}

fn walk(
    directory: &Path,
    prefix: &str,
    index: &BTreeMap<String, Line>,
    files: &mut Vec<String>,
) -> anyhow::Result<()> {
    let named = || directory.display().to_string();
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(named)? {
        let entry = entry.with_context(named)?;
        // What has no UTF-8 name is no recording of ours, and nothing that could be printed.
        if let Ok(name) = entry.file_name().into_string() {
            entries.push((name, entry));
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, entry) in entries {
        let path = format!("{prefix}{name}");
        // A link to a directory could lead back to here: only links to files are followed.
        if entry.file_type().with_context(named)?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), index, files)?;
        } else if index.contains_key(&path) || (has_extension(&name) && entry.path().is_file()) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_extension(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, end)| EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(end)))
}

/// The property lists of a dump. What is not several whole ones, one behind the other, stays in one piece: it is played as it
/// is, and refused as it deserves.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(LIST_END.len()).position(|w| w == LIST_END) {
        let (part, behind) = rest.split_at(end + LIST_END.len());
        if !begins_list(part.trim_ascii_start()) {
            return vec![bytes];
        }
        parts.push(part);
        rest = behind;
    }
    if parts.len() > 1 && rest.trim_ascii().is_empty() {
        parts
    } else {
        vec![bytes]
    }
}

fn begins_list(text: &[u8]) -> bool {
    [b"<?xml".as_slice(), b"<!DOCTYPE plist", b"<plist"]
        .iter()
        .any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_split_and_anything_else_left_whole() {
        let check = |text: &str, parts: usize| {
            let found = split(text.as_bytes());
            assert_eq!(found.len(), parts, "{text}");
            let whole = found.concat();
            assert!(text.as_bytes().starts_with(&whole));
        };
        check("<plist><dict/></plist>", 1);
        check(
            "<plist><dict/></plist>\n<?xml version=\"1.0\"?><plist></plist>\n",
            2,
        );
        check("<plist/></plist><plist></plist>tail", 1);
        check("<plist></plist>{ a = b; }</plist>", 1);
        check("bplist00", 1);
        check("", 1);
    }

    #[test]
    fn directories_are_walked_in_the_order_of_names() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("b/2.XML", "<plist></plist>");
        put("b/1.plist", "<plist></plist>");
        put("b/1.plist.signature", " AAAA\n");
        put("a.dump", "<plist>1</plist><plist>2</plist>");
        put("INDEX.md", "# A page of somebody else\n\n| `x` | y |\n");
        put("notes.txt", "no recording");
        let gathered = Gathered::look(directory.path()).unwrap();
        assert_eq!(gathered.files(), ["a.dump", "b/1.plist", "b/2.XML"]);
        let dump = gathered.read("a.dump").unwrap();
        assert_eq!(dump[1].name, "a.dump#2");
        assert_eq!(dump[1].body, b"<plist>2</plist>");
        let signed = gathered.read("b/1.plist").unwrap();
        assert_eq!(signed[0].signature.as_deref(), Some("AAAA"));
        assert_eq!(signed[0].sender.proof, Proof::SignatureBeside);
        let one = Gathered::look(&directory.path().join("notes.txt")).unwrap();
        assert_eq!(one.files(), ["notes.txt"]);
        let nothing = tempfile::tempdir().unwrap();
        assert!(Gathered::look(nothing.path()).is_err());
        assert!(Gathered::look(&nothing.path().join("missing")).is_err());
    }
}
