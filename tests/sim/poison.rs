//! Peers that break the protocol. Nothing they send may stop a node, or change its map by a frame that does not decode.

use crate::dice::for_each_seed;
use crate::world::{START, id};
use bytes::Bytes;
use std::collections::BTreeMap;
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
    node.handle(now(), Input::Connected { link: LINK, address: "x".into(), dialed: true, identity: id(1) });
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
    };
    codec::encode(&Message::Hello(hello), None)
}

/// All frames that the two really exchange, with the channel, in order: what the victim hears in a sync both ways.
fn real_frames() -> Vec<(u64, Bytes, Option<Begin>)> {
    let mut config = NodeConfig::new(id(1));
    config.boot = 5;
    config.chunk_entries = 1;
    let mut peer = Node::new(config, now());
    let mut victim = victim();
    peer.put(now(), Key::usr(b"kettle"), b"off", Some(START + 50_000));
    peer.put(now(), Key::usr(b"lamp"), b"dim", None);
    peer.delete(now(), Key::usr(b"lamp"));
    peer.handle(now(), Input::Connected { link: LINK, address: "v".into(), dialed: false, identity: id(0) });
    let mut heard = Vec::new();
    for _ in 0..100 {
        let (to_victim, to_peer) = (frames_of(&mut peer), frames_of(&mut victim));
        for (channel, frame) in to_victim {
            heard.push((channel, frame.clone(), None));
            victim.handle(now(), Input::Frame { link: LINK, channel, frame });
            peer.handle(now(), Input::Sent { link: LINK, channel });
        }
        for (channel, frame) in to_peer {
            peer.handle(now(), Input::Frame { link: LINK, channel, frame });
            victim.handle(now(), Input::Sent { link: LINK, channel });
        }
    }
    peer.put(now(), Key::usr(b"kettle"), b"late", None);
    heard.extend(frames_of(&mut peer).into_iter().map(|(channel, frame)| (channel, frame, None)));
    // A chunk can only be read with the beginning of its pull.
    let mut begins: BTreeMap<u64, Begin> = BTreeMap::new();
    for (channel, frame, begun) in &mut heard {
        *begun = begins.get(channel).cloned();
        if let Ok(Message::Begin(begin)) = codec::decode(frame, None) {
            begins.insert(*channel, begin);
        }
    }
    heard
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
    let frames = real_frames();
    let kinds: std::collections::BTreeSet<u8> = frames.iter().map(|(_, frame, _)| frame[0]).collect();
    assert!(kinds.len() >= 6, "the frames are of too few kinds: {kinds:?}");
    let mut fed = 0;
    for (i, (channel, frame, begun)) in frames.iter().enumerate() {
        for position in 0..frame.len() {
            for change in [1, 0x80, 0xff, 0x10] {
                let mut node = victim();
                for (channel, frame, _) in &frames[..i] {
                    node.handle(now(), Input::Frame { link: LINK, channel: *channel, frame: frame.clone() });
                }
                while node.poll_output().is_some() {}
                let mut bytes = frame.to_vec();
                bytes[position] ^= change;
                feed(&mut node, *channel, bytes.into(), begun.as_ref());
                fed += 1;
            }
        }
    }
    eprintln!("{fed} poisoned frames of kinds {kinds:?}");
}

#[test]
fn poison_message_of_random_bytes_or_cut_short() {
    let frames = real_frames();
    for_each_seed(20_000, |dice| {
        let mut node = victim();
        let greeted = dice.below(frames.len() + 1);
        for (channel, frame, _) in &frames[..greeted] {
            node.handle(now(), Input::Frame { link: LINK, channel: *channel, frame: frame.clone() });
        }
        while node.poll_output().is_some() {}
        let (channel, frame, begun) = dice.pick(&frames).clone();
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
    let frames = real_frames();
    for (channel, frame, _) in &frames {
        for (_, first, _) in &frames[..1] {
            let mut node = victim();
            while node.poll_output().is_some() {}
            if *channel == CONTROL && frame != first {
                let before = state(&node);
                node.handle(now(), Input::Frame { link: LINK, channel: CONTROL, frame: frame.clone() });
                assert!(is_closed(&mut node), "before the hello: {frame:?}");
                assert_eq!(before, state(&node));
            }
            let mut node = victim();
            node.handle(now(), Input::Frame { link: LINK, channel: CONTROL, frame: first.clone() });
            while node.poll_output().is_some() {}
            let before = state(&node);
            if *channel != CONTROL {
                node.handle(now(), Input::Frame { link: LINK, channel: CONTROL, frame: frame.clone() });
                assert!(is_closed(&mut node), "on the control channel: {frame:?}");
                assert_eq!(before, state(&node));
            }
        }
    }
}
