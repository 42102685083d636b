//! One UDP socket that dials and accepts. Not responsible for whom to dial, nor for connections once they stand.
//!
//! Strangers can start handshakes without limit, so these run beside each other, and there are two lines of defence:
//! when several are unfinished, or one with the same address, a newcomer must first show that it receives at its address (a
//! retry costs us nothing);
//! and when all places are taken, the oldest one is given up, since an honest handshake is over within a few round
//! trips.

use super::limit::LimitedSocket;
use super::refusals::Refusals;
use super::socket::CutSocket;
use super::traffic::Traffic;
use super::{
    CLUSTER_NAME, CloseCode, CutSwitch, FRAME_BYTES_MAX, Identity, Ledger, LinkError, LinkFault, LinkLimits, Peer,
    Transport, Volume,
};
use quinn::{AsyncUdpSocket, ConnectionError, Incoming, Runtime, TokioRuntime, VarInt};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, Id, JoinSet};

/// How many accepted connections may be in their handshake at a time.
pub const HANDSHAKES_MAX: usize = 64;

/// A handshake that goes on has so many times the time that the first answer has: on a thin link its bytes take longer
/// than the way.
const ANSWERED_TIMES: u32 = 3;

/// With more unfinished handshakes than this, newcomers have to prove their address.
const UNPROVEN_MAX: usize = HANDSHAKES_MAX / 4;

/// Connections that wait for [`Endpoint::accept`] to look at them, and the bytes kept for one and for all of them.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL: u64 = 1 << 20;

/// A connection with a node of the cluster, which it is, and where it is.
pub type Accepted = (quinn::Connection, Peer, SocketAddr);

/// The socket of a node: dials and accepts connections with nodes of its cluster, and with nobody else.
#[derive(Debug)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    /// What is presented and accepted now.
    identity: RwLock<Identity>,
    transport: Arc<quinn::TransportConfig>,
    dial_timeout: Duration,
    handshakes: Mutex<Handshakes>,
    meter: Meter,
    send_bytes_max: u64,
    silence: Duration,
}

/// Tells what has passed the socket of an endpoint, in both directions.
#[derive(Clone, Debug)]
pub struct Meter {
    traffic: Arc<Traffic>,
    ledger: Ledger,
}

impl Meter {
    /// All that was sent: on links, on those that are gone, and to strangers.
    pub fn sent(&self) -> Volume {
        self.traffic.sent.volume(self.ledger.node().0)
    }

    /// All that was received.
    pub fn received(&self) -> Volume {
        self.traffic.received.volume(self.ledger.node().1)
    }

    /// Where a new link counts its frames.
    pub fn ledger_of_link(&self) -> Ledger {
        self.ledger.of_link()
    }
}

impl Endpoint {
    /// Binds the socket. Must be called within a tokio runtime, which then also drives the endpoint.
    pub fn bind(listen: SocketAddr, identity: &Identity, transport: &Transport, cut: CutSwitch) -> io::Result<Self> {
        let socket = TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(listen)?)?;
        let meter = Meter { traffic: Arc::default(), ledger: Ledger::default() };
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(CutSocket::new(socket, cut, Arc::clone(&meter.traffic)));
        let socket = match transport.upload {
            limits if limits.is_none() => socket,
            limits => Arc::new(LimitedSocket::new(socket, limits)),
        };
        let shared = transport.config();
        let server = server_config(identity, &shared);
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            identity.endpoint(),
            Some(server),
            socket,
            Arc::new(TokioRuntime),
        )?;
        let (dial_timeout, send_bytes_max) = (transport.dial_timeout, transport.send_bytes.into());
        let silence = transport.idle_timeout;
        let (identity, handshakes) = (RwLock::new(identity.clone()), Mutex::default());
        Ok(Self { quinn, identity, transport: shared, dial_timeout, handshakes, meter, send_bytes_max, silence })
    }

    /// What is presented and accepted from now on. Connections that stand are not touched, nor is the key of resets.
    pub fn set_identity(&self, identity: &Identity) {
        self.quinn.set_server_config(Some(server_config(identity, &self.transport)));
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = identity.clone();
    }

    fn identity(&self) -> Identity {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When what it presents ends, if it does.
    pub fn expires(&self) -> Option<SystemTime> {
        self.identity().expires()
    }

    /// What passes its socket.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What its links may hold.
    pub fn link_limits(&self) -> LinkLimits {
        let (send_bytes_max, silence) = (self.send_bytes_max, self.silence);
        LinkLimits { frame_bytes_max: FRAME_BYTES_MAX, send_bytes_max, silence }
    }

    /// Where it listens; tells the port if it was bound to port 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// Connects with the node at that address, and tells which it is.
    ///
    /// This node has then checked the other, but not yet the other this one: a node that refuses us is noticed when the
    /// connection is used for the first time. Dropping the future gives the attempt up.
    pub async fn dial(&self, peer: SocketAddr) -> Result<(quinn::Connection, Peer), LinkError> {
        self.dial_and_tell(peer, || {}).await
    }

    /// As [`dial`](Self::dial), and tells when the other side has answered: from then on the attempt has more time, and
    /// another one to the same address would only be in its way.
    pub async fn dial_and_tell(
        &self,
        peer: SocketAddr,
        answered: impl FnOnce(),
    ) -> Result<(quinn::Connection, Peer), LinkError> {
        let identity = self.identity();
        let mut client = identity.client();
        client.transport_config(Arc::clone(&self.transport));
        let result = match self.quinn.connect_with(client, peer, CLUSTER_NAME) {
            Ok(mut connecting) => {
                let answer = async { connecting.handshake_data().await.is_ok() };
                match tokio::time::timeout(self.dial_timeout, answer).await {
                    Ok(is_good) => {
                        if is_good {
                            answered();
                        }
                        // What has failed fails again.
                        established(connecting, &identity, self.dial_timeout * ANSWERED_TIMES).await
                    }
                    Err(_) => Err(LinkFault::Timeout),
                }
            }
            Err(error) => Err(LinkFault::Other(error.to_string())),
        };
        result.map_err(|fault| LinkError { peer, fault })
    }

    /// The next node that has connected, or the next that failed to (which is then already logged); none once the
    /// endpoint is closed. Handshakes go on only while this is being awaited. Cancelling it loses nothing.
    pub async fn accept(&self) -> Option<Result<Accepted, LinkError>> {
        let mut handshakes = self.handshakes.lock().await;
        loop {
            tokio::select! {
                incoming = self.quinn.accept() => {
                    handshakes.begin(incoming?, self.identity(), self.dial_timeout * ANSWERED_TIMES);
                }
                Some(result) = handshakes.next() => return Some(result),
            }
        }
    }

    /// Closes all connections, and accepts no more.
    pub fn close(&self, code: impl Into<VarInt>, reason: &str) {
        self.quinn.close(code.into(), reason.as_bytes());
    }

    /// Waits until the peers have been told of all closed connections, or cannot be told.
    pub async fn wait_idle(&self) {
        self.quinn.wait_idle().await;
    }
}

fn server_config(identity: &Identity, transport: &Arc<quinn::TransportConfig>) -> quinn::ServerConfig {
    let mut server = identity.server();
    server
        .transport_config(Arc::clone(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    server
}

/// The accepted connections that are still in their handshake.
#[derive(Debug, Default)]
struct Handshakes {
    tasks: JoinSet<Result<Accepted, LinkError>>,
    oldest_first: VecDeque<(SocketAddr, AbortHandle)>,
    refusals: Refusals,
}

impl Handshakes {
    fn begin(&mut self, incoming: Incoming, identity: Identity, timeout: Duration) {
        let peer = canonical(incoming.remote_address());
        let crowded = self.oldest_first.len() >= UNPROVEN_MAX || self.is_answered(peer);
        if crowded && !incoming.remote_address_validated() {
            // It can only fail for an address that has been validated.
            let _ = incoming.retry();
            return;
        }
        if self.oldest_first.len() >= HANDSHAKES_MAX {
            self.give_up_oldest();
        }
        self.oldest_first.push_back((peer, self.tasks.spawn(handshake(incoming, peer, identity, timeout))));
    }

    /// Whether an answer may be on its way there. Of several attempts of a peer the first is answered in full, and the next ones
    /// by a few bytes that come after that answer: on a thin link full answers to all would each come too late.
    fn is_answered(&self, peer: SocketAddr) -> bool {
        self.oldest_first.iter().any(|(waiting, task)| *waiting == peer && !task.is_finished())
    }

    fn give_up_oldest(&mut self) {
        let Some((peer, oldest)) = self.oldest_first.pop_front() else { return };
        if !oldest.is_finished() {
            tracing::warn!(%peer, "gave up a handshake: too many others are waiting");
            oldest.abort();
        }
    }

    /// The next one to finish; none if there are none.
    async fn next(&mut self) -> Option<Result<Accepted, LinkError>> {
        loop {
            match self.tasks.join_next_with_id().await? {
                Ok((id, result)) => {
                    self.forget(id);
                    if let Err(error) = &result {
                        self.refusals.tell(error);
                    }
                    return Some(result);
                }
                Err(given_up) => self.forget(given_up.id()),
            }
        }
    }

    fn forget(&mut self, id: Id) {
        self.oldest_first.retain(|(_, task)| task.id() != id);
    }
}

async fn handshake(
    incoming: Incoming,
    peer: SocketAddr,
    identity: Identity,
    timeout: Duration,
) -> Result<Accepted, LinkError> {
    let (connection, who) =
        established(incoming, &identity, timeout).await.map_err(|fault| LinkError { peer, fault })?;
    Ok((connection, who, peer))
}

async fn established(
    connecting: impl IntoFuture<Output = Result<quinn::Connection, ConnectionError>>,
    identity: &Identity,
    timeout: Duration,
) -> Result<(quinn::Connection, Peer), LinkFault> {
    let connection = tokio::time::timeout(timeout, connecting.into_future())
        .await
        .map_err(|_| LinkFault::Timeout)?
        .map_err(|error| LinkFault::from(&error))?;
    match identity.peer(&connection) {
        Ok(peer) => Ok((connection, peer)),
        Err(fault) => {
            let reason = match fault {
                LinkFault::NoReplica => "the certificate does not name one replica",
                LinkFault::NotMeant => "the certificate is not meant for a node of a cluster",
                _ => "the certificate is of another cluster",
            };
            connection.close(CloseCode::Broken.into(), reason.as_bytes());
            Err(fault)
        }
    }
}

/// An IPv4 peer of a socket for both families, as everybody else writes its address.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
