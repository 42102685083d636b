//! How two nodes differ: what a node says of itself to be compared, and its comparison with what another has said.
//! Not responsible for carrying the one to the other: `tidings doctor` does.

use super::App;
use super::error::ApiError;
use super::request::{Query, body};
use super::values::key_field;
use crate::proto::node::{Difference, Side};
use crate::{CausalContext, ReplicaId};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Room for some 100,000 replicas.
const SIDE_BYTES_MAX: usize = 8 << 20;

/// A [`Side`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownSide {
    id: String,
    name: String,
    context: BTreeMap<String, u64>,
    truncated: BTreeMap<String, u64>,
    audit: ShownAudit,
    pending: u64,
    symbols_base64: String,
}

/// As in the status: in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShownAudit {
    context: String,
    state: String,
}

/// `GET /v1/diff`: what is to be carried to the other node.
pub(super) async fn side(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    Ok(Json(ShownSide::of(&app.store.side())).into_response())
}

/// `POST /v1/diff`, with what another node has said of itself: what it lacks of this one.
pub(super) async fn difference(State(app): State<App>, uri: Uri, sent: Body) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let too_large =
        || ApiError::too_large("body_too_large", format!("what a node says fits into {SIDE_BYTES_MAX} bytes"));
    let sent = body(sent, SIDE_BYTES_MAX).await?.ok_or_else(too_large)?;
    let expected = "send what another node answers to GET /v1/diff";
    let side: ShownSide =
        serde_json::from_slice(&sent).map_err(|error| ApiError::bad_request(format!("{expected}: {error}")))?;
    let side = side.side().map_err(|problem| ApiError::bad_request(format!("{expected}: {problem}")))?;
    let difference = app.store.difference(&side);
    let difference = difference.map_err(|problem| ApiError::bad_request(format!("{expected}: {problem}")))?;
    Ok(Json(ShownDifference::of(&difference)).into_response())
}

impl ShownSide {
    fn of(side: &Side) -> Self {
        Self {
            id: side.id.to_string(),
            name: side.name.clone(),
            context: counters(&side.context),
            truncated: counters(&side.truncated),
            audit: ShownAudit { context: format!("{:016x}", side.audit.0), state: format!("{:016x}", side.audit.1) },
            pending: side.pending,
            symbols_base64: STANDARD.encode(&side.symbols),
        }
    }

    fn side(self) -> Result<Side, String> {
        Ok(Side {
            id: self.id.parse().map_err(|error| format!("id: {error}"))?,
            name: self.name,
            context: context(&self.context)?,
            truncated: context(&self.truncated)?,
            audit: (sum(&self.audit.context)?, sum(&self.audit.state)?),
            pending: self.pending,
            symbols: STANDARD.decode(&self.symbols_base64).map_err(|error| format!("symbols_base64: {error}"))?.into(),
        })
    }
}

fn sum(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|error| format!("audit: {text:?}: {error}"))
}

fn counters(context: &CausalContext) -> BTreeMap<String, u64> {
    context.iter().map(|dot| (dot.replica.to_string(), dot.counter)).collect()
}

fn context(counters: &BTreeMap<String, u64>) -> Result<CausalContext, String> {
    let clock = |(id, &counter): (&String, &u64)| {
        let id: ReplicaId = id.parse().map_err(|error| format!("{error}"))?;
        if counter >> 56 == 0 { Ok((id, counter)) } else { Err(format!("a counter of {counter}")) }
    };
    counters.iter().map(clock).collect()
}

/// A [`Difference`] as JSON.
#[derive(Serialize)]
struct ShownDifference {
    replicas: Vec<ShownReplica>,
    dots: u64,
    entries: u64,
    keys: Vec<ShownKey>,
    gone: Option<u64>,
    stale: Vec<ShownKey>,
    catch_up: bool,
    bytes: u64,
}

#[derive(Serialize)]
struct ShownReplica {
    id: String,
    theirs: u64,
    ours: u64,
}

struct ShownKey(crate::Section, Vec<u8>);

impl Serialize for ShownKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        key_field(&mut map, "key", &self.1)?;
        let section = if self.0 == crate::Section::Sys { "sys" } else { "usr" };
        map.serialize_entry("section", section)?;
        map.end()
    }
}

fn shown(keys: &[(crate::Section, Vec<u8>)]) -> Vec<ShownKey> {
    keys.iter().map(|(section, key)| ShownKey(*section, key.clone())).collect()
}

impl ShownDifference {
    fn of(difference: &Difference) -> Self {
        let replica = |&(id, theirs, ours): &(ReplicaId, u64, u64)| ShownReplica { id: id.to_string(), theirs, ours };
        Self {
            replicas: difference.replicas.iter().map(replica).collect(),
            dots: difference.dots,
            entries: difference.entries,
            keys: shown(&difference.keys),
            gone: difference.gone,
            stale: shown(&difference.stale),
            catch_up: difference.catch_up,
            bytes: difference.bytes,
        }
    }
}
