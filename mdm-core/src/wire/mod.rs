//! Apple's words: property lists, check-ins, commands, reports, payloads, signatures.
//!
//! Bytes in, values out, and the other way round. Nothing here decides anything, reads a clock or
//! does IO; this is the only place that knows the keys of Apple's property lists.

pub mod checkin;
pub(crate) mod cms;
pub mod command;
mod field;
pub mod payloads;
pub mod plist;
mod redact;
pub mod report;
pub mod reports;
pub mod requests;
pub mod signature;

use self::plist::PlistError;

/// Why a message could not be read. It names message and field, never what was in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes are no property list that we read.
    #[error(transparent)]
    Plist(#[from] PlistError),
    /// A required field is absent.
    #[error("{message}: {field} is missing")]
    Missing {
        /// The message.
        message: &'static str,
        /// The absent key.
        field: &'static str,
    },
    /// A field that must have content is empty.
    #[error("{message}: {field} is empty")]
    Empty {
        /// The message.
        message: &'static str,
        /// The empty key.
        field: &'static str,
    },
    /// A field has another type than the protocol says.
    #[error("{message}: {field} is not of type {expected}")]
    WrongType {
        /// The message.
        message: &'static str,
        /// The key.
        field: &'static str,
        /// The property-list type that it should have.
        expected: &'static str,
    },
    /// A field is longer than anything that the protocol knows.
    #[error("{message}: {field} is longer than {limit} bytes")]
    TooLong {
        /// The message.
        message: &'static str,
        /// The key.
        field: &'static str,
        /// The longest value that is read, in bytes.
        limit: usize,
    },
    /// `MessageType` names no message of the check-in protocol.
    #[error("check-in: unknown MessageType")]
    UnknownMessage,
    /// `Status` is none of the five that the protocol knows.
    #[error("command report: unknown Status")]
    UnknownStatus,
}
