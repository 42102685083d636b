//! What a store's handle asks of the driver, and how it is answered. Not responsible for when: the driver is.

use super::net::Identity;
use super::storage::{Snapshot, StorageError};
use crate::crdt::{Dot, Key, Session};
use crate::proto::node::{Listing, Node, StandIn};
use crate::proto::time::Now;
use crate::{Durability, Error};
use bytes::Bytes;
use tokio::sync::oneshot;

/// A value to be written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) expires: Option<u64>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) dot: Dot,
    pub(crate) replaced: bool,
}

/// What a store's handle asks for.
pub(crate) enum Command {
    Put {
        write: Write,
        durability: Durability,
        reply: Reply<Outcome>,
    },
    PutMany {
        writes: Vec<Write>,
        reply: Reply<()>,
    },
    Broadcast {
        payload: Bytes,
        reply: Reply<Outcome>,
    },
    Delete {
        key: Bytes,
        reply: Reply<Option<Outcome>>,
    },
    AddPeer {
        address: String,
        reply: Reply<bool>,
    },
    RemovePeer {
        address_or_id: String,
        reply: Reply<bool>,
    },
    Rejoin {
        added: Vec<String>,
        dropped: Vec<String>,
        reply: Reply<()>,
    },
    Rekey {
        identity: Box<Identity>,
        reply: Reply<()>,
    },
    Disconnect {
        reply: Reply<bool>,
    },
    Reconnect {
        reply: Reply<bool>,
    },
    PutInHttpView {
        address: String,
        reply: Reply<Listing>,
    },
    DeleteFromHttpView {
        address: String,
        reply: Reply<bool>,
    },
    PullFor {
        session: Session,
    },
    /// What the driver waits for has changed.
    Look,
    StandIn {
        reply: Reply<StandIn>,
    },
    Snapshot {
        reply: Reply<Box<dyn Snapshot>>,
    },
    Leave {
        reply: Reply<()>,
    },
    Close,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Tells whoever asked, once it is known whether what was done is durable.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// When a command is answered.
pub(crate) enum Answered {
    /// When all that has happened until now is durable.
    Durable(Answer),
    /// At once.
    Now(Answer),
    /// By the keeper of the storage.
    Snapshot(Reply<Box<dyn Snapshot>>),
    /// It has been, or nobody waits for it.
    Already,
}

/// Gives a command to the machine. `fault` is why nothing can be written, if so.
pub(crate) fn execute(node: &mut Node, now: Now, command: Command, fault: Option<&StorageError>) -> Answered {
    match (command, fault) {
        (Command::Put { write, durability, reply }, None) => put(node, now, &write, durability, reply),
        (Command::PutMany { writes, reply }, None) => {
            node.put_batch(now, writes.iter().map(|write| (Key::usr(&write.key), &write.value[..], write.expires)));
            Answered::Durable(answer(reply, ()))
        }
        (Command::Delete { key, reply }, None) => {
            let dot = node.delete(now, Key::usr(&key));
            Answered::Durable(answer(reply, dot.map(|dot| Outcome { dot, replaced: true })))
        }
        (Command::Broadcast { payload, reply }, None) => {
            let dot = node.broadcast(now, &payload);
            Answered::Durable(answer(reply, Outcome { dot, replaced: false }))
        }
        (Command::Leave { reply }, None) => {
            node.leave(now);
            Answered::Durable(answer(reply, ()))
        }
        (Command::AddPeer { address, reply }, fault) => {
            let new = node.add_peer(now, &address);
            durable_unless(fault, answer(reply, new))
        }
        (Command::RemovePeer { address_or_id, reply }, fault) => {
            let found = node.remove_peer(now, &address_or_id);
            durable_unless(fault, answer(reply, found))
        }
        (Command::Rejoin { added, dropped, reply }, fault) => {
            node.rejoin(now, &added, &dropped);
            durable_unless(fault, answer(reply, ()))
        }
        (Command::Rekey { identity, reply }, fault) => {
            node.rekey(now, identity.key_ids().to_vec());
            durable_unless(fault, answer(reply, ()))
        }
        (Command::Disconnect { reply }, fault) => {
            let news = node.disconnect(now);
            durable_unless(fault, answer(reply, news))
        }
        (Command::Reconnect { reply }, fault) => {
            let news = node.reconnect(now);
            durable_unless(fault, answer(reply, news))
        }
        (Command::PutInHttpView { address, reply }, None) => {
            let listing = node.put_in_http_view(now, &address);
            Answered::Durable(answer(reply, listing))
        }
        (Command::DeleteFromHttpView { address, reply }, None) => {
            let found = node.delete_from_http_view(now, &address);
            Answered::Durable(answer(reply, found))
        }
        (Command::PullFor { session }, _) => {
            node.pull_for(now, &session);
            Answered::Already
        }
        (Command::StandIn { reply }, None) => match node.stand_in(now) {
            Some(stand_in) => Answered::Durable(answer(reply, stand_in)),
            None => Answered::Already,
        },
        (Command::Put { reply, .. } | Command::Broadcast { reply, .. }, Some(fault)) => refuse(reply, fault),
        (Command::PutMany { reply, .. } | Command::Leave { reply }, Some(fault)) => refuse(reply, fault),
        (Command::Delete { reply, .. }, Some(fault)) => refuse(reply, fault),
        (Command::StandIn { reply }, Some(fault)) => refuse(reply, fault),
        (Command::PutInHttpView { reply, .. }, Some(fault)) => refuse(reply, fault),
        (Command::DeleteFromHttpView { reply, .. }, Some(fault)) => refuse(reply, fault),
        (Command::Snapshot { reply }, _) => Answered::Snapshot(reply),
        (Command::Look | Command::Close, _) => Answered::Already,
    }
}

fn put(node: &mut Node, now: Now, write: &Write, durability: Durability, reply: Reply<Outcome>) -> Answered {
    let key = Key::usr(&write.key);
    let replaced = node.map().get(key, now.wall_ms).is_some();
    let dot = node.put(now, key, &write.value, write.expires);
    let answer = answer(reply, Outcome { dot, replaced });
    match durability {
        Durability::Eventual if node.is_reserved(dot) => Answered::Now(answer),
        Durability::Eventual | Durability::Immediate => Answered::Durable(answer),
    }
}

/// What concerns peers works without a disk too; it is remembered when that works again.
fn durable_unless(fault: Option<&StorageError>, answer: Answer) -> Answered {
    if fault.is_some() { Answered::Now(answer) } else { Answered::Durable(answer) }
}

fn answer<T: Send + 'static>(reply: Reply<T>, value: T) -> Answer {
    // Whoever asked may have given up; the outcome stands.
    Box::new(move |durable| {
        drop(reply.send(durable.map(|()| value).map_err(|source| Error::NotDurable { source })));
    })
}

fn refuse<T>(reply: Reply<T>, fault: &StorageError) -> Answered {
    drop(reply.send(Err(Error::ReadOnly { source: fault.clone() })));
    Answered::Already
}
