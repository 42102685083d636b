//! Why there is no link, in words for a log. Not responsible for what to do about it.

use quinn::{ConnectionError, TransportErrorCode};
use std::net::SocketAddr;

/// No link with the peer at that address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer}: {fault}")]
pub struct LinkError {
    /// Where the peer is.
    pub peer: SocketAddr,
    /// What went wrong.
    pub fault: LinkFault,
}

/// What went wrong with a connection, before it was a link or after.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// Its certificate comes from no authority that we know.
    #[error(
        "not of this cluster: its certificate was made with another secret than ours, or comes from another authority"
    )]
    OtherCluster,
    /// It offered no certificate at all.
    #[error("not of this cluster: it has no certificate")]
    NoCertificate,
    /// It did not accept our certificate, or missed one.
    #[error("it refused us as not of its cluster: its secret, or authority, is another one than ours")]
    RefusedUs,
    /// Its certificate is of an authority that we know, but was issued for something else than a node.
    #[error("its certificate is not meant for a node: it lacks the DNS name {}", super::CLUSTER_NAME)]
    NotMeant,
    /// Its certificate is not valid any more, or not yet.
    #[error("its certificate has expired or is not valid yet, if our clock is right")]
    Expired,
    /// It takes our certificate for one that is not valid any more.
    #[error("it refused our certificate as expired: renew it, or set its clock right")]
    WeExpired,
    /// It is of the cluster, but its certificate does not name one replica.
    #[error("its certificate does not say which replica it is")]
    NoReplica,
    /// It speaks another version of the protocol, or another protocol.
    #[error("it speaks another version of the protocol than tidings/1")]
    OtherProtocol,
    /// Nothing came from it for too long.
    #[error("no answer in time")]
    Timeout,
    /// It has no room for another connection.
    #[error("it takes no more connections at present")]
    Busy,
    /// It gave the attempt up before it was a link: another one of its attempts was answered first.
    #[error("it gave the attempt up")]
    GivenUp,
    /// It was restarted and knows nothing of the connection.
    #[error("it was restarted")]
    Restarted,
    /// It closed the connection, for the reason it gave.
    #[error("closed by the peer: {0}")]
    ClosedByPeer(String),
    /// We closed the connection.
    #[error("closed on this side")]
    ClosedHere,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The length at which words of a peer are cut: enough to say why, too little to flood a log.
const PEER_CHARS_MAX: usize = 200;

impl From<&ConnectionError> for LinkFault {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(ours) => seen_by_us(ours.code).unwrap_or_else(|| other(error)),
            ConnectionError::ConnectionClosed(theirs) => {
                told_by_peer(theirs.error_code).unwrap_or_else(|| other(error))
            }
            ConnectionError::ApplicationClosed(theirs) => Self::ClosedByPeer(printable(&theirs.reason)),
            ConnectionError::VersionMismatch => Self::OtherProtocol,
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::TimedOut => Self::Timeout,
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::CidsExhausted => other(error),
        }
    }
}

fn seen_by_us(code: TransportErrorCode) -> Option<LinkFault> {
    match Alert::from_code(code)? {
        Alert::Certificate => Some(LinkFault::OtherCluster),
        Alert::CertificateExpired => Some(LinkFault::Expired),
        Alert::CertificateRequired => Some(LinkFault::NoCertificate),
        Alert::NoApplicationProtocol => Some(LinkFault::OtherProtocol),
    }
}

fn told_by_peer(code: TransportErrorCode) -> Option<LinkFault> {
    if code == TransportErrorCode::CONNECTION_REFUSED {
        return Some(LinkFault::Busy);
    }
    // In a handshake QUIC hides an application's own reason behind this one.
    if code == TransportErrorCode::APPLICATION_ERROR {
        return Some(LinkFault::GivenUp);
    }
    match Alert::from_code(code)? {
        Alert::Certificate | Alert::CertificateRequired => Some(LinkFault::RefusedUs),
        Alert::CertificateExpired => Some(LinkFault::WeExpired),
        Alert::NoApplicationProtocol => Some(LinkFault::OtherProtocol),
    }
}

fn other(error: &ConnectionError) -> LinkFault {
    LinkFault::Other(printable(error.to_string().as_bytes()))
}

/// The TLS alerts (RFC 8446, section 6.2) that mean something to whoever runs a cluster.
enum Alert {
    Certificate,
    CertificateExpired,
    CertificateRequired,
    NoApplicationProtocol,
}

impl Alert {
    fn from_code(code: TransportErrorCode) -> Option<Self> {
        // QUIC carries an alert as 0x100 + its number (RFC 9001, section 4.8).
        match u64::from(code).checked_sub(0x100)? {
            // bad, unsupported, revoked, unknown certificate; unknown authority; bad signature
            45 => Some(Self::CertificateExpired),
            42..=46 | 48 | 51 => Some(Self::Certificate),
            116 => Some(Self::CertificateRequired),
            120 => Some(Self::NoApplicationProtocol),
            _ => None,
        }
    }
}

/// A peer's words as one short line of plain text: it must not be able to write lines of its own into our log.
fn printable(words: &[u8]) -> String {
    if words.is_empty() {
        return "no reason given".to_owned();
    }
    let plain = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    let words = String::from_utf8_lossy(words);
    words.chars().take(PEER_CHARS_MAX).map(|c| if plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_write_lines_into_our_log() {
        let words = printable(b"bye\n2031-01-01 ERROR all is lost");
        assert_eq!(words, "bye?2031-01-01 ERROR all is lost");
        assert!(printable(&[b'x'; 10_000]).len() == PEER_CHARS_MAX);
    }
}
