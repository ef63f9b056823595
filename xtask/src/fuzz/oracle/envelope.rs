//! What a body means, read in the plainest way from docs/wire.md: what the parser must agree with.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A body as a server must understand it.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning<'a> {
    /// No JSON text in UTF-8: -32700.
    NotJson,
    /// JSON, but no request: -32600.
    NotAMessage,
    Message {
        name: String,
        timeout_ms: Option<u64>,
        /// As it came; `None` if the field is absent.
        payload: Option<&'a str>,
    },
}

/// Reads a request.
pub(super) fn request(body: &[u8]) -> Meaning<'_> {
    let Ok(text) = str::from_utf8(body) else {
        return Meaning::NotJson;
    };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Meaning::NotJson;
    }
    let understood = || {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        // The one value of a field; a field that stands twice makes the message invalid.
        let value_of = |key: &str| {
            let mut values =
                fields.iter().filter(|(name, _)| name == key).map(|(_, raw)| raw.get());
            let value = values.next();
            values.next().is_none().then_some(value)
        };
        let timeout = value_of("timeout_ms")?.filter(|value| *value != "null");
        if timeout.is_some_and(|value| !value.chars().all(|digit| digit.is_ascii_digit())) {
            return None;
        }
        Some(Meaning::Message {
            name: serde_json::from_str(value_of("in")??).ok()?,
            timeout_ms: timeout.map(|digits| digits.parse().unwrap_or(u64::MAX)),
            payload: value_of("params")?,
        })
    };
    understood().unwrap_or(Meaning::NotAMessage)
}

/// The fields of a JSON object in their order, those that stand twice included.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}
