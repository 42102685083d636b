//! The node's sample of the others: who comes into it by having been met, and who goes because the contact failed. Not
//! responsible for how it is kept and shuffled: `membership/view.rs` is.

use super::Node;
use crate::crdt::ReplicaId;
use crate::proto::config::NodeConfig;
use crate::proto::membership::{Contact, Descriptor};
use crate::proto::message::Hello;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// What is drawn. Two processes that draw the same number at their start have different ids.
pub(super) fn rng(config: &NodeConfig) -> StdRng {
    let id = u128::from_be_bytes(*config.replica.as_bytes());
    StdRng::seed_from_u64(config.boot ^ (id as u64) ^ ((id >> 64) as u64))
}

impl Node {
    /// The peers that it could ask now, in the order of their ids. Linear in it.
    pub fn view(&self) -> Vec<Descriptor<Contact>> {
        let mut held = self.view.descriptors().to_vec();
        held.sort_by_key(|descriptor| descriptor.peer.id);
        held
    }

    /// A peer has said itself that it is there, and where it listens. A leaf is nobody to ask for a link.
    pub(super) fn on_met(&mut self, hello: &Hello) {
        let contact = Contact { id: hello.replica, address: hello.address.clone() };
        if contact.is_usable() && !hello.is_leaf() {
            self.view.insert(contact);
        }
    }

    /// A peer is gone, as far as this node can tell, or is not wanted.
    pub(super) fn on_contact_failed(&mut self, id: ReplicaId) {
        self.view.evict(id);
    }
}
