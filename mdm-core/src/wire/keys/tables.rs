//! The macros that make types of Apple's dictionaries and value sets out of tables: one line per key,
//! with its documentation. Nothing here knows a key.

/// A dictionary with known keys as a value.
macro_rules! field_of_keys {
    ($name:ident) => {
        impl $crate::wire::keys::sealed::Sealed for $name {}

        impl $crate::wire::keys::Field for $name {
            const KIND: &'static str = "dictionary";

            fn misfit(value: &::plist::Value, at: &str) -> Option<$crate::wire::keys::Misfit> {
                match value.as_dictionary() {
                    Some(of) => $crate::wire::keys::misfit::of_keys::<Self>(of, at),
                    None => Some($crate::wire::keys::Misfit::of_kind(at, Self::KIND)),
                }
            }

            fn to_value(&self) -> ::plist::Value {
                ::plist::Value::Dictionary($crate::wire::keys::Keys::to_dictionary(self))
            }

            fn of_value(value: &::plist::Value) -> Option<(Self, bool)> {
                <Self as $crate::wire::keys::Keys>::read(value.as_dictionary()?)
            }

            fn holds_secret(&self) -> bool {
                $crate::wire::keys::Keys::carries_secret(self)
            }
        }
    };
}

/// A dictionary that we send. `choice` fields stand for one key out of several, the fields of the
/// constructor must be there, the optional ones are written when they are `Some`.
///
/// Each field becomes public, and each optional one a method of the same name that sets it.
macro_rules! record {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            optional { $($(#[$odoc:meta])* $opt:ident: $otype:ty = $okey:literal,)* }
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $(#[doc = concat!("`", $okey, "`.")] $(#[$odoc])* pub $opt: Option<$otype>,)*
        }

        $crate::wire::keys::record!(@keys $name [] [] [$($opt: $otype = $okey,)*]);
    };
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $ctor:ident { $($(#[$rdoc:meta])* $req:ident: $rtype:ty = $rkey:literal,)* }
            $(choice { $($(#[$cdoc:meta])* $choice:ident: $ctype:ty,)* })?
            $(optional { $($(#[$odoc:meta])* $opt:ident: $otype:ty = $okey:literal,)* })?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($($(#[$cdoc])* pub $choice: $ctype,)*)?
            $(#[doc = concat!("`", $rkey, "`.")] $(#[$rdoc])* pub $req: $rtype,)*
            $($(#[doc = concat!("`", $okey, "`.")] $(#[$odoc])* pub $opt: Option<$otype>,)*)?
        }

        impl $name {
            /// With what must be there and nothing else.
            #[must_use]
            pub fn $ctor(
                $($($choice: $ctype,)*)?
                $($req: impl Into<$rtype>),*
            ) -> Self {
                Self {
                    $($($choice,)*)?
                    $($req: $req.into(),)*
                    $($($opt: None,)*)?
                }
            }
        }

        $crate::wire::keys::record!(@keys $name
            [$($($choice: $ctype,)*)?] [$($req: $rtype = $rkey,)*] [$($($opt: $otype = $okey,)*)?]);
    };
    (@keys $name:ident
        [$($choice:ident: $ctype:ty,)*]
        [$($req:ident: $rtype:ty = $rkey:literal,)*]
        [$($opt:ident: $otype:ty = $okey:literal,)*]
    ) => {
        impl $name {
            $(
                #[doc = concat!("Sets `", $okey, "`.")]
                #[must_use]
                pub fn $opt(mut self, value: impl Into<$otype>) -> Self {
                    self.$opt = Some(value.into());
                    self
                }
            )*
        }

        impl $crate::wire::keys::Keys for $name {
            fn carries_secret(&self) -> bool {
                false
                    $(|| $crate::wire::keys::Keys::carries_secret(&self.$choice))*
                    $(|| $crate::wire::keys::Field::holds_secret(&self.$req))*
                    $(|| self.$opt.as_ref().is_some_and($crate::wire::keys::Field::holds_secret))*
            }

            fn write(&self, d: &mut ::plist::Dictionary) {
                $($crate::wire::keys::Keys::write(&self.$choice, d);)*
                $($crate::wire::keys::put(d, $rkey, &self.$req);)*
                $($crate::wire::keys::put_some(d, $okey, self.$opt.as_ref());)*
            }

            fn read(of: &::plist::Dictionary) -> Option<(Self, bool)> {
                let mut exact = of.keys().all(|key| Self::knows(key));
                let read = Self {
                    $($choice: {
                        let (value, whole) = $crate::wire::keys::Keys::read(of)?;
                        exact &= whole;
                        value
                    },)*
                    $($req: $crate::wire::keys::get(of, $rkey, &mut exact)?,)*
                    $($opt: $crate::wire::keys::get(of, $okey, &mut exact),)*
                };
                Some((read, exact))
            }

            fn knows(key: &str) -> bool {
                false
                    $(|| <$ctype as $crate::wire::keys::Keys>::knows(key))*
                    $(|| key == $rkey)*
                    $(|| key == $okey)*
            }

            fn kinds() -> Vec<(&'static str, &'static str)> {
                #[allow(unused_mut, reason = "not every record has a choice")]
                let mut kinds = vec![
                    $(($rkey, <$rtype as $crate::wire::keys::Field>::KIND),)*
                    $(($okey, <$otype as $crate::wire::keys::Field>::KIND),)*
                ];
                $(kinds.extend(<$ctype as $crate::wire::keys::Keys>::kinds());)*
                kinds
            }

            fn misfit(of: &::plist::Dictionary, at: &str) -> Option<$crate::wire::keys::Misfit> {
                None
                    $(.or_else(|| <$ctype as $crate::wire::keys::Keys>::misfit(of, at)))*
                    $(.or_else(|| $crate::wire::keys::misfit::required::<$rtype>(of, at, $rkey)))*
                    $(.or_else(|| $crate::wire::keys::misfit::optional::<$otype>(of, at, $okey)))*
            }
        }

        $crate::wire::keys::field_of_keys!($name);
    };
}

/// Exactly one of several keys.
macro_rules! one_of {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$vdoc:meta])* $variant:ident($type:ty) = $key:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $key, "`.")] $(#[$vdoc])* $variant($type),)*
        }

        impl $crate::wire::keys::Keys for $name {
            fn carries_secret(&self) -> bool {
                match self {
                    $(Self::$variant(value) => $crate::wire::keys::Field::holds_secret(value),)*
                }
            }

            fn write(&self, d: &mut ::plist::Dictionary) {
                match self {
                    $(Self::$variant(value) => $crate::wire::keys::put(d, $key, value),)*
                }
            }

            fn read(of: &::plist::Dictionary) -> Option<(Self, bool)> {
                // With two of them nobody can say which one counts.
                let mut exact = of.keys().filter(|key| Self::knows(key)).count() == 1;
                $(if let Some(value) = $crate::wire::keys::get(of, $key, &mut exact) {
                    return Some((Self::$variant(value), exact));
                })*
                None
            }

            fn knows(key: &str) -> bool {
                false $(|| key == $key)*
            }

            fn kinds() -> Vec<(&'static str, &'static str)> {
                vec![$(($key, <$type as $crate::wire::keys::Field>::KIND),)*]
            }

            fn misfit(of: &::plist::Dictionary, at: &str) -> Option<$crate::wire::keys::Misfit> {
                $crate::wire::keys::misfit::one_of(of, at, &Self::kinds())
                    $(.or_else(|| $crate::wire::keys::misfit::optional::<$type>(of, at, $key)))*
            }
        }

        $crate::wire::keys::field_of_keys!($name);
    };
}

/// A dictionary that a device sends. Every key is optional: devices leave out what they do not know
/// or may not tell, and an absent key is never read as false. `@part` fields gather keys of the same
/// dictionary.
macro_rules! answer {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $(@part { $($(#[$pdoc:meta])* $part:ident: $ptype:ty,)* })?
            $($(#[$odoc:meta])* $opt:ident: $otype:ty = $okey:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($($(#[$pdoc])* pub $part: $ptype,)*)?
            $(#[doc = concat!("`", $okey, "`.")] $(#[$odoc])* pub $opt: Option<$otype>,)*
            /// What this type does not know, and what is not of the type that Apple says.
            pub other: ::plist::Dictionary,
        }

        impl $crate::wire::keys::Keys for $name {
            /// Secrets are lifted out before an answer is read.
            fn carries_secret(&self) -> bool {
                false
            }

            fn write(&self, d: &mut ::plist::Dictionary) {
                $($($crate::wire::keys::Keys::write(&self.$part, d);)*)?
                $($crate::wire::keys::put_some(d, $okey, self.$opt.as_ref());)*
                // As received, where the typed value says less.
                for (key, value) in &self.other {
                    d.insert(key.clone(), value.clone());
                }
            }

            fn read(of: &::plist::Dictionary) -> Option<(Self, bool)> {
                let mut other = ::plist::Dictionary::new();
                $($(let $part = <$ptype as $crate::wire::keys::Keys>::read(
                    &of.iter()
                        .filter(|(key, _)| <$ptype as $crate::wire::keys::Keys>::knows(key))
                        .map(|(key, value)| (key.clone(), value.clone()))
                        .collect(),
                )?.0;)*)?
                $(
                    let mut exact = true;
                    let $opt = $crate::wire::keys::get(of, $okey, &mut exact);
                    if let (false, Some(value)) = (exact, of.get($okey)) {
                        other.insert($okey.to_owned(), value.clone());
                    }
                )*
                for (key, value) in of.iter().filter(|(key, _)| !Self::knows(key)) {
                    other.insert(key.clone(), value.clone());
                }
                Some((Self { $($($part,)*)? $($opt,)* other }, true))
            }

            fn knows(key: &str) -> bool {
                false
                    $($(|| <$ptype as $crate::wire::keys::Keys>::knows(key))*)?
                    $(|| key == $okey)*
            }
        }

        $crate::wire::keys::field_of_keys!($name);
    };
}

/// A closed set of values. One that is not in it survives as `Other`.
macro_rules! words {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$vdoc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`.")] $(#[$vdoc])* $variant,)*
            /// A word that is newer than this library.
            Other(String),
        }

        impl $name {
            /// Apple's word.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }

            /// The value of a word; there is one for each.
            #[must_use]
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl $crate::wire::keys::Field for $name {
            const KIND: &'static str = "string";

            fn to_value(&self) -> ::plist::Value {
                self.as_str().into()
            }

            fn of_value(value: &::plist::Value) -> Option<(Self, bool)> {
                Some((Self::from_word(value.as_string()?), true))
            }
        }
    };
}

/// A closed set of numbers. One that is not in it survives as `Other`.
macro_rules! numbers {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$vdoc:meta])* $variant:ident = $number:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $number, "`.")] $(#[$vdoc])* $variant,)*
            /// A number that is newer than this library.
            Other(i64),
        }

        impl $name {
            /// Apple's number.
            #[must_use]
            pub const fn number(self) -> i64 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// The value of a number; there is one for each.
            #[must_use]
            pub const fn from_number(number: i64) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl $crate::wire::keys::Field for $name {
            const KIND: &'static str = "integer";

            fn to_value(&self) -> ::plist::Value {
                ::plist::Value::Integer(self.number().into())
            }

            fn of_value(value: &::plist::Value) -> Option<(Self, bool)> {
                Some((Self::from_number(value.as_signed_integer()?), true))
            }
        }
    };
}

pub(crate) use {answer, field_of_keys, numbers, one_of, record, words};
