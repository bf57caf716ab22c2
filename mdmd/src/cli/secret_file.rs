//! Reads a secret from a file or from standard input, never from the command line, into a place that is zeroed.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use zeroize::Zeroizing;

use super::{Ended, Exit, Means as _};

/// No credential is larger.
const LARGEST: usize = 1024 * 1024;

/// The content of a file; of standard input when the path is `-`.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Ended> {
    // Room for all of it at once: growing would leave a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(LARGEST + 1));
    let limit = LARGEST as u64 + 1;
    let done = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut content)
            .context("standard input")
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut content))
            .with_context(|| path.display().to_string())
    };
    done.means(Exit::BadInput)?;
    if content.is_empty() || content.len() > LARGEST {
        let why = anyhow::anyhow!("{}: must have 1 to {LARGEST} bytes", path.display());
        return Err(why).means(Exit::BadInput);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_too_much_are_bad_input_and_the_limit_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let check = |size: usize| {
            let path = directory.path().join("secret");
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            read(&path).map(|content| content.len()).map_err(|e| e.exit)
        };
        assert_eq!(check(0), Err(Exit::BadInput));
        assert_eq!(check(LARGEST), Ok(LARGEST));
        assert_eq!(check(LARGEST + 1), Err(Exit::BadInput));
        let missing = read(&directory.path().join("none")).unwrap_err();
        assert!(format!("{:#}", missing.why).contains("none"));
    }
}
