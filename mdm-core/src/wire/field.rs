//! Reading the fields of one dictionary, with errors that name message and field only.

use plist::{Dictionary, Value};

use super::WireError;

/// The longest identifier that is read, in bytes. Apple promises no length; real ones have 40.
pub(super) const MAX_IDENTIFIER: usize = 512;

/// The longest other text that is read, in bytes: names, versions, endpoints.
pub(super) const MAX_TEXT: usize = 8 * 1024;

/// A dictionary together with the name of the message that it came in.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) message: &'static str,
    pub(super) of: &'a Dictionary,
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'static str, of: &'a Dictionary) -> Self {
        Self { message, of }
    }

    fn wrong(self, field: &'static str, expected: &'static str) -> WireError {
        WireError::WrongType {
            message: self.message,
            field,
            expected,
        }
    }

    pub(super) fn missing(self, field: &'static str) -> WireError {
        WireError::Missing {
            message: self.message,
            field,
        }
    }

    fn empty(self, field: &'static str) -> WireError {
        WireError::Empty {
            message: self.message,
            field,
        }
    }

    /// An optional text; a value of another type is an error, not an absence.
    pub(super) fn text(self, field: &'static str) -> Result<Option<String>, WireError> {
        match self.of.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() > MAX_TEXT => Err(WireError::TooLong {
                message: self.message,
                field,
                limit: MAX_TEXT,
            }),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(field, "string")),
        }
    }

    /// A text that must be there and have content.
    pub(super) fn required_text(self, field: &'static str) -> Result<String, WireError> {
        let text = self.text(field)?.ok_or_else(|| self.missing(field))?;
        if text.trim().is_empty() {
            return Err(self.empty(field));
        }
        Ok(text)
    }

    /// An optional identifier: empty counts as absent, and its length is bounded.
    pub(super) fn identifier(self, field: &'static str) -> Result<Option<String>, WireError> {
        let Some(text) = self.text(field)? else {
            return Ok(None);
        };
        let trimmed = text.trim();
        if trimmed.len() > MAX_IDENTIFIER {
            return Err(WireError::TooLong {
                message: self.message,
                field,
                limit: MAX_IDENTIFIER,
            });
        }
        Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
    }

    /// An optional boolean.
    pub(super) fn boolean(self, field: &'static str) -> Result<Option<bool>, WireError> {
        match self.of.get(field) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            // Some encoders know no booleans.
            Some(Value::Integer(value)) if value.as_unsigned() == Some(0) => Ok(Some(false)),
            Some(Value::Integer(value)) if value.as_unsigned() == Some(1) => Ok(Some(true)),
            Some(_) => Err(self.wrong(field, "boolean")),
        }
    }

    /// Optional bytes.
    pub(super) fn data(self, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
        match self.of.get(field) {
            None => Ok(None),
            Some(Value::Data(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(self.wrong(field, "data")),
        }
    }

    /// Bytes that must be there and have content.
    pub(super) fn required_data(self, field: &'static str) -> Result<&'a [u8], WireError> {
        let bytes = self.data(field)?.ok_or_else(|| self.missing(field))?;
        if bytes.is_empty() {
            return Err(self.empty(field));
        }
        Ok(bytes)
    }
}
