//! Commands about the cluster. Not responsible for keys.

use super::client::{Client, encoded};
use super::failure::Failure;
use super::output::{Output, ago, printable};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use ureq::http::StatusCode;

pub(super) fn members(client: &Client, output: Output) -> Result<(), Failure> {
    let text = client.get_text("/v1/members")?;
    if output.json {
        return output.line(&text);
    }
    let members = client.parse::<Members>(text.as_bytes())?.members;
    let rows = members.into_iter().map(|m| {
        let contact = if m.is_self { "this node".to_owned() } else { ago(m.last_contact_ms) };
        let (addresses, http) = (m.addresses.join(" "), m.http.unwrap_or_default());
        let key = m.keys.into_iter().next().unwrap_or_default();
        vec![printable(m.name.as_bytes()), m.id, m.state, addresses, http, key, contact]
    });
    output.table(&["name", "id", "state", "quic", "http", "key", "last contact"], rows)
}

#[derive(Deserialize)]
pub(super) struct Members {
    pub(super) members: Vec<Member>,
}

#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) name: String,
    addresses: Vec<String>,
    http: Option<String>,
    /// What it presents, then what it accepts too; nothing of a node of an earlier release.
    #[serde(default)]
    pub(super) keys: Vec<String>,
    pub(super) state: String,
    #[serde(rename = "self")]
    pub(super) is_self: bool,
    last_contact_ms: Option<u64>,
}

pub(super) fn view(client: &Client, output: Output) -> Result<(), Failure> {
    let text = client.get_text("/v1/view")?;
    if output.json {
        return output.line(&text);
    }
    let view = client.parse::<View>(text.as_bytes())?.view;
    let rows = view.into_iter().map(|contact| vec![contact.address, contact.id, contact.age.to_string()]);
    output.table(&["address", "id", "age"], rows)
}

#[derive(Deserialize)]
struct View {
    view: Vec<Contact>,
}

#[derive(Deserialize)]
struct Contact {
    id: String,
    address: String,
    age: u32,
}

pub(super) fn peers(client: &Client, output: Output) -> Result<(), Failure> {
    let text = client.get_text("/v1/peers")?;
    if output.json {
        return output.line(&text);
    }
    let peers = client.parse::<Peers>(text.as_bytes())?.peers;
    let rows = peers.into_iter().map(|p| {
        let id = p.id.unwrap_or_else(|| "-".to_owned());
        vec![p.address, id, p.state, p.link, ago(p.last_contact_ms)]
    });
    output.table(&["address", "id", "state", "link", "last contact"], rows)
}

#[derive(Deserialize)]
struct Peers {
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    address: String,
    id: Option<String>,
    state: String,
    link: String,
    last_contact_ms: Option<u64>,
}

pub(super) fn add_peer(client: &Client, address: &str, output: Output) -> Result<(), Failure> {
    let body = json!({ "address": address }).to_string();
    let response = client.expect(client.post("/v1/peers", body.as_bytes())?)?;
    let added = response.status() == StatusCode::CREATED;
    if output.json {
        return output.line(&json!({ "address": address, "added": added }).to_string());
    }
    output.line(if added { "added" } else { "already there" })
}

pub(super) fn remove_peer(client: &Client, peer: &str, output: Output) -> Result<(), Failure> {
    client.expect(client.delete(&format!("/v1/peers/{}", encoded(peer.as_bytes())))?)?;
    if output.json { output.line(&json!({ "removed": true }).to_string()) } else { output.line("removed") }
}

/// Ends the node as well: it says goodbye for good.
pub(super) fn leave(client: &Client, output: Output) -> Result<(), Failure> {
    client.expect(client.post("/v1/leave", b"")?)?;
    if output.json { output.line(&json!({ "left": true }).to_string()) } else { output.line("left") }
}

/// How long an answer may take of a node that is asked whether it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked.
const READY_EVERY: Duration = Duration::from_millis(200);

/// Whether the node may serve, asked again for as long as `wait` until it does.
pub(super) fn ready(client: &Client, wait: Duration, output: Output) -> Result<(), Failure> {
    let (client, begun) = (client.hasty(READY_PATIENCE), Instant::now());
    let mut asked = client.get_text("/readyz");
    while asked.is_err() && begun.elapsed() < wait {
        std::thread::sleep(READY_EVERY);
        asked = client.get_text("/readyz");
    }
    let answer = asked?;
    output.line(if output.json { &answer } else { "ready" })
}

pub(super) fn status(client: &Client, output: Output) -> Result<(), Failure> {
    let text = client.get_text("/v1/status")?;
    if output.json {
        return output.line(&text);
    }
    let status: Status = client.parse(text.as_bytes())?;
    let facts = status.facts.iter().filter(|(name, _)| *name != "links").flat_map(|(name, value)| fact(name, value));
    output.table(&[], facts)?;
    let links = status.facts.get("links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let columns = ["id", "address", "mode", "rtt_ms", "lag"];
    let rows = links.iter().map(|link| columns.map(|column| word(&link[column])).to_vec());
    if links.is_empty() { output.line("no links") } else { output.table(&columns, rows) }
}

/// As far as it is known here: a newer node may tell more, and all of it is shown.
#[derive(Deserialize)]
struct Status {
    #[serde(flatten)]
    facts: BTreeMap<String, Value>,
}

/// A row, or one for each field of what is an object.
fn fact(name: &str, value: &Value) -> Vec<Vec<String>> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(field, value)| fact(&format!("{name}.{field}"), value)).collect()
        }
        value => vec![vec![name.to_owned(), word(value)]],
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text.as_bytes()),
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    }
}
