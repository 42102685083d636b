//! Routes about the cluster and this node's place in it. Not responsible for health: probes ask elsewhere.

use super::App;
use super::error::ApiError;
use super::request::{Query, body, key};
use crate::{LinkMode, Member, MemberState, Peer, PeerState, ViewedPeer};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// More than any address needs.
const ADDRESS_BODY_BYTES_MAX: usize = 16 * 1024;

/// `GET /v1/members`
pub(super) async fn members(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let members = app.store.members();
    let shown: Vec<_> = members.iter().map(ShownMember::of).collect();
    Ok(Json(json!({ "members": shown })).into_response())
}

#[derive(Serialize)]
struct ShownMember<'a> {
    id: String,
    name: &'a str,
    addresses: &'a [String],
    http: Option<&'a str>,
    protocol: u16,
    incarnation: u64,
    keys: Vec<String>,
    state: &'static str,
    #[serde(rename = "self")]
    is_self: bool,
    last_contact_ms: Option<u64>,
}

impl<'a> ShownMember<'a> {
    fn of(member: &'a Member) -> Self {
        Self {
            id: member.id.to_string(),
            name: &member.name,
            addresses: &member.addresses,
            http: member.http.as_deref(),
            protocol: member.protocol,
            incarnation: member.incarnation,
            keys: member.keys.iter().map(ToString::to_string).collect(),
            state: member_state(member.state),
            is_self: member.is_self,
            last_contact_ms: member.last_contact_ms,
        }
    }
}

const fn member_state(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Down => "down",
        MemberState::Left => "left",
    }
}

/// `GET /v1/view`
pub(super) async fn view(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let view: Vec<_> = app.store.view().iter().map(ShownContact::of).collect();
    Ok(Json(json!({ "view": view })).into_response())
}

#[derive(Serialize)]
struct ShownContact {
    id: String,
    address: String,
    age: u32,
}

impl ShownContact {
    fn of(peer: &ViewedPeer) -> Self {
        Self { id: peer.id.to_string(), address: peer.address.clone(), age: peer.age }
    }
}

/// `GET /v1/peers`
pub(super) async fn peers(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let peers: Vec<_> = app.store.peers().iter().map(ShownPeer::of).collect();
    Ok(Json(json!({ "peers": peers })).into_response())
}

#[derive(Serialize)]
struct ShownPeer {
    address: String,
    id: Option<String>,
    state: &'static str,
    link: &'static str,
    last_contact_ms: Option<u64>,
}

impl ShownPeer {
    fn of(peer: &Peer) -> Self {
        Self {
            address: peer.address.clone(),
            id: peer.id.map(|id| id.to_string()),
            state: match peer.state {
                PeerState::Connected => "connected",
                PeerState::Connecting => "connecting",
            },
            link: match peer.link {
                LinkMode::Eager => "eager",
                LinkMode::Lazy => "lazy",
                LinkMode::None => "none",
            },
            last_contact_ms: peer.last_contact_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPeer {
    address: String,
}

/// `POST /v1/peers {"address":A}`
pub(super) async fn add_peer(State(app): State<App>, uri: Uri, sent: Body) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    let too_large =
        || ApiError::too_large("body_too_large", format!("an address fits into {ADDRESS_BODY_BYTES_MAX} bytes"));
    let sent = body(sent, ADDRESS_BODY_BYTES_MAX).await?.ok_or_else(too_large)?;
    let peer: NewPeer = serde_json::from_slice(&sent)
        .map_err(|error| ApiError::bad_request(format!("send {{\"address\":\"HOST:PORT\"}}: {error}")))?;
    let added = app.store.add_peer(&peer.address).await?;
    let status = if added { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({ "address": peer.address, "added": added }))).into_response())
}

/// `DELETE /v1/peers/{id or address}`
pub(super) async fn remove_peer(State(app): State<App>, uri: Uri) -> Result<StatusCode, ApiError> {
    Query::parse(&uri, &[])?;
    let name = key(&uri, "/v1/peers/");
    let name = std::str::from_utf8(&name).map_err(|_| ApiError::bad_request("give an id or an address"))?;
    match app.store.remove_peer(name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!("there is no peer {name:?}; \"tidings peers\" shows them"))),
    }
}

/// `GET /v1/status`
pub(super) async fn status(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    Ok(Json(app.store.status()).into_response())
}

/// `POST /v1/leave`: the node says so to the others, answers, and ends.
pub(super) async fn leave(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    Query::parse(&uri, &[])?;
    app.store.leave().await?;
    app.ending.cancel();
    Ok(Json(json!({ "left": true })).into_response())
}
