//! Parsing JSON: by serde_json, except for a text that is one string without escapes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use crate::text::plain_contents;

/// The newtype that a [`RawValue`] requests. If that ever changes, it rejects what it gets here and
/// is left to serde_json.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Parses `text` as exactly one JSON value, as [`serde_json::from_str`] does, and several times as
/// fast if `T` is a string and `text` has no escapes. Only a `T` that accepts a string although it
/// requests something else, such as a number, gets a string here and an error there.
///
/// # Errors
///
/// Those of [`serde_json::from_str`].
#[inline]
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    // A type that rejects this string is parsed again, for an error with the position.
    match plain_contents(text).map(|contents| T::deserialize(PlainString { contents, text })) {
        Some(Ok(value)) => Ok(value),
        _ => serde_json::from_str(text),
    }
}

/// Checks that `text` is exactly one JSON value, as [`serde_json::from_str`] does, and several
/// times as fast if it is a string without escapes.
///
/// # Errors
///
/// Those of [`serde_json::from_str`].
#[inline]
pub fn check_json(text: &str) -> serde_json::Result<&RawValue> {
    parse_json(text)
}

/// A JSON string without escapes: `text` is `contents` in quotes.
struct PlainString<'a> {
    contents: &'a str,
    text: &'a str,
}

impl<'de> Deserializer<'de> for PlainString<'de> {
    type Error = serde_json::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_borrowed_str(self.contents)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_some(self)
    }

    /// A [`RawValue`] requests a newtype of a certain name and accepts a map with one entry: that
    /// name, and the text.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        if name != RAW_VALUE {
            return visitor.visit_newtype_struct(self);
        }
        let entry = (name, BorrowedStrDeserializer::new(self.text));
        visitor.visit_map(MapDeserializer::new([entry].into_iter()))
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        visitor.visit_enum(BorrowedStrDeserializer::new(self.contents))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Deserialises a struct from an object only. What serde derives also accepts an array of the
/// struct's fields.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    description: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(ObjectVisitor { description, result: PhantomData })
}

struct ObjectVisitor<T> {
    description: &'static str,
    result: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_value_takes_a_checked_text_without_serde_json() {
        let checked = PlainString { contents: "checked", text: r#""checked""# };
        assert_eq!(<&RawValue>::deserialize(checked).unwrap().get(), r#""checked""#);
    }
}
