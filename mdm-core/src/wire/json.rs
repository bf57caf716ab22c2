//! Property lists as JSON and back, for people and programs that send commands and read answers. JSON has no data and no
//! dates: they are objects with the one key `$data` (base64) or `$date` (RFC 3339). Knows no command and no key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plist::{Dictionary, Value};
use serde_json::{Map, Number, Value as Json, json};

use super::plist::MAX_DEPTH;

/// Room for what stands around it in a command.
const DEEPEST: usize = MAX_DEPTH - 8;

/// Why a JSON value is no property list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Property lists have no null.
    #[error("null has no place in a property list")]
    Null,
    /// A number beyond 64 bits.
    #[error("a number is out of range")]
    Number,
    /// `$data` with something else than base64.
    #[error("$data must be base64")]
    Data,
    /// `$date` with something else than a moment.
    #[error("$date must be a moment such as 2027-01-31T00:00:00Z")]
    Date,
    /// Nested deeper than property lists are read.
    #[error("nested too deeply")]
    TooDeep,
    /// The outermost value is no object.
    #[error("must be an object")]
    NotAnObject,
}

/// A dictionary as a JSON object.
#[must_use]
pub fn of_dictionary(dictionary: &Dictionary) -> Json {
    let entries = dictionary.iter().map(|(k, v)| (k.clone(), of_value(v)));
    Json::Object(entries.collect::<Map<_, _>>())
}

// Recursion is bounded by the depth under which the value was read or made.
fn of_value(value: &Value) -> Json {
    match value {
        Value::Array(items) => items.iter().map(of_value).collect(),
        Value::Dictionary(inner) => of_dictionary(inner),
        Value::Boolean(is) => Json::Bool(*is),
        Value::Data(bytes) => json!({ "$data": STANDARD.encode(bytes) }),
        Value::Date(date) => json!({ "$date": date.to_xml_format() }),
        Value::Integer(number) => match (number.as_signed(), number.as_unsigned()) {
            (Some(n), _) => json!(n),
            (None, Some(n)) => json!(n),
            (None, None) => Json::Null,
        },
        // Not a number and infinity have no JSON.
        Value::Real(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::String(text) => json!(text),
        _ => Json::Null,
    }
}

/// A JSON object as a dictionary.
///
/// # Errors
/// [`JsonError`]: what has no place in a property list. Names no content.
pub fn to_dictionary(json: &Json) -> Result<Dictionary, JsonError> {
    match to_value(json, 0)? {
        Value::Dictionary(dictionary) => Ok(dictionary),
        _ => Err(JsonError::NotAnObject),
    }
}

fn to_value(json: &Json, depth: usize) -> Result<Value, JsonError> {
    if depth > DEEPEST {
        return Err(JsonError::TooDeep);
    }
    Ok(match json {
        Json::Null => return Err(JsonError::Null),
        Json::Bool(is) => Value::Boolean(*is),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), _, _) => Value::Integer(n.into()),
            (_, Some(n), _) => Value::Integer(n.into()),
            (_, _, Some(n)) => Value::Real(n),
            _ => return Err(JsonError::Number),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => {
            let items = items.iter().map(|item| to_value(item, depth + 1));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => {
            let only = entries.iter().next().filter(|_| entries.len() == 1);
            match only {
                Some((key, text)) if key == "$data" => {
                    let text = text.as_str().ok_or(JsonError::Data)?;
                    Value::Data(STANDARD.decode(text).map_err(|_| JsonError::Data)?)
                }
                Some((key, text)) if key == "$date" => {
                    let text = text.as_str().ok_or(JsonError::Date)?;
                    let date = plist::Date::from_xml_format(text);
                    Value::Date(date.map_err(|_| JsonError::Date)?)
                }
                _ => {
                    let mut dictionary = Dictionary::new();
                    for (key, value) in entries {
                        dictionary.insert(key.clone(), to_value(value, depth + 1)?);
                    }
                    Value::Dictionary(dictionary)
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_there_comes_back() {
        let there = json!({
            "RequestType": "Settings", "n": -3, "big": u64::MAX, "real": 0.5, "yes": true,
            "data": { "$data": "AAEC" }, "when": { "$date": "2027-01-31T00:00:00Z" },
            "list": [{ "a": "b" }, "c"], "$data": "beside another key it is a key",
        });
        assert_eq!(of_dictionary(&to_dictionary(&there).unwrap()), there);
    }

    #[test]
    fn what_has_no_place_in_a_property_list_is_refused() {
        let check = |json: Json, why: JsonError| assert_eq!(to_dictionary(&json), Err(why));
        check(json!({ "a": [null] }), JsonError::Null);
        check(json!({ "a": { "$data": "%" } }), JsonError::Data);
        check(json!({ "a": { "$date": 5 } }), JsonError::Date);
        check(json!([]), JsonError::NotAnObject);
        let mut deep = json!("x");
        for _ in 0..=DEEPEST {
            deep = json!([deep]);
        }
        check(json!({ "a": deep }), JsonError::TooDeep);
    }
}
