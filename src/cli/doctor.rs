//! Why two nodes differ, and what a sync would cost. Not responsible for comparing: each node does, with what the other
//! says of itself.

use super::args::{ClientArgs, DoctorArgs};
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, printable};
use super::tls;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// So many keys are named; `--json` has all that the nodes tell.
const KEYS_SHOWN_MAX: usize = 10;

/// A node, and what it says of itself.
struct Patient {
    client: Client,
    text: String,
    side: Side,
    /// When its certificate ends.
    certificate_expires: Option<u64>,
}

#[derive(Deserialize)]
struct Status {
    certificate_expires: Option<u64>,
}

#[derive(Deserialize)]
struct Side {
    id: String,
    name: String,
    pending: u64,
}

#[derive(Deserialize, Serialize)]
struct Difference {
    replicas: Vec<Replica>,
    dots: u64,
    entries: u64,
    keys: Vec<Key>,
    gone: Option<u64>,
    stale: Vec<Key>,
    catch_up: bool,
    bytes: u64,
}

#[derive(Deserialize, Serialize)]
struct Replica {
    id: String,
    theirs: u64,
    ours: u64,
}

#[derive(Deserialize, Serialize)]
struct Key {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    section: String,
}

impl Key {
    fn shown(&self) -> String {
        let bytes = match (&self.key, &self.key_base64) {
            (Some(key), _) => key.clone().into_bytes(),
            (None, coded) => STANDARD.decode(coded.as_deref().unwrap_or_default()).unwrap_or_default(),
        };
        let prefix = if self.section == "sys" { "sys: " } else { "" };
        format!("{prefix}{}", printable(&bytes))
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.dots == 0 && self.entries == 0 && self.gone == Some(0)
    }
}

pub(super) fn doctor(args: &DoctorArgs, output: Output) -> Result<(), Failure> {
    let [one, other] = args.http.as_slice() else {
        return Err(Failure::usage("doctor compares two nodes: give --http twice, once for each".to_owned()));
    };
    let (one, other) = (patient(one, args)?, patient(other, args)?);
    if one.side.id == other.side.id {
        return Err(Failure::usage(format!("both addresses lead to the same node, {}", one.side.id)));
    }
    // What each has that the other lacks.
    let (of_one, of_other) = (compare(&one, &other)?, compare(&other, &one)?);
    if output.json {
        let text = json!({
            "nodes": [one.id_and_name(), other.id_and_name()],
            "lacks": [of_other, of_one],
        });
        return output.line(&text.to_string());
    }
    [&one, &other].into_iter().filter_map(Patient::warning).try_for_each(|line| output.line(&line))?;
    if of_one.is_empty() && of_other.is_empty() {
        return output.line(&format!("{} and {} hold the same", one.name(), other.name()));
    }
    tell(&other, &one, &of_one, &of_other.stale, output)?;
    tell(&one, &other, &of_other, &of_one.stale, output)
}

fn patient(address: &str, args: &DoctorArgs) -> Result<Patient, Failure> {
    let args = ClientArgs { http: Some(address.to_owned()), http_token_file: args.http_token_file.clone() };
    let client = Client::open(&args)?;
    let text = client.get_text("/v1/diff")?;
    let side = client.parse(text.as_bytes())?;
    let Status { certificate_expires } = client.parse(client.get_text("/v1/status")?.as_bytes())?;
    Ok(Patient { client, text, side, certificate_expires })
}

/// What `at` has that `other` lacks.
fn compare(at: &Patient, other: &Patient) -> Result<Difference, Failure> {
    let response = at.client.expect(at.client.post("/v1/diff", other.text.as_bytes())?)?;
    at.client.json(response)
}

impl Patient {
    fn name(&self) -> String {
        printable(self.side.name.as_bytes())
    }

    fn warning(&self) -> Option<String> {
        let warning = self.certificate_expires.and_then(tls::warning)?;
        Some(format!("{}: {warning}", self.name()))
    }

    fn id_and_name(&self) -> Value {
        let expires = self.certificate_expires;
        json!({ "id": self.side.id, "name": self.side.name, "pending": self.side.pending, "certificate_expires": expires })
    }
}

/// What one node lacks of the other, and which keys it still shows that the other has deleted.
fn tell(who: &Patient, of: &Patient, difference: &Difference, stale: &[Key], output: Output) -> Result<(), Failure> {
    let (who, of, pending) = (who.name(), of.name(), who.side.pending);
    if difference.is_empty() {
        return output.line(&format!("{who} lacks nothing that {of} has"));
    }
    output.line(&format!("{who} lacks {} of {of}:", counted(difference.dots, "write")))?;
    let rows = difference.replicas.iter().map(|replica| {
        let Replica { id, theirs, ours } = replica;
        vec![id.clone(), theirs.to_string(), ours.to_string(), ours.saturating_sub(*theirs).to_string()]
    });
    if !difference.replicas.is_empty() {
        output.table(&["written by", &format!("{who} has"), &format!("{of} has"), "lacking"], rows)?;
    }
    if !difference.keys.is_empty() {
        output.line(&format!("keys: {}", listed(&difference.keys, difference.entries)))?;
    }
    match difference.gone {
        Some(0) => {}
        Some(_) if stale.is_empty() => {}
        Some(gone) => output.line(&format!("{who} still has what {of} has deleted: {}", listed(stale, gone)))?,
        None => {
            output.line(&format!("{who} still has more of what {of} has deleted than can be told without a sync"))?
        }
    }
    if pending > 0 {
        output.line(&format!("{} of {who} wait for a sync that was cut off to go on", counted(pending, "key")))?;
    }
    let way = if difference.catch_up { "a sync, with a comparison of what both hold," } else { "a sync" };
    output.line(&format!("{way} would take about {} bytes", difference.bytes))
}

fn listed(keys: &[Key], all: u64) -> String {
    let named: Vec<String> = keys.iter().take(KEYS_SHOWN_MAX).map(Key::shown).collect();
    match all.max(keys.len() as u64) - named.len() as u64 {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn counted(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}
