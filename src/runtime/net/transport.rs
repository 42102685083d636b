//! How links behave on their network: times, and limits on what a peer can make us hold. Not responsible for who may
//! connect.

use super::UploadLimits;
use super::congestion::ShortQueue;
use super::connection::CHANNELS_MAX;
use quinn::{IdleTimeout, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// Times and limits of all links of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// A silent link sends something this often, so that only a lost one stays silent. A quarter of `idle_timeout` or
    /// less, or a few lost datagrams look like a lost link.
    pub keep_alive: Duration,
    /// A link that was silent for this long is lost. Its connection is kept for several times as long, and carries another
    /// link when it is heard again.
    pub idle_timeout: Duration,
    /// How long an attempt to connect waits for an answer, and a third of what it then has, on either side. Within it, the
    /// first datagram is sent again after three times `initial_rtt`, then after twice that, and so on: several short
    /// attempts find a healed network sooner than a long one.
    pub dial_timeout: Duration,
    /// The round trip time to assume before one is measured. Too low costs a few datagrams sent twice.
    pub initial_rtt: Duration,
    /// How many bytes of one channel a peer may send before we have read them.
    pub stream_receive_bytes: u32,
    /// The same for all channels of a link. Should be several times the above, or a few slow channels stop all others.
    pub receive_bytes: u32,
    /// How many bytes of a link QUIC holds at most until the peer has them. Times one over the round trip time, it limits
    /// throughput. On links that carry less it holds less.
    pub send_bytes: u32,
    /// How much may leave.
    pub upload: UploadLimits,
}

/// A connection is given up after so many times the silence after which its link is lost.
const KEPT_TIMES: u32 = 8;

/// What one side sends in a handshake, some of it twice.
const HANDSHAKE_BYTES: u64 = 5_000;

/// Why a connection was closed, as a number on the wire; the words beside it are for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The layer above closed the link.
    Done = 0,
    /// The peer broke the protocol.
    Broken = 1,
    /// The node is shutting down.
    Shutdown = 2,
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code as u32)
    }
}

impl Transport {
    /// For machines near each other: a lost link is noticed within two seconds.
    pub const fn lan() -> Self {
        Self {
            keep_alive: Duration::from_millis(250),
            idle_timeout: Duration::from_secs(2),
            // 64 kbit/s and 300 ms there and back take one second to answer, and several who come at once as many. No attempt
            // repeats itself: the next one is sooner.
            dial_timeout: Duration::from_millis(3_000),
            initial_rtt: Duration::from_millis(1_200),
            stream_receive_bytes: 1 << 20,
            receive_bytes: 8 << 20,
            send_bytes: 2 << 20,
            upload: UploadLimits { all: None, each: None },
        }
    }

    /// For links where each byte counts: a silent link costs a few bytes a second, and is found lost within a minute and a
    /// half.
    pub const fn metered() -> Self {
        Self {
            keep_alive: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(90),
            dial_timeout: Duration::from_secs(10),
            initial_rtt: Duration::from_millis(1_000),
            stream_receive_bytes: 256 << 10,
            receive_bytes: 2 << 20,
            send_bytes: 512 << 10,
            upload: UploadLimits { all: None, each: None },
        }
    }

    /// The same with an upload limit, and as much time for a handshake as it then takes.
    #[must_use]
    pub fn with_upload(mut self, upload: UploadLimits) -> Self {
        if let Some(bytes_per_second) = upload.of_link() {
            let handshake = Duration::from_millis(HANDSHAKE_BYTES * 1_000 / bytes_per_second.max(1));
            self.dial_timeout = self.dial_timeout.max(handshake * 2);
        }
        Self { upload, ..self }
    }

    pub(super) fn config(&self) -> Arc<quinn::TransportConfig> {
        let mut config = quinn::TransportConfig::default();
        config
            .keep_alive_interval(Some(self.keep_alive))
            .max_idle_timeout(Some(idle_timeout(self.idle_timeout.saturating_mul(KEPT_TIMES))))
            .initial_rtt(self.initial_rtt)
            .congestion_controller_factory(Arc::new(ShortQueue))
            .max_concurrent_bidi_streams(VarInt::from_u32(CHANNELS_MAX as u32))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(self.stream_receive_bytes))
            .receive_window(VarInt::from_u32(self.receive_bytes))
            .send_window(self.send_bytes.into())
            .datagram_receive_buffer_size(None)
            // Probing for larger datagrams costs 12 kB on each connection, more than most exchanges of ours.
            .mtu_discovery_config(None);
        Arc::new(config)
    }
}

/// As QUIC can state it: more than that is for ever, to anyone who waits.
fn idle_timeout(timeout: Duration) -> IdleTimeout {
    timeout.try_into().unwrap_or_else(|_| IdleTimeout::from(VarInt::MAX))
}
