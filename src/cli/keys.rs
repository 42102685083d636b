//! Commands about keys, and messages. Not responsible for many at a time: `transfer` moves those.

use super::args::{BroadcastArgs, GetArgs, KeyArgs, ListArgs, PutArgs};
use super::client::{Client, encoded};
use super::failure::Failure;
use super::output::{Output, printable, remaining};
use crate::http::values::{Shown, key_field, parse_line};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;
use serde_json::value::RawValue;
use std::ffi::OsStr;
use std::io::Read;
use ureq::http::{HeaderMap, Response, StatusCode};

/// Items of one answer to `list`.
const PAGE_ITEMS: usize = 1_000;

pub(super) fn put(client: &Client, args: &PutArgs, output: Output) -> Result<(), Failure> {
    let query = args.ttl.as_ref().map_or_else(String::new, |ttl| format!("?ttl={ttl}"));
    let response = client.put(&format!("{}{query}", path(&args.key)), &value(&args.value)?)?;
    let response = client.expect(response)?;
    let created = response.status() == StatusCode::CREATED;
    if output.json {
        return output
            .line(&json!({ "created": created, "dot": header(response.headers(), "tidings-dot") }).to_string());
    }
    output.confirm(if created { "created" } else { "replaced" })
}

pub(super) fn broadcast(client: &Client, args: &BroadcastArgs, output: Output) -> Result<(), Failure> {
    let response = client.expect(client.post("/v1/broadcast", &value(&args.text)?)?)?;
    let sent: Sent = client.json(response)?;
    if output.json { output.line(&json!({ "dot": sent.dot }).to_string()) } else { output.confirm("sent") }
}

#[derive(Deserialize)]
struct Sent {
    dot: String,
}

/// `-` is stdin.
fn value(argument: &OsStr) -> Result<Vec<u8>, Failure> {
    if argument != "-" {
        return Ok(argument.as_encoded_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn get(client: &Client, args: &GetArgs, output: Output) -> Result<(), Failure> {
    if args.siblings {
        return siblings(client, &args.key, output);
    }
    let response = present(client, client.get(&path(&args.key))?)?;
    let headers = response.headers().clone();
    let value = client.bytes(response)?;
    if output.json {
        let reading = ShownReading { key: args.key.as_encoded_bytes(), value: &value, headers: &headers };
        return output.line(&serde_json::to_string(&reading).expect("strings and numbers"));
    }
    output.raw(&value)
}

/// What `get --json` shows: the value and what the headers say about it.
struct ShownReading<'a> {
    key: &'a [u8],
    value: &'a [u8],
    headers: &'a HeaderMap,
}

impl Serialize for ShownReading<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = |name| header(self.headers, name).and_then(|text| text.parse::<u64>().ok());
        let mut map = serializer.serialize_map(None)?;
        key_field(&mut map, "key", self.key)?;
        Shown::of(self.value).field(&mut map)?;
        map.serialize_entry("dot", &header(self.headers, "tidings-dot"))?;
        map.serialize_entry("timestamp", &header(self.headers, "tidings-timestamp"))?;
        if let Some(expires) = number("tidings-expires") {
            map.serialize_entry("expires", &expires)?;
        }
        map.serialize_entry("siblings", &number("tidings-siblings").unwrap_or(0))?;
        map.end()
    }
}

fn siblings(client: &Client, key: &OsStr, output: Output) -> Result<(), Failure> {
    let response = present(client, client.get(&format!("{}?siblings=true", path(key)))?)?;
    let body = client.bytes(response)?;
    if output.json {
        return output.line(&String::from_utf8_lossy(&body));
    }
    let values: Vec<Sibling> = client.parse(&body)?;
    let rows = values.into_iter().map(|s| vec![s.shown(), s.dot, remaining(s.expires)]);
    output.table(&["value", "dot", "expires"], rows)
}

#[derive(Deserialize)]
struct Sibling {
    value: Option<Box<RawValue>>,
    text: Option<String>,
    value_base64: Option<String>,
    dot: String,
    expires: Option<u64>,
}

impl Sibling {
    fn shown(&self) -> String {
        let base64 = || STANDARD.decode(self.value_base64.as_deref().unwrap_or_default()).unwrap_or_default();
        match (&self.value, &self.text) {
            (Some(json), _) => printable(json.get().as_bytes()),
            (None, Some(text)) => printable(text.as_bytes()),
            (None, None) if self.value_base64.is_none() => "null".to_owned(),
            (None, None) => printable(&base64()),
        }
    }
}

pub(super) fn delete(client: &Client, args: &KeyArgs, output: Output) -> Result<(), Failure> {
    present(client, client.delete(&path(&args.key))?)?;
    if output.json { output.line(&json!({ "deleted": true }).to_string()) } else { output.confirm("deleted") }
}

pub(super) fn list(client: &Client, args: &ListArgs, output: Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    each_item(client, args.prefix.as_encoded_bytes(), |item| {
        if output.json {
            return output.line(item);
        }
        let record = parse_line(item.as_bytes(), 0).map_err(|error| client.broken(&error))?;
        rows.push(vec![printable(&record.key), printable(&record.value), remaining(record.expires)]);
        Ok(())
    })?;
    if output.json { Ok(()) } else { output.table(&["key", "value", "expires"], rows) }
}

/// Some keys that begin so, of those that are text.
pub(super) fn beginning_with(client: &Client, prefix: &str, count: usize) -> Result<Vec<String>, Failure> {
    let path = format!("/v1/kv?prefix={}&limit={count}", encoded(prefix.as_bytes()));
    let page: Page = client.parse(client.get_text(&path)?.as_bytes())?;
    let records = page.items.iter().filter_map(|item| parse_line(item.get().as_bytes(), 0).ok());
    Ok(records.filter_map(|record| String::from_utf8(record.key.into()).ok()).collect())
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    next_base64: Option<String>,
}

impl Page {
    fn next(self) -> Option<Vec<u8>> {
        let base64 = self.next_base64.and_then(|text| STANDARD.decode(text).ok());
        self.next.map(String::into_bytes).or(base64)
    }
}

/// Walks all items below a prefix, page by page.
fn each_item(
    client: &Client,
    prefix: &[u8],
    mut visit: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut start = prefix.to_vec();
    loop {
        let (prefix, from) = (encoded(prefix), encoded(&start));
        let path = format!("/v1/kv?prefix={prefix}&start={from}&limit={PAGE_ITEMS}");
        let page: Page = client.parse(client.get_text(&path)?.as_bytes())?;
        page.items.iter().try_for_each(|item| visit(item.get()))?;
        match page.next() {
            Some(next) => start = next,
            None => return Ok(()),
        }
    }
}

fn present(client: &Client, response: Response<ureq::Body>) -> Result<Response<ureq::Body>, Failure> {
    if response.status() == StatusCode::NOT_FOUND { Err(Failure::absent()) } else { client.expect(response) }
}

fn path(key: &OsStr) -> String {
    format!("/v1/kv/{}", encoded(key.as_encoded_bytes()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
