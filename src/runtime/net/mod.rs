//! Links: authenticated QUIC connections that carry frames. Not responsible for what is in a frame, for whom to dial,
//! or for when to try again.
//!
//! ```text
//! Secret ──► Identity ──► Endpoint ──dial, accept──► connection ──spawn_link──► LinkHandle  (commands go in)
//!             (TLS)      (CutSocket)                                            LinkEvent   (events come out)
//! ```
//!
//! A link has channels. Each is one bidirectional stream, opened by the first frame that is sent on it:
//!
//! ```text
//! stream   = channel frame*          from its opener; the other side replies with frame* on the same stream
//! channel  = QUIC variable-length integer (RFC 9000, section 16)
//! frame    = length payload          length: 4 bytes, big endian, of the payload
//! ```
//!
//! Channel 0 is the control channel: the dialer opens it, and it lives as long as the link. Other channels are numbered
//! by whoever opens them: the dialer takes odd numbers, the acceptor even ones.

mod channel;
mod connection;
mod endpoint;
mod error;
mod secret;
mod socket;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use channel::FRAME_BYTES_MAX;
pub use connection::{
    CHANNELS_MAX, COMMANDS_MAX, Full, LinkCommand, LinkEvent, LinkHandle, LinkStats, QUEUE_FRAMES_MAX, spawn_link,
};
pub use endpoint::{Accepted, Endpoint, HANDSHAKES_MAX};
pub use error::{LinkError, LinkFault};
pub use secret::{ParseSecretError, Secret};
pub use socket::{CutSocket, CutSwitch};
pub use tls::{ALPN, Identity, TlsError};
pub use transport::{CloseCode, Transport};
