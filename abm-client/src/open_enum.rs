//! Enumerations of Apple that may grow: a value that we do not know survives as `Other`, letter by letter.

/// Defines an enumeration over texts, with `Other(String)` for what is not in the list.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $text:literal ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$vmeta])* #[doc = concat!("On the wire: `", $text, "`.")] $variant, )+
            /// A value that this version of the library does not know, as received.
            Other(String),
        }

        impl $name {
            /// Every value that this version of the library knows.
            pub const KNOWN: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The text on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$variant => $text, )+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $( $text => Self::$variant, )+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $( $text => Self::$variant, )+
                    _ => Self::Other(text),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use crate::assignment::ProfileStatus;

    #[test]
    fn an_unknown_value_survives() {
        let text = r#"["pushed","folded"]"#;
        let read: Vec<ProfileStatus> = serde_json::from_str(text).expect("two texts");
        assert_eq!(
            read,
            [ProfileStatus::Pushed, ProfileStatus::Other("folded".into())]
        );
        assert_eq!(serde_json::to_string(&read).expect("serialises"), text);
    }
}
