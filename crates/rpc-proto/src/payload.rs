//! Writing the payload of a message: by serde_json, except for a payload that is a string.

use serde::{Serialize, Serializer};
use serde_json::ser::CompactFormatter;

use crate::text::{Blocks, append_string};

type Json<'a> = serde_json::Serializer<Blocks<'a>, CompactFormatter>;

/// Appends `payload` as JSON, the same bytes as serde_json.
///
/// # Errors
///
/// Those of serde_json.
#[inline]
pub(crate) fn append<P: Serialize + ?Sized>(
    body: &mut Vec<u8>,
    payload: &P,
) -> serde_json::Result<()> {
    payload.serialize(PayloadSerializer { body, json: &mut None })
}

/// Writes strings itself and forwards everything else to serde_json, including the strings inside
/// arrays and objects.
struct PayloadSerializer<'slot, 'body> {
    body: &'body mut Vec<u8>,
    /// Holds serde_json's serializer, from which its serializers of arrays and objects borrow.
    json: &'slot mut Option<Json<'body>>,
}

impl<'slot, 'body> PayloadSerializer<'slot, 'body> {
    #[inline]
    fn json(self) -> &'slot mut Json<'body> {
        self.json.insert(serde_json::Serializer::new(Blocks(self.body)))
    }
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*) -> $output:ident;)*) => {$(
        #[inline]
        fn $method(self, $($argument: $type),*) -> serde_json::Result<Self::$output> {
            self.json().$method($($argument),*)
        }
    )*};
}

impl<'slot, 'body> Serializer for PayloadSerializer<'slot, 'body> {
    type Ok = ();
    type Error = serde_json::Error;
    type SerializeSeq = <&'slot mut Json<'body> as Serializer>::SerializeSeq;
    type SerializeTuple = <&'slot mut Json<'body> as Serializer>::SerializeTuple;
    type SerializeTupleStruct = <&'slot mut Json<'body> as Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = <&'slot mut Json<'body> as Serializer>::SerializeTupleVariant;
    type SerializeMap = <&'slot mut Json<'body> as Serializer>::SerializeMap;
    type SerializeStruct = <&'slot mut Json<'body> as Serializer>::SerializeStruct;
    type SerializeStructVariant = <&'slot mut Json<'body> as Serializer>::SerializeStructVariant;

    #[inline]
    fn serialize_str(self, text: &str) -> serde_json::Result<()> {
        append_string(self.body, text)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> serde_json::Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> serde_json::Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> serde_json::Result<()> {
        self.json().serialize_newtype_variant(name, index, variant, value)
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> serde_json::Result<()> {
        self.json().collect_str(value)
    }

    forward! {
        serialize_bool(value: bool) -> Ok;
        serialize_i8(value: i8) -> Ok;
        serialize_i16(value: i16) -> Ok;
        serialize_i32(value: i32) -> Ok;
        serialize_i64(value: i64) -> Ok;
        serialize_i128(value: i128) -> Ok;
        serialize_u8(value: u8) -> Ok;
        serialize_u16(value: u16) -> Ok;
        serialize_u32(value: u32) -> Ok;
        serialize_u64(value: u64) -> Ok;
        serialize_u128(value: u128) -> Ok;
        serialize_f32(value: f32) -> Ok;
        serialize_f64(value: f64) -> Ok;
        serialize_char(value: char) -> Ok;
        serialize_bytes(value: &[u8]) -> Ok;
        serialize_none() -> Ok;
        serialize_unit() -> Ok;
        serialize_unit_struct(name: &'static str) -> Ok;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> Ok;
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant;
    }
}
