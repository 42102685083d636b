//! A UDP socket that counts what passes it, and that can be cut off from the network by a switch. Not responsible for
//! partial faults: loss, delay and one-way cuts belong to simulations; nor for limits: `limit` is put before it.

use super::traffic::Traffic;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// Cuts a node off from the network and joins it again, while everything above goes on as it would with a cable pulled.
///
/// Clones are the same switch. It starts healed.
#[derive(Clone, Debug, Default)]
pub struct CutSwitch(Arc<AtomicBool>);

impl CutSwitch {
    /// From now on every datagram is dropped, in both directions, and nobody is told.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// From now on datagrams pass again. Connections that were not yet given up go on at their next retransmission.
    pub fn heal(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the node is cut off.
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The socket of an endpoint, behind a [`CutSwitch`].
pub(super) struct CutSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    switch: CutSwitch,
    traffic: Arc<Traffic>,
}

impl CutSocket {
    /// How many batches are dropped before other tasks get their turn.
    const DROPS_IN_A_ROW: usize = 32;

    /// Puts the switch before a socket, and counts what passes both.
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>, switch: CutSwitch, traffic: Arc<Traffic>) -> Self {
        Self { socket, switch, traffic }
    }

    fn count_received(&self, meta: &[RecvMeta]) {
        for received in meta {
            let datagrams = datagrams(received.len, Some(received.stride));
            self.traffic.received.add(received.addr, datagrams, received.len as u64);
        }
    }
}

impl AsyncUdpSocket for CutSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.switch.is_cut() {
            return Ok(());
        }
        self.socket.try_send(transmit)?;
        let (bytes, segment) = (transmit.contents.len(), transmit.segment_size);
        self.traffic.sent.add(transmit.destination, datagrams(bytes, segment), bytes as u64);
        Ok(())
    }

    // While cut it goes on reading, and drops: else the kernel would keep what came for the time after.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..Self::DROPS_IN_A_ROW {
            let received = ready!(self.socket.poll_recv(cx, bufs, meta));
            if received.is_err() || !self.switch.is_cut() {
                if let Ok(count) = received {
                    self.count_received(&meta[..count]);
                }
                return Poll::Ready(received);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

/// How many datagrams a batch is: it is cut into segments, of which the last may be shorter.
pub(super) fn datagrams(bytes: usize, segment: Option<usize>) -> u64 {
    match segment {
        Some(segment @ 1..) => bytes.div_ceil(segment) as u64,
        _ => 1,
    }
}

impl fmt::Debug for CutSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutSocket").field("switch", &self.switch).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_of_a_batch_is_a_datagram() {
        assert_eq!(datagrams(1200, None), 1);
        assert_eq!(datagrams(2400, Some(1200)), 2);
        assert_eq!(datagrams(2401, Some(1200)), 3);
        assert_eq!(datagrams(7, Some(0)), 1);
    }
}
