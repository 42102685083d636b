//! Messages of this node, and those that arrive. Not responsible for their order: `proto::broadcast` is.

use super::Node;
use crate::crdt::{Dot, Key};
use crate::proto::broadcast::{self, Count, Delivery, Listener, Moment, Told};
use crate::proto::membership;
use crate::proto::time::Now;

impl Node {
    /// Sends a message to all nodes, this one too: each delivers it once, after all that was delivered here before. It can
    /// be had as long as the settings say.
    /// A write of the payload, and 24 bytes or so for each sender of a live message.
    pub fn broadcast(&mut self, now: Now, payload: &[u8]) -> Dot {
        debug_assert!(self.is_writable(), "whoever drives the node refuses writes while it is read-only");
        self.set_now(now);
        self.meters.broadcasts += 1;
        let (own, now_ms) = (self.map.id(), now.wall_ms);
        let dot = Dot::new(own, self.map.context().get(own) + 1);
        let count = self.next_count();
        let value = broadcast::encode(count, self.broadcasts.causes(now_ms), payload);
        let deadline = now_ms.saturating_add(self.config.event_ttl_ms);
        self.write_sys(&broadcast::message_key(dot), &value, deadline);
        // Right after the message: so the dot of the count says which is the last that it counts.
        let deadline = deadline.saturating_add(self.config.forget_member_ms);
        self.write_sys(&broadcast::count_key(own), &count.to_json(), deadline);
        self.settle();
        dot
    }

    /// Whoever holds the answer can be told of all messages that are delivered from now on; or of those that it has not
    /// been told of, here or at another node. Linear in the senders; after a cursor, in the live messages.
    pub fn listen(&mut self, now: Now, after: Option<Told>) -> Listener {
        self.set_now(now);
        Listener::new(&self.broadcasts, after)
    }

    /// What has been delivered. Costs nothing.
    pub fn broadcasts(&self) -> &Delivery {
        &self.broadcasts
    }

    fn next_count(&self) -> Count {
        let key = broadcast::count_key(self.map.id());
        let known = self.map.get(Key::sys(&key), self.now.wall_ms).and_then(Count::from_json);
        known.map_or(Count { since: self.now.wall_ms, sent: 1 }, |count| Count { sent: count.sent + 1, ..count })
    }

    fn write_sys(&mut self, key: &[u8], value: &[u8], deadline: u64) {
        self.map.put_until(Key::sys(key), value, deadline, self.now.wall_ms);
        self.on_local_write(Key::sys(key));
        self.broadcasts.note(key);
    }

    /// Before the node has written anything in this process.
    pub(super) fn take_up_broadcasts(&mut self) {
        let own = membership::key_of(self.map.id());
        let now_ms = self.now.wall_ms;
        let born_ms = self.map.read(Key::sys(&own), now_ms).map_or(now_ms, |record| record.timestamp.millis());
        self.broadcasts = Delivery::new(born_ms);
        self.broadcasts.resume(&mut self.map, now_ms);
    }

    pub(super) fn deliver(&mut self) {
        if self.broadcasts.is_due(self.map.context()) {
            let (commit, durable) = (self.next_commit(), self.durable_commit());
            let moment = Moment { now_ms: self.now.wall_ms, commit, durable };
            self.broadcasts.deliver(&mut self.map, moment);
        }
    }
}
