//! Routes that only a demo has: all its nodes at a glance, and the switches that cut them off. Not responsible for what a cut
//! does: the nodes find that out by themselves.
//!
//! They are not in `openapi.json`: no node has them, and no program should be written against them.

use super::App;
use super::error::ApiError;
use super::request::Query;
use crate::{CutSwitch, Status, Store};
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The nodes of a demo, as they start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demo(Arc<Mutex<Vec<Node>>>);

#[derive(Clone, Debug)]
struct Node {
    http: SocketAddr,
    store: Store,
}

#[derive(Serialize)]
struct Shown {
    http: String,
    cut: bool,
    status: Status,
}

impl Demo {
    /// One more has started.
    pub(crate) fn add(&self, http: SocketAddr, store: Store) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Node { http, store });
    }

    fn nodes(&self) -> Vec<Node> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn shown(&self) -> Response {
        let shown = |node: &Node| Shown {
            http: format!("http://{}", node.http),
            cut: node.store.cut_switch().is_cut(),
            status: node.store.status(),
        };
        let nodes: Vec<_> = self.nodes().iter().map(shown).collect();
        Json(json!({ "nodes": nodes })).into_response()
    }

    fn turn(&self, uri: &Uri, switch: fn(&CutSwitch)) -> Result<Response, ApiError> {
        let number = Query::parse(uri, &["node"])?.parsed("node", number)?;
        let nodes = self.nodes();
        let node = number.and_then(|number| nodes.get(number - 1));
        let missing = || ApiError::bad_request(format!("give node=1 to node={}", nodes.len()));
        switch(&node.ok_or_else(missing)?.store.cut_switch());
        Ok(self.shown())
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| format!("{text:?} is no number from 1"))
}

pub(super) fn routes(demo: &Demo) -> Router<App> {
    Router::new()
        .route("/v1/demo", get(show))
        .route("/v1/demo/cut", post(cut))
        .route("/v1/demo/heal", post(heal))
        .layer(axum::Extension(demo.clone()))
}

type Nodes = axum::Extension<Demo>;

async fn show(demo: Nodes, State(_): State<App>) -> Response {
    demo.shown()
}

async fn cut(demo: Nodes, uri: Uri) -> Result<Response, ApiError> {
    demo.turn(&uri, CutSwitch::cut)
}

async fn heal(demo: Nodes, uri: Uri) -> Result<Response, ApiError> {
    demo.turn(&uri, CutSwitch::heal)
}
