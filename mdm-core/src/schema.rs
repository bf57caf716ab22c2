//! JSON schemas of the values that write themselves as text. Those of all others are derived beside them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::calendar::Zone;
use crate::clock::Timestamp;
use crate::organisation::Der;

macro_rules! text {
    ($($ty:ty, $name:literal, $schema:tt;)*) => {$(
        impl JsonSchema for $ty {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text! {
    Timestamp, "Timestamp", { "type": "string", "format": "date-time" };
    Zone, "Zone", { "type": "string", "description": "A time zone by its name, such as Europe/Zurich." };
    Der, "Der", { "type": "string", "contentEncoding": "base64" };
}
