//! How long a frame is on its way. Not responsible for what is cut: `cuts` is.
//!
//! What is lost is sent again, as QUIC does it: a frame comes late, and never not at all; channels wait for themselves
//! only. Congestion is not modelled, but for the sender's own upload.

use rand::RngExt;
use rand::rngs::StdRng;

/// What a frame costs on the network beside its own bytes: UDP, IP and QUIC headers, about.
const PACKET_OVERHEAD_BYTES: u64 = 60;
const PACKET_BYTES: u64 = 1_200;
/// A loss is noticed after a round trip and a quarter, and what the other side may wait before it says what it has.
const ACK_DELAY_US: u64 = 25_000;
/// Before anything is known of the path, an attempt waits so long for an answer.
const FIRST_PATIENCE_US: u64 = 1_000_000;
/// Of more packets in one frame the loss is not drawn one by one.
const DRAWN_MAX: u64 = 64;
/// A packet is not lost more often in a row.
const ROUNDS_MAX: u64 = 20;

/// Of all paths between nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// One way, in microseconds: each pair of nodes has its own, between these two.
    pub latency_us: (u64, u64),
    /// Each frame is up to so much later.
    pub jitter_us: u64,
    /// The share of packets that are lost.
    pub loss: f64,
    /// The share of attempts to reach somebody that succeed twice: an old one has gone on beside the new one.
    pub twice: f64,
    /// What a node can send, in bytes a second; `None` is no limit.
    pub upload: Option<u64>,
    /// After so long without a packet an end of a link takes it for lost.
    pub idle_us: u64,
}

impl Default for Network {
    /// Between cities: 10 to 50 ms, nothing lost.
    fn default() -> Self {
        Self { latency_us: (10_000, 50_000), jitter_us: 1_000, loss: 0.0, twice: 0.0, upload: None, idle_us: 2_000_000 }
    }
}

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Travel {
    /// When the sender's upload has taken it,
    pub(super) left_us: u64,
    /// and when it is there.
    pub(super) there_us: u64,
    /// All that was sent for it.
    pub(super) bytes: u64,
}

impl Network {
    /// Of a path, one way and the same in both; drawn from the seed, so that nobody has to keep it.
    pub(super) fn latency_us(&self, seed: u64, one: usize, other: usize) -> u64 {
        let (least, most) = self.latency_us;
        let pair = ((one.min(other) as u64) << 32) | one.max(other) as u64;
        least + mix(seed ^ mix(pair)) % (most.saturating_sub(least) + 1)
    }

    /// A frame that is handed over now, by somebody whose upload is free from `free_us` on.
    pub(super) fn travel(&self, rng: &mut StdRng, latency_us: u64, frame_bytes: usize, times: (u64, u64)) -> Travel {
        let (now_us, free_us) = times;
        let packets = (frame_bytes as u64).div_ceil(PACKET_BYTES).max(1);
        let (mut bytes, mut late_us) = (frame_bytes as u64 + packets * PACKET_OVERHEAD_BYTES, self.jitter(rng));
        let mut lost = self.lost_of(rng, packets);
        for _ in 0..ROUNDS_MAX {
            if lost == 0 {
                break;
            }
            bytes += lost * PACKET_BYTES.min(bytes);
            late_us += latency_us * 5 / 2 + ACK_DELAY_US;
            lost = self.lost_of(rng, lost);
        }
        let left_us = match self.upload {
            Some(upload) => now_us.max(free_us) + bytes.saturating_mul(1_000_000) / upload.max(1),
            None => now_us,
        };
        Travel { left_us, there_us: left_us + latency_us + late_us, bytes }
    }

    /// How long the three flights of a handshake take, if it succeeds.
    pub(super) fn handshake_us(&self, rng: &mut StdRng, latency_us: u64) -> Option<u64> {
        let lost = self.lost_of(rng, 3);
        (lost < 2).then(|| 3 * latency_us + lost * FIRST_PATIENCE_US + self.jitter(rng))
    }

    /// How much later an attempt succeeds once more, if it does.
    pub(super) fn again_us(&self, rng: &mut StdRng) -> Option<u64> {
        (self.twice > 0.0 && rng.random_bool(self.twice.min(1.0))).then(|| rng.random_range(0..=FIRST_PATIENCE_US))
    }

    fn jitter(&self, rng: &mut StdRng) -> u64 {
        if self.jitter_us == 0 { 0 } else { rng.random_range(0..=self.jitter_us) }
    }

    fn lost_of(&self, rng: &mut StdRng, packets: u64) -> u64 {
        if self.loss <= 0.0 {
            return 0;
        }
        let drawn = packets.min(DRAWN_MAX);
        let lost = (0..drawn).filter(|_| rng.random_bool(self.loss.min(1.0))).count() as u64;
        lost * packets / drawn
    }
}

/// Every bit of the result depends on every bit of the number: the end of SplitMix64 (Steele et al. 2014).
pub(super) fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_path_is_as_long_there_as_back_and_within_its_range() {
        let network = Network::default();
        let all: Vec<u64> = (1..1_000).map(|other| network.latency_us(7, 0, other)).collect();
        assert!(all.iter().all(|us| (10_000..=50_000).contains(us)));
        assert!((29_000..31_000).contains(&(all.iter().sum::<u64>() / 999)), "about the middle");
        assert_eq!(network.latency_us(7, 3, 9), network.latency_us(7, 9, 3));
        assert_ne!(network.latency_us(7, 3, 9), network.latency_us(8, 3, 9));
    }

    #[test]
    fn what_is_lost_comes_later_by_round_trips() {
        let network = Network { jitter_us: 0, loss: 0.3, ..Network::default() };
        let mut rng = StdRng::seed_from_u64(1);
        let travels: Vec<_> = (0..10_000).map(|_| network.travel(&mut rng, 10_000, 100, (0, 0))).collect();
        let late = travels.iter().filter(|travel| travel.there_us > 10_000).count();
        assert!((2_800..3_200).contains(&late), "{late}");
        assert!(travels.iter().all(|travel| (travel.there_us - 10_000).is_multiple_of(50_000)));
        assert!(travels.iter().any(|travel| travel.there_us > 100_000), "some are lost twice");
    }

    #[test]
    fn an_upload_takes_one_frame_after_the_other() {
        let network = Network { jitter_us: 0, upload: Some(1_000_000), ..Network::default() };
        let mut rng = StdRng::seed_from_u64(1);
        let first = network.travel(&mut rng, 10_000, 940, (5_000, 0));
        assert_eq!((first.left_us, first.there_us), (6_000, 16_000));
        let second = network.travel(&mut rng, 10_000, 940, (5_000, first.left_us));
        assert_eq!((second.left_us, second.there_us), (7_000, 17_000));
    }
}
