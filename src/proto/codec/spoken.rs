//! What one side of a link has said of contexts on its control channel, and at the same time what the other has heard.
//! Not responsible for what either knows: that is the link's `known`.
//!
//! Pushes and contexts are told as changes of it, and replicas go by their place in it, so that a push costs the same
//! among three replicas and among three thousand. The channel is ordered and loses nothing; so the two ends have the same.
//! Should they ever not, by a mistake of ours, every context from then on would be wrong, and `R` with it: each change
//! therefore carries two bytes of a sum of what it leads to, and is refused if they differ.

use super::{Result, bounded};
use crate::crdt::{CausalContext, Differing, ReplicaId};
use crate::proto::message::Hello;
use crate::proto::wire::{DecodeError, Reader, Writer};
use siphasher::sip::SipHasher13;

/// Replicas of the context and of the bound together: what one side says must not fill the other's memory.
const CLOCKS_MAX: usize = 1 << 20;

/// One direction of a link: what was said on its control channel. Begins empty, or at what both hellos agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    context: CausalContext,
    bound: CausalContext,
    /// The last timestamp that was told, in milliseconds.
    millis: u64,
    sum: u64,
    /// How many bytes of the last message said contexts.
    contexts_bytes: usize,
}

/// Contexts as they will have been said, once the message is complete.
#[derive(Debug, Default)]
pub(super) struct Saying {
    context: Option<CausalContext>,
    bound: Option<CausalContext>,
    sum: u64,
}

impl Spoken {
    /// Where both directions begin once both hellos are heard. `context` and `bound` are those of this side at the moment
    /// of its hello: where the sums of both hellos are equal, the other side had the same, and nothing of it is said again.
    pub fn after_hellos(sent: &Hello, received: &Hello, context: &CausalContext, bound: &CausalContext) -> Self {
        let mut spoken = Self::default();
        if sent.audit.context != received.audit.context {
            return spoken;
        }
        let mut saying = Saying { context: Some(context.clone()), ..Saying::default() };
        if sent.bound == received.bound {
            saying.bound = Some(bound.clone());
        }
        saying.sum = spoken.sum_with(&saying);
        spoken.take(saying, 0);
        spoken
    }

    /// The context that was said last.
    pub fn context(&self) -> &CausalContext {
        &self.context
    }

    /// The bound that was said last.
    pub fn bound(&self) -> &CausalContext {
        &self.bound
    }

    /// How many bytes of the last message on the channel said contexts.
    pub fn contexts_bytes(&self) -> usize {
        self.contexts_bytes
    }

    /// What was said is mostly what this side has: kept in common with it, comparing the two costs what differs.
    pub(crate) fn share(&mut self, context: &CausalContext, bound: &CausalContext) {
        self.context.share(context);
        self.bound.share(bound);
    }

    pub(super) fn millis(&self) -> u64 {
        self.millis
    }

    /// The message is complete: what it said has been said.
    pub(super) fn take(&mut self, saying: Saying, contexts_bytes: usize) {
        self.sum = saying.sum;
        self.contexts_bytes = contexts_bytes;
        if let Some(context) = saying.context {
            self.context = context;
        }
        if let Some(bound) = saying.bound {
            self.bound = bound;
        }
    }

    pub(super) fn take_millis(&mut self, millis: Option<u64>) {
        self.millis = millis.unwrap_or(self.millis);
    }

    /// A message without contexts.
    pub(super) fn say_nothing(&mut self) {
        self.contexts_bytes = 0;
    }

    /// The sum of what will have been said.
    fn sum_with(&self, saying: &Saying) -> u64 {
        let context = saying.context.as_ref().map_or(0, |new| change_of_sum(0, self.context.differing(new)));
        let bound = saying.bound.as_ref().map_or(0, |new| change_of_sum(1, self.bound.differing(new)));
        self.sum.wrapping_add(context).wrapping_add(bound)
    }
}

/// Writes and reads what a message says of contexts, and at the end the sum of it.
impl Spoken {
    pub(super) fn say(&self, writer: &mut Writer, context: &CausalContext, bound: Option<&CausalContext>) -> Saying {
        let mut saying = Saying { context: Some(context.clone()), bound: bound.cloned(), sum: 0 };
        saying.sum = self.sum_with(&saying);
        writer.bytes.extend_from_slice(&(saying.sum as u16).to_le_bytes());
        saying
    }

    pub(super) fn hear(
        &self,
        reader: &mut Reader<'_>,
        context: &CausalContext,
        bound: Option<&CausalContext>,
    ) -> Result<Saying> {
        bounded("clocks of what was said", context.len() + bound.unwrap_or(&self.bound).len(), CLOCKS_MAX)?;
        let mut saying = Saying { context: Some(context.clone()), bound: bound.cloned(), sum: 0 };
        saying.sum = self.sum_with(&saying);
        let said = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
        if said != saying.sum as u16 {
            return Err(DecodeError::Invalid("a change of another context than was said before"));
        }
        Ok(saying)
    }
}

fn change_of_sum(which: u8, changes: impl Iterator<Item = Differing>) -> u64 {
    let terms = changes.map(|change| {
        let term = |counter| if counter == 0 { 0 } else { term(which, change.replica, counter) };
        term(change.theirs).wrapping_sub(term(change.ours))
    });
    terms.fold(0, u64::wrapping_add)
}

/// SipHash-1-3 under the key 0: against mistakes, not against anybody.
fn term(which: u8, replica: ReplicaId, counter: u64) -> u64 {
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(replica.as_bytes());
    bytes[16..24].copy_from_slice(&counter.to_le_bytes());
    bytes[24] = which;
    SipHasher13::new_with_key(&[0; 16]).hash(&bytes)
}
