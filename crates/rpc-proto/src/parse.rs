//! Parsing JSON: by serde_json, except for a text that is one string without escapes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use crate::text::plain_contents;

/// Parses `text` as exactly one JSON value, as [`serde_json::from_str`] does, and several times as
/// fast if `T` is a string and `text` has no escapes.
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
    match plain_contents(text).map(|_| <&RawValue>::deserialize(Checked(text))) {
        Some(Ok(value)) => Ok(value),
        _ => serde_json::from_str(text),
    }
}

/// A JSON string without escapes: `text` is `contents` in quotes.
struct PlainString<'a> {
    contents: &'a str,
    text: &'a str,
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $method<V: Visitor<'a>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> serde_json::Result<V::Value> {
            serde_json::Deserializer::from_str(self.text).$method($($argument,)* visitor)
        }
    )*};
}

impl<'a> Deserializer<'a> for PlainString<'a> {
    type Error = serde_json::Error;

    #[inline]
    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_borrowed_str(self.contents)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_borrowed_str(self.contents)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_borrowed_str(self.contents)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_some(self)
    }

    forward! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        // Also the request of a `RawValue`, with a name that only serde_json knows.
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

/// A text that is known to be JSON, to be deserialised as a [`RawValue`] only.
struct Checked<'a>(&'a str);

impl<'de> Deserializer<'de> for Checked<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> serde_json::Result<V::Value> {
        Err(serde::de::Error::custom("not a request of a `RawValue`"))
    }

    /// A `RawValue` requests a newtype and accepts a map with one entry: the name of the request,
    /// and the text. If that ever changes, this fails and the caller uses serde_json instead.
    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        let entry = (name, BorrowedStrDeserializer::new(self.0));
        visitor.visit_map(MapDeserializer::new([entry].into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
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
        let text = r#""checked""#;
        assert_eq!(<&RawValue>::deserialize(Checked(text)).unwrap().get(), text);
    }
}
