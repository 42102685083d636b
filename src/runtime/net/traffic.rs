//! What passes a socket, and how much of it frames carry. Not responsible for what the frames are for: the layer above
//! knows, and what it can name is no more of the transport's.
//!
//! A byte on the wire is one of the payload of a frame, or else the transport's: handshakes, acknowledgements, encryption,
//! retransmissions, and the headers of IP and UDP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What IP and UDP put before each datagram to or from that address.
pub(super) fn header_bytes(peer: SocketAddr) -> u64 {
    match peer.ip().to_canonical() {
        IpAddr::V4(_) => 20 + 8,
        IpAddr::V6(_) => 40 + 8,
    }
}

/// What went one way, of a socket or a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// UDP datagrams.
    pub datagrams: u64,
    /// Their bytes on the wire, with the headers of IP and UDP.
    pub wire_bytes: u64,
    /// Payload bytes of frames.
    pub frame_bytes: u64,
}

impl Volume {
    /// The bytes on the wire that were no frame's. What is sent again counts here; what a lost link has taken but not sent
    /// is not counted twice.
    pub fn transport_bytes(&self) -> u64 {
        self.wire_bytes.saturating_sub(self.frame_bytes)
    }
}

/// What passed a socket, in both directions.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    datagrams: AtomicU64,
    wire_bytes: AtomicU64,
}

impl Counter {
    /// Counts datagrams that together hold so many bytes.
    pub(super) fn add(&self, peer: SocketAddr, datagrams: u64, bytes: u64) {
        self.datagrams.fetch_add(datagrams, Ordering::Relaxed);
        self.wire_bytes.fetch_add(bytes + datagrams * header_bytes(peer), Ordering::Relaxed);
    }

    pub(super) fn volume(&self, frame_bytes: u64) -> Volume {
        let (datagrams, wire_bytes) = (self.datagrams.load(Ordering::Relaxed), self.wire_bytes.load(Ordering::Relaxed));
        Volume { datagrams, wire_bytes, frame_bytes }
    }
}

/// The payload bytes of frames, of a link and of its node. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    link: Arc<Frames>,
    node: Arc<Frames>,
}

#[derive(Debug, Default)]
struct Frames {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Ledger {
    /// For a new link of the same node.
    #[must_use]
    pub fn of_link(&self) -> Self {
        Self { link: Arc::default(), node: Arc::clone(&self.node) }
    }

    /// QUIC has taken a frame with a payload of so many bytes.
    pub(super) fn on_sent(&self, bytes: usize) {
        for frames in [&self.link, &self.node] {
            frames.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// A frame with a payload of so many bytes has come.
    pub(super) fn on_received(&self, bytes: usize) {
        for frames in [&self.link, &self.node] {
            frames.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Sent and received on the link.
    pub(super) fn link(&self) -> (u64, u64) {
        self.link.read()
    }

    /// Sent and received on all links of the node, those that are gone too.
    pub(super) fn node(&self) -> (u64, u64) {
        self.node.read()
    }
}

impl Frames {
    fn read(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_family_that_is_on_the_wire() {
        let bytes = |address: &str| header_bytes(address.parse().expect("an address"));
        assert_eq!(bytes("10.0.0.1:1"), 28);
        assert_eq!(bytes("[fe80::1]:1"), 48);
        assert_eq!(bytes("[::ffff:10.0.0.1]:1"), 28, "an IPv4 peer of a socket for both");
    }

    #[test]
    fn a_link_counts_for_its_node_too() {
        let node = Ledger::default();
        let (a, b) = (node.of_link(), node.of_link());
        a.on_sent(3);
        b.on_sent(4);
        b.on_received(5);
        assert_eq!((a.link(), b.link(), node.node()), ((3, 0), (4, 5), (7, 5)));
    }

    #[test]
    fn every_byte_is_a_frame_s_or_the_transport_s() {
        let counter = Counter::default();
        counter.add("10.0.0.1:1".parse().expect("an address"), 2, 100);
        let volume = counter.volume(60);
        assert_eq!(volume, Volume { datagrams: 2, wire_bytes: 156, frame_bytes: 60 });
        assert_eq!(volume.transport_bytes(), 96);
    }
}
