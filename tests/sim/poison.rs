//! Peers that break the protocol. Nothing they send may stop a node, or change its map by a frame that does not decode.

use crate::dice::for_each_seed;
use crate::world::{START, id};
use bytes::Bytes;
use std::collections::BTreeSet;
use tidings::crdt::Retention;
use tidings::proto::codec;
use tidings::proto::config::NodeConfig;
use tidings::proto::link::{CONTROL, LinkId};
use tidings::proto::message::{Begin, Hello, Message};
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::{Instant, Now};
use tidings::{Key, OrMap};

const LINK: LinkId = LinkId(1);

fn now() -> Now {
    Now { instant: Instant::from_micros(0), wall_ms: START }
}

/// A node with some state, and a peer with other state that has said hello to it.
fn victim() -> Node {
    let mut node = Node::new(NodeConfig::new(id(0)), now());
    for key in [b"kettle", b"mirror"] {
        node.put(now(), Key::usr(key), b"on", None);
    }
    link_up(&mut node, false);
    node
}

fn hello(map: &OrMap) -> Bytes {
    let hello = Hello {
        cluster: [0; 16],
        replica: id(1),
        boot: 5,
        name: "peer".into(),
        address: "y".into(),
        audit: map.audit(),
        bound: 0,
        ask: tidings::proto::message::Ask::Active,
        features: 0,
    };
    codec::encode(&Message::Hello(hello), None)
}

/// What the victim hears of an honest peer, in order.
#[derive(Clone, Debug)]
struct Heard {
    channel: u64,
    frame: Bytes,
    /// A chunk can only be read with the beginning of its pull.
    begun: Option<Begin>,
    /// Before it, the link was lost, and there is a new one.
    anew: bool,
}

/// All that the two exchange in a sync both ways, then after the link was lost, while the peer deletes and truncates; and
/// a push at the end.
fn real_frames(chunk_entries: usize) -> Vec<Heard> {
    let mut config = NodeConfig::new(id(1));
    config.boot = 5;
    config.chunk_entries = chunk_entries;
    config.retention = Retention { keep_ms: 0, count_max: 0, spare_ms: 0 };
    let mut peer = Node::new(config, now());
    let mut victim = victim();
    peer.put(now(), Key::usr(b"kettle"), b"off", Some(START + 50_000));
    peer.put(now(), Key::usr(b"nail"), b"rusty", None);
    peer.put(now(), Key::usr(b"lamp"), b"dim", None);
    peer.delete(now(), Key::usr(b"lamp"));
    let mut heard = Vec::new();
    for anew in [false, true] {
        let connected = Input::Connected {
            link: LINK,
            address: "v".into(),
            dialed: false,
            identity: Some(id(0)),
            key: tidings::proto::KeyId::default(),
        };
        if anew {
            peer.handle(now(), Input::Disconnected { link: LINK });
            peer.delete(now(), Key::usr(b"nail"));
            let later = Now { instant: Instant::from_micros(6_000_000), ..now() };
            peer.handle(later, Input::Timeout);
            link_up(&mut victim, true);
        }
        peer.handle(now(), connected);
        talk(&mut peer, &mut victim, anew, &mut heard);
    }
    peer.put(now(), Key::usr(b"kettle"), b"late", None);
    talk(&mut peer, &mut victim, false, &mut heard);
    heard
}

/// Until both are silent.
fn talk(peer: &mut Node, victim: &mut Node, mut anew: bool, heard: &mut Vec<Heard>) {
    for _ in 0..60 {
        let (to_victim, to_peer) = (frames_of(peer), frames_of(victim));
        for (channel, frame) in to_victim {
            let (snapshot, bound) = (peer.map().context().clone(), peer.map().truncated().clone());
            let begun = (channel != CONTROL).then_some(Begin { snapshot, bound, catch_up: false });
            heard.push(Heard { channel, frame: frame.clone(), begun, anew: std::mem::take(&mut anew) });
            victim.handle(now(), Input::Frame { link: LINK, channel, frame });
            peer.handle(now(), Input::Sent { link: LINK, channel });
        }
        for (channel, frame) in to_peer {
            peer.handle(now(), Input::Frame { link: LINK, channel, frame });
            victim.handle(now(), Input::Sent { link: LINK, channel });
        }
    }
}

fn link_up(node: &mut Node, anew: bool) {
    if anew {
        node.handle(now(), Input::Disconnected { link: LINK });
    }
    node.handle(
        now(),
        Input::Connected {
            link: LINK,
            address: "x".into(),
            dialed: true,
            identity: Some(id(1)),
            key: tidings::proto::KeyId::default(),
        },
    );
}

/// A node that has heard so much.
fn after(heard: &[Heard], next: Option<&Heard>) -> Node {
    let mut node = victim();
    for one in heard {
        hear(&mut node, one);
    }
    if next.is_some_and(|next| next.anew) {
        link_up(&mut node, true);
    }
    while node.poll_output().is_some() {}
    node
}

fn hear(node: &mut Node, one: &Heard) {
    if one.anew {
        link_up(node, true);
    }
    node.handle(now(), Input::Frame { link: LINK, channel: one.channel, frame: one.frame.clone() });
}

fn frames_of(node: &mut Node) -> Vec<(u64, Bytes)> {
    let outputs = std::iter::from_fn(|| node.poll_output());
    outputs
        .filter_map(|output| match output {
            Output::Send { channel, frame, .. } => Some((channel, frame)),
            _ => None,
        })
        .collect()
}

fn is_closed(node: &mut Node) -> bool {
    std::iter::from_fn(|| node.poll_output()).any(|output| matches!(output, Output::Close { .. }))
}

fn state(node: &Node) -> (tidings::crdt::Audit, tidings::CausalContext, tidings::CausalContext, usize) {
    let map = node.map();
    (map.audit(), map.context().clone(), map.truncated().clone(), map.pending())
}

/// A frame that does not decode closes the link and changes nothing; nothing at all stops the node.
fn feed(node: &mut Node, channel: u64, frame: Bytes, begun: Option<&Begin>) {
    let decodes = codec::decode(&frame, begun).is_ok();
    let before = state(node);
    node.handle(now(), Input::Frame { link: LINK, channel, frame: frame.clone() });
    let closed = is_closed(node);
    if closed {
        assert_eq!(before, state(node), "a frame that broke the protocol changed the map: {frame:?}");
    }
    // On channels of pulls that are over, frames are not even read.
    if !decodes && channel == CONTROL {
        assert!(closed, "a frame that does not decode was passed over: {frame:?}");
        let after = Input::Frame { link: LINK, channel, frame: hello(node.map()) };
        node.handle(now(), after);
        assert_eq!(before, state(node), "a closed link is still listened to");
    }
    let dot = node.put(now(), Key::usr(b"after"), b"still here", None);
    assert!(node.map().is_live(dot));
}

#[test]
fn poison_message_with_any_byte_changed() {
    let mut fed = 0;
    for chunk_entries in [1, 100] {
        let frames = real_frames(chunk_entries);
        let kinds: BTreeSet<u8> = frames.iter().map(|one| one.frame[0]).collect();
        assert!(kinds.is_superset(&[0, 3, 5, 6, 7, 9, 10].into()), "the frames are of too few kinds: {kinds:?}");
        for (i, Heard { channel, frame, begun, .. }) in frames.iter().enumerate() {
            for position in 0..frame.len() {
                for change in [1, 3, 0x80, 0xff, 0x10] {
                    let mut node = after(&frames[..i], Some(&frames[i]));
                    let mut bytes = frame.to_vec();
                    bytes[position] ^= change;
                    feed(&mut node, *channel, bytes.into(), begun.as_ref());
                    // What it now has must not stop it later either.
                    frames[i + 1..].iter().for_each(|one| hear(&mut node, one));
                    fed += 1;
                }
            }
        }
    }
    eprintln!("{fed} poisoned frames");
}

#[test]
fn poison_message_of_random_bytes_or_cut_short() {
    let frames = real_frames(1);
    for_each_seed(20_000, |dice| {
        let mut node = after(&frames[..dice.below(frames.len() + 1)], None);
        let Heard { channel, frame, begun, .. } = dice.pick(&frames).clone();
        let bytes: Bytes = match dice.below(3) {
            0 => frame.slice(..dice.below(frame.len())),
            1 => (0..dice.below(60)).map(|_| dice.below(256) as u8).collect(),
            _ => {
                let kind = [dice.below(12) as u8];
                kind.into_iter().chain((0..dice.below(60)).map(|_| dice.below(4) as u8)).collect()
            }
        };
        feed(&mut node, channel, bytes, begun.as_ref());
    });
}

/// A valid message where it has no place closes the link, and changes nothing.
#[test]
fn poison_message_out_of_turn() {
    let frames = real_frames(1);
    for one in &frames[1..] {
        let greeted = usize::from(one.channel != CONTROL);
        let mut node = after(&frames[..greeted], None);
        let before = state(&node);
        let hello = one.frame[0] == frames[0].frame[0];
        node.handle(now(), Input::Frame { link: LINK, channel: CONTROL, frame: one.frame.clone() });
        assert!(hello || is_closed(&mut node), "out of turn on the control channel: {one:?}");
        assert_eq!(before, state(&node));
    }
}
