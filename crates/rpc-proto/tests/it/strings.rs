use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use rpc_proto::internal::{check_json, parse_json};
use rpc_proto::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Every byte that JSON escapes, and characters that look as if they might be.
fn special_characters() -> Vec<char> {
    let escaped = (0..0x20).map(char::from).chain(['"', '\\']);
    let near = [' ', '!', '#', '[', ']', '/', '\u{7f}', '\u{80}', '\u{a2}', '\u{dc}'];
    let wide = ['\u{7ff}', '\u{800}', '\u{2028}', '\u{2029}', '\u{d7ff}', '\u{e000}', '\u{feff}'];
    let widest = ['\u{ffff}', '\u{10000}', '\u{1f600}', '\u{10ffff}'];
    escaped.chain(near).chain(wide).chain(widest).collect()
}

/// A payload and a name are written as serde_json writes them.
#[track_caller]
fn check_written<T: Serialize + ?Sized>(payload: &T) {
    let expected = serde_json::to_string(payload).unwrap();
    let (mut request, mut reply) = (b"kept".to_vec(), Vec::new());
    Request::encode(&mut request, "m", payload).unwrap();
    Response::encode(&mut reply, "k", payload).unwrap();
    assert_eq!(request, format!(r#"kept{{"in":"m","params":{expected}}}"#).as_bytes());
    assert_eq!(reply, format!(r#"{{"out":"k","result":{expected}}}"#).as_bytes());
}

#[track_caller]
fn check_name(name: &str) {
    let mut body = Vec::new();
    Request::encode(&mut body, name, &()).unwrap();
    let quoted = serde_json::to_string(name).unwrap();
    assert_eq!(body, format!(r#"{{"in":{quoted},"params":null}}"#).as_bytes());
}

/// A text is the same value to us and to serde_json, or the same error.
#[track_caller]
fn check_parsed<'a, T: Deserialize<'a> + Debug>(text: &'a str) {
    let seen = |result: serde_json::Result<T>| match result {
        Ok(value) => Ok(format!("{value:?}")),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(seen(parse_json(text)), seen(serde_json::from_str(text)), "{text}");
}

#[track_caller]
fn check_parsed_as_any_type(text: &str) {
    check_parsed::<String>(text);
    check_parsed::<&str>(text);
    check_parsed::<Cow<'_, str>>(text);
    check_parsed::<Box<str>>(text);
    check_parsed::<PathBuf>(text);
    check_parsed::<Option<String>>(text);
    check_parsed::<Option<Option<Short>>>(text);
    check_parsed::<Newtype>(text);
    check_parsed::<Short>(text);
    check_parsed::<Choice>(text);
    check_parsed::<Either>(text);
    check_parsed::<Value>(text);
    check_parsed::<&RawValue>(text);
    check_parsed::<Box<RawValue>>(text);
    check_parsed::<char>(text);
    check_parsed::<&[u8]>(text);
    check_parsed::<Vec<u8>>(text);
    check_parsed::<u64>(text);
    check_parsed::<i128>(text);
    check_parsed::<f64>(text);
    check_parsed::<bool>(text);
    check_parsed::<()>(text);
    check_parsed::<(String, u8)>(text);
    check_parsed::<BTreeMap<String, String>>(text);
    check_parsed::<serde::de::IgnoredAny>(text);
    let seen = |result: serde_json::Result<&RawValue>| {
        result.map(|raw| raw.get().to_owned()).map_err(|error| error.to_string())
    };
    assert_eq!(seen(check_json(text)), seen(serde_json::from_str(text)), "{text}");
}

#[derive(Debug, Serialize, Deserialize)]
struct Newtype(String);

/// A string that may not be long: its error names the place where serde_json was.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Short(String);

impl TryFrom<String> for Short {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Short, &'static str> {
        if text.len() < 4 { Ok(Short(text)) } else { Err("too long") }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Choice {
    Unit,
    One(String),
    Two(String, u8),
    Named { text: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Text(String),
    Number(u64),
}

#[test]
fn every_special_character_at_every_place_is_written_as_serde_json_writes_it() {
    for special in special_characters() {
        // Around the lengths in which text is looked at, and some whole ones behind them.
        for place in (0..70).chain(990..995).chain(1018..1030) {
            for behind in [0, 1, 40] {
                let text = format!("{:a<place$}{special}{:b<behind$}", "", "");
                check_written(&text);
            }
        }
    }
}

#[test]
fn strings_of_every_length_are_written_as_serde_json_writes_them() {
    for filling in ["a", "\"", "\n", "\u{1}", "é", "\u{2028}", "😀", "a\"", "é\\", "😀\n"] {
        for count in (0..=200).chain(1020..1028) {
            for before in ["", "a", "aa", "aaa"] {
                check_written(&format!("{before}{}", filling.repeat(count)));
                check_name(&format!("{before}{}", filling.repeat(count)));
            }
        }
    }
}

#[test]
fn payloads_of_every_type_are_written_as_serde_json_writes_them() {
    let long = "long \"text\" ".repeat(1000);
    let raw: Box<RawValue> =
        serde_json::from_str(&format!(r#"[ "{:a<5000}" , 1.10]"#, "")).unwrap();
    check_written(&long);
    check_written(&*long);
    check_written(&Cow::Borrowed(&*long));
    check_written(&Some(&long));
    check_written(&Some(Some(Newtype(long.clone()))));
    check_written(&None::<String>);
    check_written(&PathBuf::from(&long));
    check_written(&format_args!("{long} displayed"));
    check_written(&raw);
    check_written(&[&raw, &raw]);
    check_written(&Cow::Borrowed(&*raw));
    check_written(&'"');
    check_written(&(true, 1_i8, 1_i16, 1_i32, 1_i64, i128::MIN, -0.0_f32, f64::NAN, ()));
    check_written(&(1_u8, 1_u16, 1_u32, 1_u64, u128::MAX, f64::MAX));
    check_written(&true);
    check_written(&i8::MIN);
    check_written(&i16::MIN);
    check_written(&i32::MIN);
    check_written(&i64::MIN);
    check_written(&i128::MIN);
    check_written(&u8::MAX);
    check_written(&u16::MAX);
    check_written(&u32::MAX);
    check_written(&u64::MAX);
    check_written(&u128::MAX);
    check_written(&1.5_f32);
    check_written(&f64::NAN);
    check_written(&());
    check_written(&vec![long.clone(); 2]);
    check_written(&BTreeMap::from([(long.clone(), long.clone()), ("k".into(), "v".into())]));
    check_written(&BTreeMap::from([(1, 'x')]));
    for choice in [
        Choice::Unit,
        Choice::One(long.clone()),
        Choice::Two(long.clone(), 2),
        Choice::Named { text: long.clone() },
    ] {
        check_written(&choice);
    }
    check_written(&[Either::Text(long.clone()), Either::Number(7)]);
    check_written(&serde_json::json!({"a": [long, null, 1.5], "b": {}, "c": []}));
}

#[test]
fn what_serde_json_refuses_is_refused_with_the_same_words() {
    let unwritable = BTreeMap::from([((1, 2), 3)]);
    let ours = Request::encode(&mut Vec::new(), "m", &unwritable).unwrap_err();
    let theirs = serde_json::to_string(&unwritable).unwrap_err();
    assert_eq!(ours.to_string(), theirs.to_string());
}

#[test]
fn strings_are_read_as_serde_json_reads_them() {
    for text in [
        "",
        "\"",
        "\"\"",
        "\"\"\"",
        "\"a\"",
        "\"Unit\"",
        "\"One\"",
        "\"abcd\"",
        "\"abc\"",
        "\"é\"",
        "\"a\" ",
        " \"a\"",
        "\"a\"x",
        "\"a\",\"b\"",
        "\"a\\\"",
        "\"\\\\\"",
        "\"\\u0041\"",
        "\"1\"",
        "\"a\u{7f}\u{2028}\"",
        "a\"",
        "'a'",
        "null",
        "1",
        "[\"a\"]",
        "{\"One\":\"a\"}",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\u{0}\"",
        "\"\n\"",
        "\"\u{1f}\"",
        "\"\t",
        "\"\" \"\"",
    ] {
        check_parsed_as_any_type(text);
    }
}

#[test]
fn every_special_character_in_a_string_is_read_as_serde_json_reads_it() {
    for special in special_characters() {
        for place in (0..40).chain(1010..1030) {
            for behind in ["", "b", "\"", "\\"] {
                let text = format!("\"{:a<place$}{special}{behind}\"", "");
                check_parsed::<String>(&text);
                check_parsed::<&RawValue>(&text);
                assert_eq!(check_json(&text).is_ok(), parse_json::<String>(&text).is_ok());
            }
        }
    }
}

/// Strings in which special characters stand more or less densely.
fn any_text() -> impl Strategy<Value = String> {
    let plain = "[a-z]{0,80}";
    let special = prop::sample::select(special_characters()).prop_map(String::from);
    vec(prop_oneof![3 => plain.boxed(), 2 => special.boxed(), 1 => any::<String>().boxed()], 0..60)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_string_is_written_as_serde_json_writes_it(text in any_text()) {
        check_written(&text);
        check_written(&[&text]);
        check_name(&text);
    }

    #[test]
    fn any_string_comes_back_through_both_ways(text in any_text()) {
        let written = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(parse_json::<String>(&written).unwrap(), &*text);
        prop_assert_eq!(check_json(&written).unwrap().get(), &*written);
    }

    #[test]
    fn any_text_is_read_as_serde_json_reads_it(text in any_text(), quoted in any::<bool>()) {
        let text = if quoted { format!("\"{text}\"") } else { text };
        check_parsed_as_any_type(&text);
    }
}
