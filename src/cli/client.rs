//! A client of the HTTP routes. Not responsible for what a command makes of an answer.

use super::args::ClientArgs;
use super::failure::Failure;
use super::secrets::read_token;
use super::settings::HTTP_DEFAULT;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::time::Duration;
use ureq::config::ConfigBuilder;
use ureq::http::{Request, Response, StatusCode, header};
use ureq::typestate::AgentScope;
use ureq::{Agent, AsSendBody, Body};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// A node answers within a minute, or never.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);

/// What the standard library says of a name that leads nowhere; it has no kind of its own.
const NO_LOOKUP: &str = "failed to lookup address information";

/// What may stand raw in a path.
const RAW_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// One node, as clients see it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn open(args: &ClientArgs) -> Result<Self, Failure> {
        let socket_address = || std::env::var("SOCKET_ADDRESS").ok().filter(|address| !address.is_empty());
        let address = args.http.clone().filter(|address| !address.is_empty()).or_else(socket_address);
        let token = args.http_token_file.as_deref().map(read_token).transpose()?;
        Self::at(address.as_deref().unwrap_or(HTTP_DEFAULT), token)
    }

    /// At `IP:PORT` or `http://IP:PORT`.
    pub(super) fn at(address: &str, token: Option<String>) -> Result<Self, Failure> {
        let config = config().max_idle_connections(0).timeout_recv_response(Some(ANSWER_TIME_MAX)).build();
        Ok(Self { agent: config.into(), base: base(address)?, token })
    }

    /// One that goes on with its connection, and waits for an answer only so long.
    pub(super) fn lasting(address: &str, token: Option<String>, patience: Duration) -> Result<Self, Failure> {
        let config = config().timeout_global(Some(patience)).build();
        Ok(Self { agent: config.into(), base: base(address)?, token })
    }

    /// The same node, for questions that are of no use when they take long.
    pub(super) fn hasty(&self, patience: Duration) -> Self {
        let config = config().max_idle_connections(0).timeout_global(Some(patience)).build();
        Self { agent: config.into(), ..self.clone() }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn get(&self, path: &str) -> Result<Response<Body>, Failure> {
        self.call("GET", path, ())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Response<Body>, Failure> {
        self.call("DELETE", path, ())
    }

    pub(super) fn put(&self, path: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
        self.call("PUT", path, body)
    }

    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<Response<Body>, Failure> {
        self.call("POST", path, body)
    }

    /// The body of a `GET` that should succeed.
    pub(super) fn get_text(&self, path: &str) -> Result<String, Failure> {
        let response = self.expect(self.get(path)?)?;
        let bytes = self.bytes(response)?;
        String::from_utf8(bytes).map_err(|_| self.strange("no UTF-8"))
    }

    fn call(&self, method: &str, path: &str, body: impl AsSendBody) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|error| Failure::usage(format!("{}: {error}", self.base)))?;
        self.agent.run(request).map_err(|error| self.unreachable(&error))
    }

    /// The answer if it is a good one; else what it says.
    pub(super) fn expect(&self, response: Response<Body>) -> Result<Response<Body>, Failure> {
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response)) }
    }

    pub(super) fn refused(&self, response: Response<Body>) -> Failure {
        let status = response.status();
        let message = match self.json::<Refusal>(response) {
            Ok(refusal) => refusal.error.message,
            Err(_) => format!("{status}; is this a tidings node?"),
        };
        let next = if status == StatusCode::UNAUTHORIZED { "; give --http-token-file FILE" } else { "" };
        Failure::failed(format!("{}: {message}{next}", self.base))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<T, Failure> {
        self.parse(&self.bytes(response)?)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(bytes).map_err(|error| self.strange(&error.to_string()))
    }

    pub(super) fn bytes(&self, response: Response<Body>) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = reader(response).read_to_end(&mut bytes);
        read.map_err(|error| self.broken(&error))?;
        Ok(bytes)
    }

    pub(super) fn broken(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::failed(format!("{}: the answer broke off: {error}; see whether the node still runs", self.base))
    }

    fn strange(&self, problem: &str) -> Failure {
        Failure::failed(format!("{}: the answer is strange: {problem}; is this a tidings node?", self.base))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let base = &self.base;
        let absent = match error {
            ureq::Error::Io(error) if error.to_string().starts_with(NO_LOOKUP) => {
                return Failure::failed(format!("no node at {base}: that name is not known; give another with --http"));
            }
            ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            ureq::Error::Timeout(ureq::Timeout::Connect) => true,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            _ => false,
        };
        match absent {
            true => Failure::failed(format!("no node at {base}; start one with \"tidings node\", or give --http")),
            false => Failure::failed(format!("{base}: {error}; see whether the node still runs")),
        }
    }
}

fn config() -> ConfigBuilder<AgentScope> {
    let config = Agent::config_builder().http_status_as_error(false).proxy(None).max_redirects(0);
    config.timeout_connect(Some(CONNECT_TIME_MAX)).user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
}

/// `http://IP:PORT` of that or of `IP:PORT`.
fn base(address: &str) -> Result<String, Failure> {
    let host = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port || host.starts_with(':') || host.contains(['/', '?', '#', '@', ' ']) {
        let problem = format!("{address:?} is no IP:PORT, as {HTTP_DEFAULT} is, or http://{HTTP_DEFAULT}");
        return Err(Failure::setting("http", problem));
    }
    Ok(format!("http://{host}"))
}

/// Without a limit: what a node holds may be larger than any that could be set here.
pub(super) fn reader(response: Response<Body>) -> impl Read {
    response.into_body().into_with_config().limit(u64::MAX).reader()
}

/// Bytes as part of a path or of a query.
pub(super) fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, RAW_IN_PATH).to_string()
}

/// What every refusal says.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) error: Described,
    /// Of an import.
    pub(super) imported: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Described {
    pub(super) message: String,
    /// Of an import.
    pub(super) line: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_their_scheme() {
        for address in ["127.0.0.1:7480", "http://127.0.0.1:7480", "http://127.0.0.1:7480/"] {
            assert_eq!(Client::at(address, None).expect("an address").base(), "http://127.0.0.1:7480");
        }
        for address in ["", "https://127.0.0.1:7480", "127.0.0.1:7480/path", "127.0.0.1", ":7480", "127.0.0.1:http"] {
            assert!(Client::at(address, None).is_err(), "{address}");
        }
    }

    #[test]
    fn keys_go_into_paths_byte_by_byte() {
        assert_eq!(encoded(b"a/b c?\xff+%"), "a/b%20c%3F%FF%2B%25");
    }
}
