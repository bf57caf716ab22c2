//! What commands print. A reader that has gone away (`mdmd … | head`) is no failure of a command: the rest is printed
//! nowhere, and the command ends as it would have. Any other failure to print is told, and is a failure.
//!
//! The macros here stand in for those of the standard library, which panic, in every module of this crate.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// The first failure of standard output; nothing is printed after it.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// As the standard library's, but never a panic.
macro_rules! print {
    ($($what:tt)*) => { $crate::out::print(format_args!($($what)*), "") };
}

/// As the standard library's, but never a panic.
macro_rules! println {
    () => { $crate::out::print(format_args!(""), "\n") };
    ($($what:tt)*) => { $crate::out::print(format_args!($($what)*), "\n") };
}

/// As the standard library's, but never a panic.
macro_rules! eprintln {
    ($($what:tt)*) => { $crate::out::say(format_args!($($what)*)) };
}

/// Puts an answer on standard output.
pub(crate) fn print(what: Arguments<'_>, end: &str) {
    if LOST.get().is_none()
        && let Err(error) = write!(io::stdout().lock(), "{what}{end}")
    {
        let _ = LOST.set(error);
    }
}

/// Standard output for whoever writes to it: as [`print`], so that a reader that has gone away is no failure.
pub(crate) struct Paper;

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if LOST.get().is_none()
            && let Err(error) = io::stdout().lock().write_all(bytes)
        {
            let _ = LOST.set(error);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether nobody reads any more, or nothing can be printed.
pub(crate) fn is_lost() -> bool {
    LOST.get().is_some()
}

/// Puts a sentence on standard error. There is nobody to tell when that fails.
pub(crate) fn say(what: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{what}");
}

/// What became of the answer, at the end of the command.
///
/// # Errors
/// The first failure to print, unless it is that nobody reads any more.
pub(crate) fn finish() -> Result<(), String> {
    if let Err(error) = io::stdout().lock().flush() {
        let _ = LOST.set(error);
    }
    match LOST.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}
