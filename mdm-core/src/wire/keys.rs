//! What a value of Apple's property lists is in Rust: one trait for what stands under a key, one for a
//! dictionary whose keys are known, and the macros that make such types out of tables.
//!
//! Writing leaves out what is `None`, as Apple's defaults are meant to apply. Reading loses nothing:
//! a request with a key that is not known stays what it was
//! ([`CommandBody::Raw`](super::command::CommandBody::Raw)), an answer keeps such keys in `other`.
//! Nothing here knows a command, and nothing is refused because its value is unusual.

pub(crate) mod misfit;
mod tables;

use std::collections::BTreeMap;

use plist::{Dictionary, Value};

use super::redact::MARK;
use crate::secret::Secret;

pub use misfit::Misfit;
pub(crate) use tables::{answer, field_of_keys, numbers, one_of, record, words};

/// A dictionary whose keys are known: a command, a payload, an answer, or a part of one.
///
/// It is implemented by the types of [`requests`](super::requests), [`reports`](super::reports) and
/// [`payloads`](super::payloads), and by no others.
pub trait Keys: Sized + sealed::Sealed {
    /// The dictionary, without what is `None`. It may hold secrets in clear.
    #[must_use]
    fn to_dictionary(&self) -> Dictionary {
        let mut d = Dictionary::new();
        self.write(&mut d);
        d
    }

    /// Reads a dictionary. `None` if a key that must be there is missing or of another type, or if
    /// the type has no place for one of the keys: then nothing but the dictionary itself is exact.
    #[must_use]
    fn from_dictionary(of: &Dictionary) -> Option<Self> {
        match Self::read(of)? {
            (read, true) => Some(read),
            (_, false) => None,
        }
    }

    /// Whether something that nobody may see is in it: then its bytes are not stored unsealed.
    #[must_use]
    fn carries_secret(&self) -> bool;

    /// Adds the keys to a dictionary.
    #[doc(hidden)]
    fn write(&self, d: &mut Dictionary);

    /// The value, and whether everything that was read is in it.
    #[doc(hidden)]
    fn read(of: &Dictionary) -> Option<(Self, bool)>;

    /// Whether this key is one of its own.
    #[doc(hidden)]
    fn knows(key: &str) -> bool;

    /// Its own keys with their types, in Apple's words. None where they are not told: only what we send is written by people.
    #[doc(hidden)]
    #[must_use]
    fn kinds() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// What is wrong with its own keys, if anything is; `at` is what stands around them.
    #[doc(hidden)]
    #[must_use]
    fn misfit(_of: &Dictionary, _at: &str) -> Option<Misfit> {
        None
    }
}

pub(crate) mod sealed {
    /// What keeps [`Keys`](super::Keys) to this crate.
    #[expect(unnameable_types, reason = "that nobody can name it is its purpose")]
    pub trait Sealed {}
}

/// What stands under one key.
pub(crate) trait Field: Sized {
    /// Its type, in Apple's words.
    const KIND: &'static str;

    fn to_value(&self) -> Value;

    /// What is wrong with a value, if it is of another type here or below; `at` is its key.
    fn misfit(value: &Value, at: &str) -> Option<Misfit> {
        (misfit::kind_of(value) != Self::KIND).then(|| Misfit::of_kind(at, Self::KIND))
    }

    /// The value, and whether everything that was read is in it. `None`: of another type.
    fn of_value(value: &Value) -> Option<(Self, bool)>;

    fn holds_secret(&self) -> bool {
        false
    }
}

/// A secret that Apple wants as data, such as a profile or the hash of a password.
/// A [`Secret`] alone stands for text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it says one thing of one value")]
pub struct SecretData(pub Secret);

impl From<Secret> for SecretData {
    fn from(secret: Secret) -> Self {
        Self(secret)
    }
}

/// A dictionary that Apple leaves free, such as the configuration of an application. What is in it
/// nobody knows, and it often is a password: it shows nothing of itself in `Debug`.
///
/// Which keys of commands those are, [`FREE_KEYS`](super::requests::FREE_KEYS) says in one place.
#[derive(Clone, PartialEq, Default)]
#[expect(clippy::exhaustive_structs, reason = "it says one thing of one value")]
pub struct Free(pub Dictionary);

impl std::fmt::Debug for Free {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Free({} keys)", self.0.len())
    }
}

impl From<Dictionary> for Free {
    fn from(dictionary: Dictionary) -> Self {
        Self(dictionary)
    }
}

/// A secret stood under this key of an answer. Its content is among
/// [`CommandReport::secrets`](super::report::CommandReport::secrets) and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Withheld;

/// Results where the schema says one and devices send several.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third number")]
pub enum OneOrMany<T> {
    /// A dictionary.
    One(T),
    /// An array of dictionaries.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

macro_rules! plain_field {
    ($($rust:ty = $kind:literal: |$from:ident| $to_value:expr, $of_value:expr;)*) => {$(
        impl Field for $rust {
            const KIND: &'static str = $kind;

            fn to_value(&self) -> Value {
                let $from = self;
                $to_value
            }

            fn of_value(value: &Value) -> Option<(Self, bool)> {
                let read: fn(&Value) -> Option<Self> = $of_value;
                Some((read(value)?, true))
            }
        }
    )*};
}

plain_field! {
    bool = "boolean": |b| Value::Boolean(*b), Value::as_boolean;
    i64 = "integer": |n| Value::Integer((*n).into()), Value::as_signed_integer;
    u64 = "integer": |n| Value::Integer((*n).into()), Value::as_unsigned_integer;
    u32 = "integer": |n| Value::Integer(u64::from(*n).into()), |v| v.as_unsigned_integer()?.try_into().ok();
    String = "string": |t| Value::String(t.clone()), |v| v.as_string().map(str::to_owned);
    Vec<u8> = "data": |d| Value::Data(d.clone()), |v| v.as_data().map(<[u8]>::to_vec);
    plist::Date = "date": |d| Value::Date(*d), Value::as_date;
    // A mark alone: what is no mark was no secret when it was read.
    Withheld = "string": |_w| Value::String(MARK.to_owned()), |v| (v.as_string() == Some(MARK)).then_some(Withheld);
}

impl Field for Value {
    const KIND: &'static str = "any";

    fn misfit(_: &Value, _: &str) -> Option<Misfit> {
        None
    }

    fn to_value(&self) -> Value {
        self.clone()
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        Some((value.clone(), true))
    }
}

impl Field for uuid::Uuid {
    const KIND: &'static str = "string";

    /// As Apple writes it.
    fn to_value(&self) -> Value {
        Value::String(self.hyphenated().to_string().to_uppercase())
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        let read = Self::parse_str(value.as_string()?).ok()?;
        Some((read, read.to_value() == *value))
    }
}

impl Field for f64 {
    const KIND: &'static str = "real";

    fn to_value(&self) -> Value {
        Value::Real(*self)
    }

    /// Some devices write a whole number as an integer, which then is not what was received.
    fn of_value(value: &Value) -> Option<(Self, bool)> {
        match value {
            Value::Real(real) => Some((*real, true)),
            // Exact up to 2^53, and no capacity is larger.
            Value::Integer(whole) => Some((whole.as_signed()? as Self, false)),
            _ => None,
        }
    }
}

impl Field for Secret {
    const KIND: &'static str = "string";

    /// Passwords are made by us or typed by a person, hence always UTF-8; one that is not would be
    /// sent as an empty text, which every device refuses.
    fn to_value(&self) -> Value {
        Value::String(self.expose_text().unwrap_or_default().to_owned())
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        Some((Self::from_text(value.as_string()?), true))
    }

    fn holds_secret(&self) -> bool {
        true
    }
}

impl Field for SecretData {
    const KIND: &'static str = "data";

    fn to_value(&self) -> Value {
        Value::Data(self.0.expose().to_vec())
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        Some((Self(Secret::new(value.as_data()?)), true))
    }

    fn holds_secret(&self) -> bool {
        true
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: &'static str = "array";

    fn misfit(value: &Value, at: &str) -> Option<Misfit> {
        let Some(items) = value.as_array() else {
            return Some(Misfit::of_kind(at, Self::KIND));
        };
        let mut each = items.iter().enumerate();
        each.find_map(|(n, item)| T::misfit(item, &format!("{at}[{n}]")))
    }

    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(T::to_value).collect())
    }

    /// Items of another type are left out: one odd item must not hide two hundred.
    fn of_value(value: &Value) -> Option<(Self, bool)> {
        let mut exact = true;
        let items = value.as_array()?.iter().filter_map(|item| {
            let read = T::of_value(item);
            exact &= matches!(read, Some((_, true)));
            Some(read?.0)
        });
        Some((items.collect(), exact))
    }

    fn holds_secret(&self) -> bool {
        self.iter().any(T::holds_secret)
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    const KIND: &'static str = "dictionary";

    fn misfit(value: &Value, at: &str) -> Option<Misfit> {
        let Some(of) = value.as_dictionary() else {
            return Some(Misfit::of_kind(at, Self::KIND));
        };
        of.keys().find_map(|key| misfit::optional::<T>(of, at, key))
    }

    fn to_value(&self) -> Value {
        let pairs = self
            .iter()
            .map(|(key, item)| (key.clone(), item.to_value()));
        Value::Dictionary(pairs.collect())
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        let mut exact = true;
        let pairs = value.as_dictionary()?.iter().filter_map(|(key, item)| {
            let read = T::of_value(item);
            exact &= matches!(read, Some((_, true)));
            Some((key.clone(), read?.0))
        });
        Some((pairs.collect(), exact))
    }

    fn holds_secret(&self) -> bool {
        self.values().any(T::holds_secret)
    }
}

impl Field for Free {
    const KIND: &'static str = "dictionary";

    fn to_value(&self) -> Value {
        Value::Dictionary(self.0.clone())
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        Some((Self(value.as_dictionary()?.clone()), true))
    }

    fn holds_secret(&self) -> bool {
        true
    }
}

impl<T: Field> Field for OneOrMany<T> {
    const KIND: &'static str = T::KIND;

    fn misfit(value: &Value, at: &str) -> Option<Misfit> {
        match value {
            Value::Array(_) => Vec::<T>::misfit(value, at),
            one => T::misfit(one, at),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::One(one) => one.to_value(),
            Self::Many(many) => many.to_value(),
        }
    }

    fn of_value(value: &Value) -> Option<(Self, bool)> {
        if value.as_array().is_some() {
            let (many, exact) = Vec::of_value(value)?;
            return Some((Self::Many(many), exact));
        }
        let (one, exact) = T::of_value(value)?;
        Some((Self::One(one), exact))
    }

    fn holds_secret(&self) -> bool {
        self.as_slice().iter().any(T::holds_secret)
    }
}

pub(crate) fn put<T: Field>(d: &mut Dictionary, key: &str, value: &T) {
    d.insert(key.to_owned(), value.to_value());
}

pub(crate) fn put_some<T: Field>(d: &mut Dictionary, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        put(d, key, value);
    }
}

/// What stands under a key; `exact` turns false if it is not wholly in the value.
pub(crate) fn get<T: Field>(of: &Dictionary, key: &str, exact: &mut bool) -> Option<T> {
    let read = of.get(key).map(T::of_value);
    *exact &= matches!(read, None | Some(Some((_, true))));
    read.flatten().map(|(value, _)| value)
}
