//! A node from its start to its orderly end, in the binary. Not responsible for its settings.

use super::failure::Failure;
use super::output::Output;
use super::progress::Reading;
use crate::http::{self, Access, App, Compat, Demo, Limits};
use crate::{ConfigBuilder, Store};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a store may take to flush and to say goodbye.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A store with its HTTP routes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) store: Store,
    pub(super) name: String,
    pub(super) http: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

/// The listening socket of the routes; first, since the store tells the others its address.
pub(super) async fn bind_http(address: SocketAddr) -> Result<TcpListener, Failure> {
    let refuse =
        |error| Failure::failed(format!("cannot listen on http://{address}: {error}; give another with --http"));
    TcpListener::bind(address).await.map_err(refuse)
}

impl Running {
    /// Opens the store and serves it until `ending`, which whoever wants the node to end cancels.
    pub(super) async fn start(
        config: ConfigBuilder,
        listener: TcpListener,
        access: Access,
        compat: Compat,
        demo: Option<&Demo>,
        ending: CancellationToken,
        mut reading: Reading,
    ) -> Result<Self, Failure> {
        let http = listener.local_addr()?;
        let mut config = config.build()?;
        config.http = reachable(http, config.advertise.as_deref(), config.listen);
        let limits = Limits { key_bytes_max: config.key_bytes_max, value_bytes_max: config.value_bytes_max };
        let name = config.name.clone();
        let store = Store::open_with_progress(config, move |read, of| reading.show(read, of)).await?;
        let app = App { store: store.clone(), limits, ending: ending.clone(), requests: Arc::default() };
        let server = tokio::spawn(http::serve(listener, http::router(app, access, compat, demo), ending.clone()));
        if let Some(demo) = demo {
            demo.add(http, store.clone());
        }
        Ok(Self { store, name, http, server })
    }

    /// The line that a node is known by, with the ports that it really has.
    pub(super) fn announce(&self, output: Output) -> Result<(), Failure> {
        let (name, http, quic) = (&self.name, format!("http://{}", self.http), self.store.listen_addr());
        match output.json {
            true => output.line(&json!({ "name": name, "http": http, "quic": quic.to_string() }).to_string()),
            false => output.line(&format!("{name}  {http}  quic {quic}")),
        }
    }

    /// Waits until the node is to end, then ends it: requests under way first, the store last.
    pub(super) async fn end(self) -> Result<(), Failure> {
        let served = self.server.await;
        if tokio::time::timeout(CLOSE_TIME_MAX, self.store.close()).await.is_err() {
            tracing::warn!("the store took too long to close");
        }
        match served {
            Ok(served) => Ok(served?),
            Err(error) => Err(Failure::failed(format!("the HTTP server ended by itself: {error}"))),
        }
    }
}

/// Where others reach the routes: on all addresses means on the one that links are told.
fn reachable(http: SocketAddr, advertise: Option<&str>, listen: SocketAddr) -> Option<String> {
    let told = advertise.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host.to_owned());
    let listens = Some(listen.ip()).filter(|ip| !ip.is_unspecified()).map(host);
    match http.ip() {
        ip if ip.is_unspecified() => told.or(listens).map(|host| format!("{host}:{}", http.port())),
        _ => Some(http.to_string()),
    }
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_all_addresses_is_told_as_one_that_can_be_reached() {
        let address = |text: &str| text.parse().expect("an address");
        let told = |http, advertise, listen| reachable(address(http), advertise, address(listen));
        assert_eq!(told("127.0.0.1:1", None, "0.0.0.0:2").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(told("0.0.0.0:1", Some("a.example:2"), "0.0.0.0:2").as_deref(), Some("a.example:1"));
        assert_eq!(told("0.0.0.0:1", None, "10.0.0.1:2").as_deref(), Some("10.0.0.1:1"));
        assert_eq!(told("[::]:1", None, "[::1]:2").as_deref(), Some("[::1]:1"));
        assert_eq!(told("0.0.0.0:1", None, "0.0.0.0:2"), None);
    }
}
