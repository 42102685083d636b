//! One rule for values in JSON, for every interface. Not responsible for storing: the store holds bytes and knows no JSON.
//!
//! `value` is kept as its own JSON text, without white space outside strings; `text` is a string kept as UTF-8 without
//! its quotes; `value_base64` is any bytes. What shows bytes takes the first of the three that gives back the same
//! bytes. A key that is not UTF-8 is `key_base64`.

use crate::Record;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The bytes of a value as JSON shows them.
#[derive(Debug)]
pub(crate) enum Shown<'a> {
    /// They are a JSON text without white space outside strings.
    Value(&'a RawValue),
    /// They are UTF-8.
    Text(&'a str),
    /// They are anything.
    Base64(&'a [u8]),
}

impl<'a> Shown<'a> {
    /// The first form that gives back the same bytes.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Base64(bytes) };
        match serde_json::from_str::<&RawValue>(text) {
            Ok(json) if json.get().len() == text.len() && is_compact(text) => Self::Value(json),
            _ => Self::Text(text),
        }
    }

    /// Writes its one field into an object.
    pub(crate) fn field<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Value(json) => map.serialize_entry("value", json),
            Self::Text(text) => map.serialize_entry("text", text),
            Self::Base64(bytes) => map.serialize_entry("value_base64", &STANDARD.encode(bytes)),
        }
    }
}

/// A key with its value and deadline, as lists and lines of export show them.
#[derive(Debug)]
pub(crate) struct ShownItem<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Shown<'a>,
    pub(crate) expires: Option<u64>,
}

impl Serialize for ShownItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fields(&mut map)?;
        map.end()
    }
}

impl ShownItem<'_> {
    /// Writes its fields into an object.
    pub(crate) fn fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        key_field(map, "key", self.key)?;
        self.value.field(map)?;
        match self.expires {
            Some(expires) => map.serialize_entry("expires", &expires),
            None => Ok(()),
        }
    }
}

/// Writes a key under `name`, or under `name_base64` when it is not UTF-8.
pub(crate) fn key_field<M: SerializeMap>(map: &mut M, name: &str, key: &[u8]) -> Result<(), M::Error> {
    match std::str::from_utf8(key) {
        Ok(text) => map.serialize_entry(name, text),
        Err(_) => map.serialize_entry(&format!("{name}_base64"), &STANDARD.encode(key)),
    }
}

/// Appends one line of export.
///
/// A text of control characters takes six times its bytes in JSON, and might not fit into a line of import: it is
/// written in base64 then, which gives back the same bytes as well.
pub(crate) fn write_line(out: &mut Vec<u8>, key: &[u8], value: &[u8], expires: Option<u64>, line_bytes_max: usize) {
    let start = out.len();
    append(out, &ShownItem { key, value: Shown::of(value), expires });
    if out.len() - start > line_bytes_max {
        out.truncate(start);
        append(out, &ShownItem { key, value: Shown::Base64(value), expires });
    }
    out.push(b'\n');
}

fn append(out: &mut Vec<u8>, item: &ShownItem<'_>) {
    serde_json::to_writer(out, item).expect("strings and numbers, into memory");
}

/// The longest line that an import takes: 2 MiB, or more where the values allowed need it in base64.
pub(crate) fn line_bytes_max(value_bytes_max: usize) -> usize {
    const FLOOR: usize = 2 * 1024 * 1024;
    const KEY_AND_FIELDS: usize = 512 * 1024;
    FLOOR.max(value_bytes_max / 3 * 4 + KEY_AND_FIELDS)
}

/// One line of import, field by field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    key: Option<String>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    text: Option<String>,
    value_base64: Option<String>,
    ttl: Option<f64>,
    expires: Option<u64>,
}

/// `null` is a value here, not the absence of one.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one line of import; `now_ms` turns a `ttl` into a deadline.
pub(crate) fn parse_line(line: &[u8], now_ms: u64) -> Result<Record, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| within_line(&error))?;
    let expires = deadline(line.ttl, line.expires, now_ms)?;
    let key = match (line.key, line.key_base64) {
        (Some(key), None) => Bytes::from(key),
        (None, Some(key)) => decode("key_base64", &key)?,
        (None, None) => return Err("there is no key: give \"key\" or \"key_base64\"".to_owned()),
        _ => return Err("there are two keys: give \"key\" or \"key_base64\"".to_owned()),
    };
    let value = match (line.value, line.text, line.value_base64) {
        (Some(json), None, None) => Bytes::from(compact(json.get())),
        (None, Some(text), None) => Bytes::from(text),
        (None, None, Some(value)) => decode("value_base64", &value)?,
        (None, None, None) => return Err("there is no value: give \"value\", \"text\" or \"value_base64\"".to_owned()),
        _ => return Err("there is more than one of \"value\", \"text\" and \"value_base64\"".to_owned()),
    };
    Ok(Record { key, value, expires })
}

fn decode(field: &str, text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("{field}: {error}"))
}

fn deadline(ttl: Option<f64>, expires: Option<u64>, now_ms: u64) -> Result<Option<u64>, String> {
    match (ttl, expires) {
        (None, expires) => Ok(expires),
        (Some(_), Some(_)) => Err("give \"ttl\" or \"expires\", not both".to_owned()),
        (Some(seconds), None) if seconds > 0.0 => Ok(Some(now_ms.saturating_add((seconds * 1_000.0).ceil() as u64))),
        (Some(seconds), None) => Err(format!("ttl: {seconds} is not a number of seconds above 0")),
    }
}

/// The parser saw one line only, and calls it the first: its number would contradict the one that the caller tells.
fn within_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

/// JSON text without white space outside strings; everything else stays as it was written.
pub(crate) fn compact(json: &str) -> String {
    let mut inside = InString::default();
    json.chars().filter(|&c| inside.step(c) || !is_space(c)).collect()
}

fn is_compact(json: &str) -> bool {
    let mut inside = InString::default();
    json.chars().all(|c| inside.step(c) || !is_space(c))
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether a walk through JSON text is within a string.
#[derive(Default)]
struct InString {
    inside: bool,
    escaped: bool,
}

impl InString {
    /// Takes the next character; `true` if it belongs to a string, its quotes included.
    const fn step(&mut self, c: char) -> bool {
        let belongs = self.inside || c == '"';
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' if self.inside => self.escaped = true,
            '"' => self.inside = !self.inside,
            _ => {}
        }
        belongs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: &[u8], value: &[u8]) -> String {
        let mut out = Vec::new();
        write_line(&mut out, key, value, None, usize::MAX);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn the_first_form_that_gives_back_the_same_bytes() {
        assert_eq!(line(b"k", br#"{"a":1.0}"#), "{\"key\":\"k\",\"value\":{\"a\":1.0}}\n");
        assert_eq!(line(b"k", b"\"quoted\""), "{\"key\":\"k\",\"value\":\"quoted\"}\n");
        assert_eq!(line(b"k", b"{\"a\": 1}"), "{\"key\":\"k\",\"text\":\"{\\\"a\\\": 1}\"}\n");
        assert_eq!(line(b"k", b" 1"), "{\"key\":\"k\",\"text\":\" 1\"}\n");
        assert_eq!(line(b"k", b""), "{\"key\":\"k\",\"text\":\"\"}\n");
        assert_eq!(line(b"\xff", b"\xfe"), "{\"key_base64\":\"/w==\",\"value_base64\":\"/g==\"}\n");
    }

    #[test]
    fn every_line_written_gives_back_its_bytes() {
        let values: [&[u8]; 9] = [
            b"null",
            b"1e400",
            b"-0.50",
            b"hello",
            b"\"a b\\\" c\"",
            b"\"\\ud800\"",
            b"\0\x01",
            b"[1,\"x y\"]",
            b"\xc3",
        ];
        for value in values {
            let record = parse_line(line(b"k", value).as_bytes(), 0).expect("own line");
            assert_eq!(record.value, value);
        }
    }

    #[test]
    fn white_space_goes_outside_strings_only() {
        assert_eq!(compact(r#" { "a b" : [ 1.50 , "c\" d" , null ] } "#), r#"{"a b":[1.50,"c\" d",null]}"#);
        assert_eq!(compact("\"\\\\\" \n"), "\"\\\\\"");
    }

    #[test]
    fn a_text_too_long_for_a_line_is_written_in_base64() {
        let mut out = Vec::new();
        write_line(&mut out, b"k", &[1; 60], None, 150);
        assert!(out.starts_with(b"{\"key\":\"k\",\"value_base64\":"));
        assert_eq!(parse_line(&out, 0).expect("own line").value, vec![1; 60]);
    }

    #[test]
    fn ttl_counts_from_now_and_expires_is_taken_as_it_is() {
        let expires = |text: &str| parse_line(text.as_bytes(), 1_000).map(|r| r.expires);
        assert_eq!(expires(r#"{"key":"k","value":1,"ttl":2.5}"#), Ok(Some(3_500)));
        assert_eq!(expires(r#"{"key":"k","value":1,"expires":77}"#), Ok(Some(77)));
        assert_eq!(expires(r#"{"key":"k","value":1,"ttl":null}"#), Ok(None));
        assert!(expires(r#"{"key":"k","value":1,"ttl":0}"#).is_err());
        assert!(expires(r#"{"key":"k","value":1,"ttl":1,"expires":1}"#).is_err());
    }

    #[test]
    fn a_bad_line_says_what_is_missing_or_too_much() {
        let refusal = |text: &str| parse_line(text.as_bytes(), 0).expect_err("bad");
        assert!(refusal("{").starts_with("EOF while parsing an object at column 1"));
        assert!(refusal(r#"{"value":1}"#).contains("no key"));
        assert!(refusal(r#"{"key":"k"}"#).contains("no value"));
        assert!(refusal(r#"{"key":"k","value":1,"text":"x"}"#).contains("more than one"));
        assert!(refusal(r#"{"key":"k","vaule":1}"#).contains("unknown field `vaule`"));
        assert!(refusal(r#"{"key":"k","value_base64":"?"}"#).starts_with("value_base64: "));
        assert!(refusal("[1]").contains("expected"));
    }
}
