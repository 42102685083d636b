//! What a node does for a session that has seen more than it has. Not responsible for what is in a token.

use crate::world::START;
use tidings::proto::codec::{self, Spoken};
use tidings::proto::config::NodeConfig;
use tidings::proto::link::{CONTROL, LinkId};
use tidings::proto::message::{Hello, Message};
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::{Instant, Now};
use tidings::{CausalContext, Dot, ReplicaId, Session};

const NOW: Now = Now { instant: Instant::from_micros(0), wall_ms: START };

/// Tokens know replicas by the first half of their ids.
fn id(number: u64) -> ReplicaId {
    ReplicaId::from(u128::from(number) << 64)
}

/// What both sides have said after the hellos of `linked_with`.
fn spoken(node: &Node) -> Spoken {
    let hello = hello(node, 0);
    Spoken::after_hellos(&hello, &hello, node.map().context(), node.map().truncated())
}

fn hello(node: &Node, peer: u64) -> Hello {
    Hello {
        cluster: [0; 16],
        replica: id(peer),
        boot: peer,
        name: "peer".into(),
        address: format!("n{peer}"),
        audit: node.map().audit(),
        bound: node.map().bound_sum(),
        ask: tidings::proto::message::Ask::Active,
        features: 0,
    }
}

fn hear(node: &mut Node, link: u64, message: &Message) {
    let frame = codec::encode_control(message, &mut spoken(node));
    node.handle(NOW, Input::Frame { link: LinkId(link), channel: CONTROL, frame });
}

/// A node with a link to each of these peers, which have what it has.
fn linked_with(peers: &[u64]) -> Node {
    let mut node = Node::new(NodeConfig::new(id(1)), NOW);
    for &peer in peers {
        let address = format!("n{peer}");
        let connected = Input::Connected {
            link: LinkId(peer),
            address,
            dialed: true,
            identity: Some(id(peer)),
            key: tidings::proto::KeyId::default(),
        };
        node.handle(NOW, connected);
        let hello = hello(&node, peer);
        hear(&mut node, peer, &Message::Hello(hello));
    }
    assert_eq!(pulled_from(&mut node), [0; 0], "there is nothing to pull as yet");
    node
}

/// The peers that the node has asked for a pull since it was last looked at.
fn pulled_from(node: &mut Node) -> Vec<u64> {
    let outputs = std::iter::from_fn(|| node.poll_output());
    let pulls = outputs.filter_map(|output| match output {
        Output::Send { link, channel, .. } if channel != CONTROL => Some(link.0),
        _ => None,
    });
    pulls.collect()
}

fn beyond(node: &Node, replica: u64) -> CausalContext {
    let mut context = node.map().context().clone();
    context.insert(Dot::new(id(replica), 1));
    context
}

#[test]
fn a_node_pulls_what_a_session_has_seen_from_one_that_has_it() {
    let mut node = linked_with(&[2, 3, 4]);
    let context = beyond(&node, 9);
    hear(&mut node, 3, &Message::Context { context: context.clone(), replace: false });
    let seen = Session::from(&context);
    node.pull_for(NOW, &seen);
    assert_eq!(pulled_from(&mut node), [3]);
    node.pull_for(NOW, &seen);
    assert_eq!(pulled_from(&mut node), [0; 0], "it is on its way");
}

#[test]
fn what_nobody_is_known_to_have_is_asked_of_all() {
    let mut node = linked_with(&[2, 3]);
    node.pull_for(NOW, &Session::from(&beyond(&node, 9)));
    assert_eq!(pulled_from(&mut node), [2, 3]);
}

#[test]
fn for_a_session_that_has_seen_less_nothing_is_pulled() {
    let mut node = linked_with(&[2, 3]);
    node.pull_for(NOW, &Session::from(node.map().context()));
    node.pull_for(NOW, &Session::default());
    assert_eq!(pulled_from(&mut node), [0; 0]);
}

#[test]
fn a_dot_that_stands_for_a_context_is_new_each_time_and_told_to_all() {
    let mut node = linked_with(&[2]);
    let mut said = spoken(&node);
    let mut stand_in = || node.stand_in(NOW).expect("it takes writes");
    let (first, second) = (stand_in(), stand_in());
    assert_eq!(first.dot.counter + 1, second.dot.counter);
    assert!(first.context.contains(first.dot) && !first.context.contains(second.dot));
    assert_eq!(node.map().counts().keys, 1, "nothing was written under it");
    let told = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
        Output::Send { frame, .. } => codec::decode_control(&frame, &mut said).ok(),
        _ => None,
    });
    assert!(matches!(told, Some(Message::Push(delta)) if delta.snapshot().contains(first.dot)));
}
