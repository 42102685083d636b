//! Which routes there are: one table, of which the router is built and to which `openapi.json` is held equal. Not
//! responsible for what they answer.

use super::{App, checkpoint, cluster, diff, events, health, metrics, reading, transfer, watch, writing};
use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

/// A path and what can be done there.
pub(super) struct Route {
    /// As `openapi.json` writes it.
    path: &'static str,
    methods: Vec<(Verb, MethodRouter<App>)>,
    /// It takes as long as there is data.
    pub(super) streams: bool,
}

impl Route {
    /// As the router writes it: the last part takes slashes too, and may be empty, to be refused as such.
    fn patterns(&self) -> Vec<String> {
        match self.path.split_once('{') {
            Some((before, part)) => vec![before.to_owned(), format!("{before}{{*{part}")],
            None => vec![self.path.to_owned()],
        }
    }
}

/// A method. `HEAD` comes with `GET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
    Post,
    Delete,
}

impl Verb {
    /// With the one who answers.
    fn by<H: Handler<T, App>, T: 'static>(self, handler: H) -> (Self, MethodRouter<App>) {
        let filter = match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        };
        (self, on(filter, handler))
    }
}

/// Of `/v1` and of probes; each is in `openapi.json`.
pub(super) fn all() -> Vec<Route> {
    use Verb::{Delete, Get, Post, Put};
    vec![
        at_once("/v1/kv", [Get.by(reading::list_usr)]),
        at_once("/v1/kv/{key}", [Get.by(reading::get_usr), Put.by(writing::put), Delete.by(writing::delete)]),
        at_once("/v1/sys", [Get.by(reading::list_sys)]),
        at_once("/v1/sys/{key}", [Get.by(reading::get_sys)]),
        at_once("/v1/members", [Get.by(cluster::members)]),
        at_once("/v1/view", [Get.by(cluster::view)]),
        at_once("/v1/peers", [Get.by(cluster::peers), Post.by(cluster::add_peer)]),
        at_once("/v1/peers/{peer}", [Delete.by(cluster::remove_peer)]),
        at_once("/v1/status", [Get.by(cluster::status)]),
        at_once("/v1/diff", [Get.by(diff::side), Post.by(diff::difference)]),
        at_once("/v1/leave", [Post.by(cluster::leave)]),
        stream("/v1/import", [Post.by(transfer::import)]),
        stream("/v1/watch", [Get.by(watch::watch)]),
        at_once("/v1/broadcast", [Post.by(events::broadcast)]),
        stream("/v1/events", [Get.by(events::events)]),
        stream("/v1/export", [Get.by(transfer::export)]),
        stream("/v1/checkpoint", [Get.by(checkpoint::checkpoint)]),
        at_once("/metrics", [Get.by(metrics::metrics)]),
        at_once("/livez", [Get.by(health::livez)]),
        at_once("/healthz", [Get.by(health::livez)]),
        at_once("/readyz", [Get.by(health::readyz)]),
        at_once("/version", [Get.by(health::version)]),
        at_once("/openapi.json", [Get.by(health::openapi)]),
    ]
}

fn at_once<const N: usize>(path: &'static str, methods: [(Verb, MethodRouter<App>); N]) -> Route {
    Route { path, methods: methods.into(), streams: false }
}

fn stream<const N: usize>(path: &'static str, methods: [(Verb, MethodRouter<App>); N]) -> Route {
    Route { streams: true, ..at_once(path, methods) }
}

/// The router of some of them.
pub(super) fn router(routes: impl IntoIterator<Item = Route>) -> Router<App> {
    routes.into_iter().fold(Router::new(), |router, route| {
        let patterns = route.patterns();
        let methods = route.methods.into_iter().fold(MethodRouter::new(), |all, (_, one)| all.merge(one));
        patterns.iter().fold(router, |router, pattern| router.route(pattern, methods.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{auth, health};
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn documented() -> Value {
        serde_json::from_str(health::OPENAPI).expect("openapi.json is JSON")
    }

    fn operations(openapi: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = openapi["paths"].as_object().expect("paths").iter();
        let is_method = |name: &str| ["get", "put", "post", "delete", "head", "patch", "options"].contains(&name);
        paths.flat_map(move |(path, item)| {
            let operations = item.as_object().expect("an object").iter();
            operations.filter(move |(name, _)| is_method(name)).map(move |(name, it)| (path, name, it))
        })
    }

    #[test]
    fn every_route_is_documented_and_every_documented_one_is_there() {
        let openapi = documented();
        let documented: BTreeSet<_> =
            operations(&openapi).map(|(path, method, _)| format!("{method} {path}")).collect();
        let name = |path, verb: Verb| format!("{} {path}", format!("{verb:?}").to_lowercase());
        let there: BTreeSet<_> =
            all().iter().flat_map(|route| route.methods.iter().map(|(verb, _)| name(route.path, *verb))).collect();
        assert_eq!(documented, there);
    }

    #[test]
    fn what_is_open_without_a_token_is_documented_as_such() {
        let openapi = documented();
        for (path, method, operation) in operations(&openapi) {
            let open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(open, auth::OPEN.contains(&path.as_str()), "{method} {path}");
            let refused = ["401", "403"].iter().all(|status| !operation["responses"][status].is_null());
            assert_eq!(refused, !open, "{method} {path} can be refused, unless it is open");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let openapi = documented();
        let text = openapi.to_string();
        let references: BTreeSet<_> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 10);
        references.iter().for_each(|at| assert!(openapi.pointer(at).is_some(), "{at}"));
        let parts = openapi["components"].as_object().expect("components");
        for (kind, named) in parts.iter().filter(|(kind, _)| *kind != "securitySchemes") {
            for name in named.as_object().expect("named parts").keys() {
                let at = format!("/components/{kind}/{name}");
                let is_told = text.contains(&format!("`{name}`"));
                assert!(references.contains(at.as_str()) || is_told, "{at} is used nowhere");
            }
        }
    }

    #[test]
    fn no_operation_lacks_its_name_or_the_meaning_of_an_answer() {
        let openapi = documented();
        let mut names = BTreeSet::new();
        for (path, method, operation) in operations(&openapi) {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{name} names two operations");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
}
