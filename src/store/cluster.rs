//! The cluster as this node sees it, and how the node is doing. Not responsible for what nodes say to each other.

use super::{Store, millis};
use crate::Error;
use crate::crdt::ReplicaId;
use crate::proto::ledger::{Ledger, Purpose};
use crate::proto::link::{LinkId, LinkMode as NodeLinkMode};
use crate::proto::membership::{Contact, Descriptor};
#[cfg(feature = "cli")]
use crate::proto::node::{Difference, Side};
use crate::runtime::command::Command;
use crate::runtime::net::{Keys, LinkStats, Volume};
use crate::status::{AuditStatus, BytesStatus, ContextStatus, DotsStatus, LinkStatus, Status, StorageStatus};
use crate::types::{LinkMode, Member, Peer, PeerState, ViewedPeer};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

impl Store {
    /// This node's replica. Costs nothing.
    pub fn id(&self) -> ReplicaId {
        self.0.shared.node().map().id()
    }

    /// The address that it listens on for links. Costs nothing.
    pub fn listen_addr(&self) -> SocketAddr {
        self.0.listen
    }

    /// All members of which there is a record, this node among them, in the order of their ids.
    /// Reads each record: linear in the members, times the links.
    pub fn members(&self) -> Vec<Member> {
        let now = self.0.shared.clock.now().instant;
        let node = self.0.shared.node();
        let (own, links) = (node.map().id(), node.links());
        let heard = |id| links.iter().find(|link| link.id == id).map(|link| millis(now.since(link.last_heard)));
        let of = |member: crate::proto::membership::Member| Member {
            id: member.id,
            name: member.record.name,
            addresses: member.record.addresses,
            http: member.record.http,
            protocol: member.record.protocol,
            incarnation: member.record.incarnation,
            keys: member.record.keys,
            state: member.record.state,
            is_self: member.id == own,
            last_contact_ms: heard(member.id),
        };
        node.members().into_iter().map(of).collect()
    }

    /// The addresses that are dialled, and who has dialled this node. Linear in them.
    pub fn peers(&self) -> Vec<Peer> {
        let now = self.0.shared.clock.now().instant;
        let of = |peer: crate::proto::node::PeerInfo| Peer {
            address: peer.address,
            id: peer.id,
            state: if peer.link.is_some() { PeerState::Connected } else { PeerState::Connecting },
            link: link_mode(peer.mode),
            last_contact_ms: peer.last_heard.map(|heard| millis(now.since(heard))),
        };
        self.0.shared.node().peers().into_iter().map(of).collect()
    }

    /// The view: a random few of the other nodes, as fresh as they are told of, in the order of their ids.
    /// Linear in it: 30 as a rule.
    pub fn view(&self) -> Vec<ViewedPeer> {
        let of = |descriptor: Descriptor<Contact>| {
            let Descriptor { peer: Contact { id, address }, age } = descriptor;
            ViewedPeer { id, address, age }
        };
        self.0.shared.node().view().into_iter().map(of).collect()
    }

    /// Dials an address (`HOST:PORT`) from now on, and lets it in again if it was removed. Whether it is new.
    /// Waits for the disk, where that works: it is remembered. Does not wait for a link. If the future is dropped, it
    /// is done or not.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAddress`], or the store is closed.
    pub async fn add_peer(&self, address: &str) -> Result<bool, Error> {
        let invalid = |e: Error| Error::InvalidAddress { address: address.to_owned(), problem: e.to_string() };
        crate::config::check_address("address", address).map_err(invalid)?;
        let address = address.to_owned();
        self.ask(|reply| Command::AddPeer { address, reply }).await
    }

    /// Closes the link to a peer, given by address or replica id, and bars both here until the address is added again.
    /// Removes neither data nor membership. Whether there was such a peer.
    /// Waits for the disk as [`add_peer`](Self::add_peer) does, and is as safe to drop.
    ///
    /// # Errors
    ///
    /// The store is closed.
    pub async fn remove_peer(&self, address_or_id: &str) -> Result<bool, Error> {
        let address_or_id = address_or_id.to_owned();
        self.ask(|reply| Command::RemovePeer { address_or_id, reply }).await
    }

    /// The addresses to join have changed: dials those added, and all that is behind names, and those dropped no longer, unless they were given by hand
    /// or are a member's. Links that stand, stay.
    /// Waits for the disk as [`add_peer`](Self::add_peer) does. If the future is dropped, it is done or not.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`], and nothing changed; or the store is closed.
    pub async fn rejoin(&self, added: Vec<String>, dropped: Vec<String>) -> Result<(), Error> {
        added.iter().try_for_each(|address| crate::config::check_address("join", address))?;
        self.0.discovery.give(added, &dropped, &self.0.commands).await
    }

    /// Other keys from now on: secrets while they are being rotated, or a renewed certificate. Links stay up, whatever key they
    /// were made with, as long as that is accepted; those whose key is not any more are made anew, without a gap where the
    /// peer has a key that is. Makes a certificate for each secret: milliseconds. Waits for the disk as
    /// [`add_peer`](Self::add_peer) does, and is as safe to drop.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConfig`] if they cannot be used, or are of another cluster, and nothing changed; or the store is closed.
    pub async fn rekey(&self, keys: impl Into<Keys>) -> Result<(), Error> {
        let keys = keys.into();
        let cluster = self.0.shared.node().config().cluster;
        super::opening::check_cluster(&keys, cluster, "the node is")?;
        let identity = Box::new(super::opening::identity(&keys, self.id())?);
        self.ask(|reply| Command::Rekey { identity, reply }).await
    }

    /// How the node is doing. Linear in the links, and in the entries that are pending; not in the keys.
    pub fn status(&self) -> Status {
        let node = self.0.shared.node();
        let (map, counts, audit, received) = (node.map(), node.map().counts(), node.map().audit(), node.received());
        let links: Vec<LinkStatus> = node.links().into_iter().filter_map(|link| self.link_status(link)).collect();
        let replicas = map.context().len() as u64;
        Status {
            id: map.id().to_string(),
            name: node.config().name.clone(),
            cluster: format!("{:032x}", u128::from_be_bytes(node.config().cluster)),
            certificate_expires: self.0.shared.expires().map(unix_ms),
            keys: counts.keys as u64,
            tombstones: counts.tombstones as u64,
            siblings: counts.siblings as u64,
            context: ContextStatus { replicas, intervals: replicas },
            audit: AuditStatus { context: format!("{:016x}", audit.context), state: format!("{:016x}", audit.state) },
            pending: map.pending() as u64,
            bytes: bytes_status(node.ledgers(), self.0.shared.meter.sent(), self.0.shared.meter.received()),
            links,
            dots: DotsStatus { new: received.new, known: received.known, void: received.void },
            storage: self.storage_status(),
        }
    }

    /// What another node needs to know of this one to say how the two differ. See [`difference`](Self::difference).
    #[cfg(feature = "cli")]
    pub(crate) fn side(&self) -> Side {
        self.0.shared.node().side()
    }

    /// What another node, which has said this of itself, lacks of what this one has. Costs what differs.
    #[cfg(feature = "cli")]
    pub(crate) fn difference(&self, theirs: &Side) -> Result<Difference, &'static str> {
        self.0.shared.node_mut().difference(theirs)
    }

    fn storage_status(&self) -> StorageStatus {
        let Some(disk) = &self.0.shared.disk else {
            return StorageStatus { kind: "memory".to_owned(), ..StorageStatus::default() };
        };
        StorageStatus {
            kind: disk.kind.to_owned(),
            directory: Some(disk.directory.display().to_string()),
            bytes: Some(disk.bytes()),
            problem: disk.fault().map(|fault| fault.to_string()),
        }
    }

    fn link_status(&self, link: crate::proto::node::LinkInfo) -> Option<LinkStatus> {
        let LinkStats { rtt, sent, received, .. } = self.link_stats(link.link)?;
        Some(LinkStatus {
            id: link.id.to_string(),
            address: link.address,
            mode: link_mode(Some(link.mode)).name().to_owned(),
            active: link.active,
            rtt_ms: rtt.as_secs_f64() * 1000.0,
            lag: link.lag,
            bytes: bytes_status(link.ledgers, sent, received),
        })
    }

    fn link_stats(&self, link: LinkId) -> Option<LinkStats> {
        self.0.shared.links().get(&link).map(crate::runtime::net::LinkHandle::stats)
    }

    /// Whether it may serve: it has synced with a peer, or has nobody to sync with. If not, why.
    /// A look; waits for nothing.
    ///
    /// # Errors
    ///
    /// The reason, in words.
    pub fn ready(&self) -> Result<(), String> {
        let node = self.0.shared.node();
        if node.is_synced_once() { Ok(()) } else { Err("no sync with any of the addresses to join yet".to_owned()) }
    }
}

fn unix_ms(moment: SystemTime) -> u64 {
    millis(moment.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// By purpose: what the node knows of its frames, and all else that went over the wire.
pub(super) fn bytes_status(ledgers: [Ledger; 2], sent: Volume, received: Volume) -> BytesStatus {
    let [sent, received] = [(ledgers[0], sent), (ledgers[1], received)].map(|(ledger, volume)| {
        let transport = volume.wire_bytes.saturating_sub(ledger.frames());
        let purposes = Purpose::ALL.into_iter().map(|purpose| (purpose.name(), ledger.get(purpose)));
        purposes.chain([("transport", transport)]).map(|(name, bytes)| (name.to_owned(), bytes)).collect()
    });
    BytesStatus { sent, received }
}

fn link_mode(mode: Option<NodeLinkMode>) -> LinkMode {
    match mode {
        Some(NodeLinkMode::Eager) => LinkMode::Eager,
        Some(NodeLinkMode::Lazy) => LinkMode::Lazy,
        None => LinkMode::None,
    }
}

impl LinkMode {
    /// As interfaces write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Lazy => "lazy",
            Self::None => "none",
        }
    }
}
