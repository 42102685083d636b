//! Links: authenticated QUIC connections that carry frames. Not responsible for what is in a frame, for whom to dial,
//! or for when to try again.
//!
//! ```text
//! Keys ──► Identity ──► Endpoint ──dial, accept──► connection ──spawn_link──► LinkHandle  (commands go in)
//!           (TLS)     (UDP socket)                                            LinkEvent   (events come out)
//! ```
//!
//! A link has channels. Each is one bidirectional stream, opened by the first frame that is sent on it:
//!
//! ```text
//! stream   = session channel frame*  from its opener; the other side replies with frame* on the same stream
//! session  = QUIC variable-length integer (RFC 9000, section 16): the links of a connection, counted
//! channel  = again such an integer
//! frame    = length payload          length of the payload: again such an integer
//! ```
//!
//! Channel 0 is the control channel: the dialer opens it, and it lives as long as the link. Other channels are numbered
//! by whoever opens them: the dialer takes odd numbers, the acceptor even ones.
//!
//! Bulk waits in the queues of the channels: QUIC takes only what a path is about to carry (`congestion`, `window`), and of
//! that the control channel goes first. Under QUIC a socket counts all that passes it (`socket`, `traffic`), and may be limited
//! (`limit`).

mod authority;
mod certificates;
mod channel;
mod congestion;
mod connection;
mod endpoint;
mod error;
mod keys;
mod limit;
mod refusals;
mod reset;
mod secret;
mod secrets;
mod session;
mod socket;
mod tls;
mod traffic;
mod transport;
mod trust;
mod varint;
mod window;

#[cfg(test)]
mod tests;

pub use authority::CLUSTER_NAME;
pub use certificates::{Certificates, cluster_of_authority};
pub use channel::FRAME_BYTES_MAX;
pub use connection::{
    CHANNELS_MAX, COMMANDS_MAX, Full, LinkCommand, LinkEvent, LinkHandle, LinkLimits, LinkStats, QUEUE_FRAMES_MAX,
    spawn_link,
};
pub use endpoint::{Accepted, Endpoint, HANDSHAKES_MAX, Meter};
pub use error::{LinkError, LinkFault};
pub use keys::Keys;
pub use limit::UploadLimits;
pub use reset::ResetKey;
pub use secret::{ParseSecretError, Secret};
pub use secrets::{ParseSecretsError, Secrets};
pub use session::{Kept, Session};
pub use socket::CutSwitch;
pub use tls::{ALPN, Identity, TlsError};
pub use traffic::{Ledger, Volume};
pub use transport::{CloseCode, Transport};
pub use trust::Peer;
