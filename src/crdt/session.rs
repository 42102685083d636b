//! Causal sessions: what a client has seen, small enough to be carried in a header. Not responsible for waiting until a
//! replica has it.
//!
//! A session is a causal context in which a replica goes by the first half of its id. As bytes it is
//!
//! ```text
//!  u8 version (1) | u32 check | entries: u64 first half of a replica id, varint counter, …
//! ```
//!
//! in the order of ids, to the end; numbers of fixed size are big-endian. The check is keyed with the cluster's id: a
//! token that was cut off, or is another cluster's, is told apart from one that a replica has yet to reach.

use super::{AuditKey, CausalContext, ReplicaId};

const VERSION: u8 = 1;
/// Version and check.
const HEAD_BYTES: usize = 5;
/// No counter reaches it: see `proto-docs/wire.md`.
const COUNTER_END: u64 = 1 << 56;

/// What a client has seen: wherever that is asked for, the answer includes it all. Opaque.
///
/// Two of 1,000 random ids have the same first half once in 10^13 clusters; the replicas are then taken for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Sorted by the first; no counter is 0.
    entries: Vec<(u64, u64)>,
}

/// Bytes that are no session of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A later release has made it, or it is something else.
    #[error("it is of an unknown version")]
    Version,
    /// It was made by another cluster, or is not whole.
    #[error("it is no session of this cluster, or not a whole one")]
    Check,
}

impl Session {
    /// Whether a replica with this context may serve it. Linear in the replicas of both.
    pub fn is_within(&self, context: &CausalContext) -> bool {
        let mut here = context.iter().map(|dot| (prefix(dot.replica), dot.counter)).peekable();
        self.entries.iter().all(|&(id, counter)| {
            while here.next_if(|at| at.0 < id).is_some() {}
            // Of ids with the same first half the greatest counter counts.
            let mut greatest = 0;
            while let Some(at) = here.next_if(|at| at.0 == id) {
                greatest = greatest.max(at.1);
            }
            counter <= greatest
        })
    }

    /// What it says beyond a context that one dot stands for: whoever has that dot has all of the context.
    /// Linear in both, times a logarithm.
    #[must_use]
    pub fn beyond(&self, context: &CausalContext, replica: ReplicaId) -> Self {
        let own = prefix(replica);
        let covered = Self::from(context);
        let known = |id| covered.entries.binary_search_by_key(&id, |e| e.0).map_or(0, |at| covered.entries[at].1);
        let keep = |&&(id, counter): &&(u64, u64)| id == own || counter > known(id);
        let mut rest = Self { entries: self.entries.iter().filter(keep).copied().collect() };
        rest.raise(own, known(own));
        rest
    }

    fn raise(&mut self, id: u64, counter: u64) {
        match self.entries.binary_search_by_key(&id, |e| e.0) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.max(counter),
            Err(at) => self.entries.insert(at, (id, counter)),
        }
    }

    /// Its bytes, for the cluster that the key is of. Linear: 9 bytes or so for each replica.
    pub fn encode(&self, key: AuditKey) -> Vec<u8> {
        let mut bytes = vec![VERSION, 0, 0, 0, 0];
        for &(id, counter) in &self.entries {
            bytes.extend_from_slice(&id.to_be_bytes());
            put_varint(&mut bytes, counter);
        }
        let check = key.of_token(&bytes[HEAD_BYTES..]).to_be_bytes();
        bytes[1..HEAD_BYTES].copy_from_slice(&check);
        bytes
    }

    /// The session from its bytes. Linear.
    ///
    /// # Errors
    ///
    /// They are something else, or of another cluster.
    pub fn decode(bytes: &[u8], key: AuditKey) -> Result<Self, SessionError> {
        if bytes.first() != Some(&VERSION) {
            return Err(SessionError::Version);
        }
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(SessionError::Check)?;
        if head[1..] != key.of_token(rest).to_be_bytes() {
            return Err(SessionError::Check);
        }
        let mut entries: Vec<(u64, u64)> = Vec::new();
        while !rest.is_empty() {
            let entry = take_entry(&mut rest).filter(|entry| entries.last().is_none_or(|last| last.0 < entry.0));
            entries.push(entry.ok_or(SessionError::Check)?);
        }
        Ok(Self { entries })
    }
}

impl From<&CausalContext> for Session {
    fn from(context: &CausalContext) -> Self {
        let mut entries: Vec<(u64, u64)> = Vec::with_capacity(context.len());
        for dot in context.iter() {
            let id = prefix(dot.replica);
            match entries.last_mut().filter(|last| last.0 == id) {
                Some(last) => last.1 = last.1.max(dot.counter),
                None => entries.push((id, dot.counter)),
            }
        }
        Self { entries }
    }
}

fn prefix(replica: ReplicaId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *replica.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Seven bits a byte, the lowest first.
fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_entry(rest: &mut &[u8]) -> Option<(u64, u64)> {
    let (id, after) = rest.split_first_chunk::<8>()?;
    let end = after.iter().take(8).position(|byte| byte & 0x80 == 0)?;
    let (varint, after) = after.split_at(end + 1);
    let counter = varint.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    *rest = after;
    let minimal = end == 0 || varint[end] != 0;
    (minimal && (1..COUNTER_END).contains(&counter)).then_some((u64::from_be_bytes(*id), counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn replica(number: u64) -> ReplicaId {
        ReplicaId::from(u128::from(number) << 64)
    }

    fn context(clocks: &[(u64, u64)]) -> CausalContext {
        clocks.iter().map(|&(id, counter)| (replica(id), counter)).collect()
    }

    fn contexts() -> impl Strategy<Value = CausalContext> {
        proptest::collection::btree_map(0..6u64, 0..COUNTER_END, 0..6)
            .prop_map(|clocks| context(&clocks.into_iter().collect::<Vec<_>>()))
    }

    proptest! {
        #[test]
        fn it_is_within_what_includes_it_and_its_bytes_give_it_back(seen in contexts(), here in contexts()) {
            let (session, key) = (Session::from(&seen), AuditKey::new([7; 16]));
            prop_assert_eq!(session.is_within(&here), here.includes(&seen));
            prop_assert_eq!(Session::decode(&session.encode(key), key), Ok(session));
        }

        #[test]
        fn what_stands_in_for_a_part_loses_nothing(seen in contexts(), part in contexts(), here in contexts()) {
            let part = { let mut part = part; part.extend_to(super::super::Dot::new(replica(2), 1)); part };
            let rest = Session::from(&seen).beyond(&part, replica(2));
            // Closure: whoever has the dot that stands for the part has the part.
            let mut closed = here.clone();
            if here.get(replica(2)) >= part.get(replica(2)) {
                closed.join(&part);
            }
            if rest.is_within(&closed) {
                prop_assert!(closed.includes(&seen) && closed.includes(&part));
            }
            let mut both = seen.clone();
            both.join(&part);
            prop_assert!(rest.is_within(&both));
        }

        #[test]
        fn any_bytes_are_a_session_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let key = AuditKey::default();
            if let Ok(session) = Session::decode(&bytes, key) {
                prop_assert_eq!(session.encode(key), bytes);
            }
        }
    }

    #[test]
    fn of_one_half_that_two_ids_share_the_greatest_counts() {
        let shared: CausalContext = [(ReplicaId::from(1), 3), (ReplicaId::from(2), 5)].into_iter().collect();
        assert!(Session::from(&shared).is_within(&shared));
        assert!(!Session::from(&shared).is_within(&[(ReplicaId::from(1), 4)].into_iter().collect()));
    }

    #[test]
    fn a_token_is_of_one_cluster_and_whole() {
        let (ours, theirs) = (AuditKey::new([1; 16]), AuditKey::new([2; 16]));
        let bytes = Session::from(&context(&[(1, 300), (2, 1)])).encode(ours);
        assert_eq!(bytes.len(), HEAD_BYTES + 10 + 9);
        assert_eq!(Session::decode(&bytes, theirs), Err(SessionError::Check));
        assert_eq!(Session::decode(&bytes[..bytes.len() - 9], ours), Err(SessionError::Check));
        assert_eq!(Session::decode(&[], ours), Err(SessionError::Version));
        assert_eq!(Session::decode(&[2, 0, 0, 0, 0], ours), Err(SessionError::Version));
    }

    #[test]
    fn what_is_rightly_keyed_and_yet_no_session_is_refused() {
        let key = AuditKey::default();
        let keyed = |body: &[u8]| [&[VERSION], &key.of_token(body).to_be_bytes()[..], body].concat();
        let entry = |id: u64, counter: &[u8]| [&id.to_be_bytes()[..], counter].concat();
        let refused = [
            entry(1, &[0]),                                                 // a counter of 0
            entry(1, &[0x80]),                                              // no end
            entry(1, &[0x81, 0]),                                           // longer than need be
            entry(1, &[0xff; 9]),                                           // too large
            entry(1, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), // 2^56
            [entry(2, &[1]), entry(1, &[1])].concat(),                      // out of order
            [entry(1, &[1]), entry(1, &[2])].concat(),                      // twice
        ];
        for body in refused {
            assert_eq!(Session::decode(&keyed(&body), key), Err(SessionError::Check), "{body:?}");
        }
        assert!(Session::decode(&keyed(&entry(1, &[1])), key).is_ok());
    }
}
