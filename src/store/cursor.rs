//! Where a watcher or a listener goes on from, as bytes that people keep. Not responsible for what it means: `proto::feed`
//! and `proto::broadcast` are.
//!
//! ```text
//! 1 | check (4 bytes) | through_ms | n, n × (replica (8 bytes), counter) | m, m × (replica (8 bytes), counter)
//! 2 | check (4 bytes) | n, n × (replica (16 bytes), counter, number)
//! ```
//!
//! Of a watcher first what it has been shown, then what it may have been shown beyond that; of a listener the last message
//! of each sender, for it is told of them in the order of their counters. Numbers are LEB128, replicas of a watcher
//! the first half of their ids, in their order. The check is keyed with the cluster's id: a cursor of another cluster, or one
//! that was changed by mistake, is refused.

use crate::Error;
use crate::crdt::{CausalContext, Dot, ReplicaId};
use crate::proto::broadcast::Told;
use crate::proto::feed::Seen;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;

const VERSION: u8 = 1;
const OF_LISTENER: u8 = 2;
const HEADER_BYTES: usize = 5;

/// Where a watcher, or a listener, goes on from, at any node of the cluster. Opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    bytes: Bytes,
}

/// What a cursor says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    through_ms: u64,
    context: Half,
    ahead: Half,
}

/// A context, by the first half of replica ids.
type Half = Vec<(u64, u64)>;

impl Cursor {
    /// As bytes, to be kept. Costs nothing: a cursor is these bytes, some 10 for each replica that has ever written.
    pub fn encode(&self) -> Bytes {
        self.bytes.clone()
    }

    /// From what [`encode`](Self::encode) gave. Linear in the bytes.
    ///
    /// # Errors
    ///
    /// [`Error::BadCursor`] if it is none. Whether it is of this cluster is looked at when it is used.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let is_one = Said::read(bytes).is_some() || read_told(bytes).is_some();
        is_one.then_some(()).ok_or(Error::BadCursor)?;
        Ok(Self { bytes: Bytes::copy_from_slice(bytes) })
    }

    pub(super) fn of(seen: &Seen, cluster: &[u8; 16]) -> Self {
        let mut bytes = vec![VERSION; HEADER_BYTES];
        write_number(&mut bytes, seen.through_ms);
        let beyond: CausalContext = seen.ahead.missing_from(&seen.context).map(|d| (d.replica, d.counter)).collect();
        write_context(&mut bytes, &seen.context);
        write_context(&mut bytes, &beyond);
        let check = check(&bytes[HEADER_BYTES..], cluster);
        bytes[1..HEADER_BYTES].copy_from_slice(&check);
        Self { bytes: bytes.into() }
    }

    /// After what a listener was told.
    pub(super) fn of_told(told: &Told, cluster: &[u8; 16]) -> Self {
        let mut bytes = vec![OF_LISTENER; HEADER_BYTES];
        write_number(&mut bytes, told.len() as u64);
        for (sender, (counter, number)) in told {
            bytes.extend_from_slice(sender.as_bytes());
            write_number(&mut bytes, *counter);
            write_number(&mut bytes, *number);
        }
        let check = check_of_listener(&bytes[HEADER_BYTES..], cluster);
        bytes[1..HEADER_BYTES].copy_from_slice(&check);
        Self { bytes: bytes.into() }
    }

    /// What a listener was told.
    pub(super) fn told(&self, cluster: &[u8; 16]) -> Result<Told, Error> {
        if self.bytes[1..HEADER_BYTES] != check_of_listener(&self.bytes[HEADER_BYTES..], cluster) {
            return Err(Error::BadCursor);
        }
        read_told(&self.bytes).ok_or(Error::BadCursor)
    }

    /// What it says at a node whose context is `known`; a replica that this node has not heard of stays one.
    pub(super) fn seen(&self, cluster: &[u8; 16], known: &CausalContext) -> Result<Seen, Error> {
        if self.bytes[1..HEADER_BYTES] != check(&self.bytes[HEADER_BYTES..], cluster) {
            return Err(Error::BadCursor);
        }
        let Said { through_ms, context, ahead } = Said::read(&self.bytes).ok_or(Error::BadCursor)?;
        let ids: BTreeMap<u64, ReplicaId> = known.iter().map(|dot| (half(dot.replica), dot.replica)).collect();
        let whole = |half: Half| {
            let unknown = |half: u64| ReplicaId::from(u128::from(half) << 64);
            half.into_iter()
                .map(|(half, counter)| (ids.get(&half).copied().unwrap_or(unknown(half)), counter))
                .collect()
        };
        Ok(Seen { context: whole(context), ahead: whole(ahead), through_ms })
    }
}

impl Said {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        rest = rest.get(HEADER_BYTES - 1..)?;
        let through_ms = read_number(&mut rest)?;
        let said = Self { through_ms, context: read_context(&mut rest)?, ahead: read_context(&mut rest)? };
        rest.is_empty().then_some(said)
    }
}

fn half(id: ReplicaId) -> u64 {
    let [first, ..] = id.as_bytes().as_chunks::<8>().0 else { return 0 };
    u64::from_be_bytes(*first)
}

fn check(payload: &[u8], cluster: &[u8; 16]) -> [u8; 4] {
    let hash = SipHasher13::new_with_key(cluster).hash(payload).to_le_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The kind is in it, for the two look alike.
fn check_of_listener(payload: &[u8], cluster: &[u8; 16]) -> [u8; 4] {
    check(&[&[OF_LISTENER], payload].concat(), cluster)
}

fn read_told(bytes: &[u8]) -> Option<Told> {
    let mut rest = bytes.strip_prefix(&[OF_LISTENER])?.get(HEADER_BYTES - 1..)?;
    let count = read_number(&mut rest)?;
    let mut told = Told::new();
    for _ in 0..count {
        let (sender, after) = rest.split_first_chunk::<16>()?;
        rest = after;
        let (sender, last) = (ReplicaId::from_bytes(*sender), (read_number(&mut rest)?, read_number(&mut rest)?));
        if told.last_key_value().is_some_and(|(before, _)| *before >= sender) {
            return None;
        }
        told.insert(sender, last);
    }
    rest.is_empty().then_some(told)
}

fn write_context(out: &mut Vec<u8>, context: &CausalContext) {
    write_number(out, context.len() as u64);
    for Dot { replica, counter } in context.iter() {
        out.extend_from_slice(&half(replica).to_be_bytes());
        write_number(out, counter);
    }
}

fn read_context(bytes: &mut &[u8]) -> Option<Half> {
    let count = usize::try_from(read_number(bytes)?).ok()?;
    // Each takes nine bytes at least: no number can ask for more memory than was sent.
    let mut half = Vec::with_capacity(count.min(bytes.len() / 9));
    for _ in 0..count {
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        let counter = read_number(bytes).filter(|&counter| counter > 0)?;
        half.push((u64::from_be_bytes(*id), counter));
    }
    half.is_sorted_by(|a, b| a.0 <= b.0).then_some(half)
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        number |= part << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: [u8; 16] = [7; 16];

    fn context(of: &[(u128, u64)]) -> CausalContext {
        of.iter().map(|&(half, counter)| (ReplicaId::from(half << 64 | 5), counter)).collect()
    }

    fn seen() -> Seen {
        let (context, ahead) = (context(&[(1, 3), (9, u64::MAX), (1 << 63, 1)]), context(&[(1, 3), (4, 300)]));
        Seen { context, ahead, through_ms: 1_700_000_000_000 }
    }

    #[test]
    fn says_what_was_shown_wherever_its_replicas_are_known() {
        let (seen, read) = (seen(), Cursor::decode(&Cursor::of(&seen(), &CLUSTER).encode()).expect("a cursor"));
        let mut known = seen.context.clone();
        known.join(&seen.ahead);
        let said = read.seen(&CLUSTER, &known).expect("of this cluster");
        assert_eq!((&said.context, said.through_ms), (&seen.context, seen.through_ms));
        assert_eq!(said.ahead, context(&[(4, 300)]));
        assert!(said.is_within(&known));
        let unknown = read.seen(&CLUSTER, &context(&[(1, 3)])).expect("of this cluster");
        assert!(!unknown.is_within(&context(&[(1, 3)])));
        assert_eq!(unknown.context.len(), 3);
    }

    #[test]
    fn of_another_cluster_or_changed_it_is_refused() {
        let cursor = Cursor::of(&seen(), &CLUSTER);
        assert!(matches!(cursor.seen(&[8; 16], &CausalContext::new()), Err(Error::BadCursor)));
        let bytes = cursor.encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            let used = Cursor::decode(&changed).and_then(|cursor| cursor.seen(&CLUSTER, &CausalContext::new()));
            assert!(used.is_err(), "byte {at}");
            assert!(Cursor::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
        assert!(Cursor::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_listener_s_is_another_than_a_watcher_s() {
        let told: Told = [(ReplicaId::from(1), (3, 2)), (ReplicaId::from(1 << 100), (u64::MAX, 1))].into();
        let cursor = Cursor::of_told(&told, &CLUSTER);
        let bytes = cursor.encode();
        let read = Cursor::decode(&bytes).expect("a cursor");
        assert_eq!(read.told(&CLUSTER).expect("of this cluster"), told);
        assert!(read.seen(&CLUSTER, &CausalContext::new()).is_err() && read.told(&[8; 16]).is_err());
        assert!(Cursor::of(&seen(), &CLUSTER).told(&CLUSTER).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(Cursor::decode(&changed).and_then(|cursor| cursor.told(&CLUSTER)).is_err(), "byte {at}");
            assert!(Cursor::decode(&bytes[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn nothing_that_was_sent_asks_for_memory_it_has_not_sent() {
        let mut bytes = vec![VERSION; HEADER_BYTES];
        write_number(&mut bytes, 0);
        write_number(&mut bytes, u64::MAX);
        assert!(Cursor::decode(&bytes).is_err());
        assert_eq!(read_number(&mut &[0xff; 10][..]), None);
        assert_eq!(read_number(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]), Some(u64::MAX));
    }
}
