//! A whole node between an honest one, whose frames may be changed or lost on their way, and Mallory, who holds the
//! secret: links that have said a valid hello and then say anything, on any channel; records of members, messages and
//! addresses with anything in them. What breaks the protocol has changed nothing, memory is bounded, and what nobody has
//! disturbed ends with two equal nodes.

#![no_main]

use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tidings::crdt::{Audit, CausalContext, Key, OrMap, ReplicaId, Retention};
use tidings::proto::KeyId;
use tidings::proto::codec::{Spoken, encode_control};
use tidings::proto::config::NodeConfig;
use tidings::proto::link::{CLONED, CONTROL, DUPLICATE, LinkId, PASSED};
use tidings::proto::message::{Ask, Hello, Message};
use tidings::proto::node::{Input, Node, Output, Side};
use tidings::proto::time::{Instant, Now};
use tidings_fuzz::{Draw, vectors, with_length, within};

const START_MS: u64 = 1_700_000_000_000;
const CLUSTER: [u8; 16] = [7; 16];
const MEMORY: usize = 192 << 20;
const STEPS_MAX: usize = 300;
/// Two nodes that nobody disturbs are done long before.
const QUIET_STEPS_MAX: usize = 20_000;
/// Mallory writes below these.
const SYS: [&str; 6] = ["members/", "events/", "senders/", "view/", "members", ""];

tidings_fuzz::target!(seeds, run);

fn run(input: &[u8]) {
    within(MEMORY, || {
        let mut draw = Draw::new(input);
        let mut world = World::new(draw.byte());
        for _ in 0..STEPS_MAX {
            if draw.is_over() {
                break;
            }
            world.step(&mut draw);
        }
        world.end();
    });
}

/// What is on its way to an end of a link.
enum Item {
    Frame(u64, Bytes),
    Ended(u64),
    Reset(u64),
    Closed,
}

/// A link of the victim.
struct Wire {
    link: LinkId,
    /// The honest node is at its other end, and not Mallory.
    honest: bool,
    to_victim: VecDeque<Item>,
    to_other: VecDeque<Item>,
    /// When the victim has heard of it last.
    heard_us: u64,
    /// Channels on which the victim, and the other, hear nothing more.
    reset: [BTreeSet<u64>; 2],
    /// What Mallory has said on it.
    said: Spoken,
}

impl Wire {
    /// Of who. A channel is reset once.
    fn push(&mut self, who: usize, item: Item) {
        if matches!(item, Item::Reset(channel) if !self.reset[who].insert(channel)) {
            return;
        }
        if who == 0 { self.to_other.push_back(item) } else { self.to_victim.push_back(item) }
    }

    /// What is heard of it: nothing on a channel that is reset.
    fn heard(&mut self, who: usize, item: Item) -> Option<Item> {
        match &item {
            Item::Frame(channel, _) | Item::Ended(channel) if self.reset[who].contains(channel) => None,
            Item::Reset(channel) if !self.reset[who].insert(*channel) => None,
            _ => Some(item),
        }
    }
}

struct World {
    /// The victim, and the honest one.
    nodes: [Node; 2],
    wires: Vec<Wire>,
    mallory: OrMap,
    /// The last link that was made.
    links: u64,
    now_us: u64,
    is_disturbed: bool,
}

impl World {
    fn new(shape: u8) -> Self {
        let has = |bit: u8| shape >> bit & 1 == 1;
        let now = Now { instant: Instant::default(), wall_ms: START_MS };
        let node = |number: u128| {
            let settle = if has(0) { Duration::from_millis(700) } else { Duration::ZERO };
            let retention = Retention { keep_ms: 5_000, count_max: 4, spare_ms: 0 };
            let (name, address) = (format!("node{number}"), format!("10.0.0.{number}:7400"));
            let config = NodeConfig::new(ReplicaId::from(number));
            Node::new(
                NodeConfig { cluster: CLUSTER, boot: 1, name, address, link_settle: settle, retention, ..config },
                now,
            )
        };
        let mut nodes = [node(1), node(2)];
        if has(1) {
            (0..20_u8).for_each(|key| _ = nodes[0].put(now, Key::usr(&[key]), b"here", None));
        }
        if has(2) {
            (10..40_u8).for_each(|key| _ = nodes[1].put(now, Key::usr(&[key]), b"there", None));
            (20..30_u8).for_each(|key| _ = nodes[1].delete(now, Key::usr(&[key])));
        }
        if has(3) {
            nodes[1].put(now, Key::usr(b"film"), &[b'f'; 70_000], None);
        }
        let mut mallory = OrMap::new(ReplicaId::from(66));
        mallory.put(b"poison", b"one", START_MS);
        let mut world = Self { nodes, wires: Vec::new(), mallory, links: 0, now_us: 0, is_disturbed: false };
        world.carry_out();
        world.connect(true);
        world
    }

    fn now(&self) -> Now {
        Now { instant: Instant::from_micros(self.now_us), wall_ms: START_MS + self.now_us / 1_000 }
    }

    fn step(&mut self, draw: &mut Draw<'_>) {
        match draw.below(14) {
            0 => self.to_victim(draw.byte()),
            1 => self.to_other(draw.byte()),
            2 => (0..usize::from(draw.byte())).for_each(|number| self.both(number)),
            3 => self.spoil(draw),
            4 => self.insert(draw),
            5 => self.lose(draw),
            6 => self.pass(draw),
            7 | 8 => self.write(draw),
            9 => self.disconnect(draw.byte()),
            10 => self.connect(draw.byte() % 2 == 0),
            11 => self.connect_mallory(draw),
            12 => self.poison(draw),
            _ => self.ask(draw),
        }
    }

    // --- Carrying

    fn wire(&mut self, choice: impl Into<usize>) -> Option<&mut Wire> {
        let count = self.wires.len().max(1);
        self.wires.get_mut(choice.into() % count)
    }

    fn both(&mut self, number: usize) {
        self.to_victim(number);
        self.to_other(number);
    }

    fn to_victim(&mut self, choice: impl Into<usize>) {
        let Some(wire) = self.wire(choice) else { return };
        let link = wire.link;
        match wire.to_victim.pop_front().and_then(|item| wire.heard(0, item)) {
            Some(Item::Frame(channel, frame)) => self.frame_to_victim(link, channel, frame),
            Some(Item::Ended(channel) | Item::Reset(channel)) => self.tell(0, Input::Ended { link, channel }),
            Some(Item::Closed) => self.part(link),
            None => {}
        }
    }

    fn to_other(&mut self, choice: impl Into<usize>) {
        let Some(wire) = self.wire(choice) else { return };
        let (link, honest) = (wire.link, wire.honest);
        match wire.to_other.pop_front().and_then(|item| wire.heard(1, item)) {
            Some(Item::Closed) => self.part(link),
            Some(Item::Frame(channel, frame)) if honest => self.tell(1, Input::Frame { link, channel, frame }),
            Some(Item::Ended(channel) | Item::Reset(channel)) if honest => self.tell(1, Input::Ended { link, channel }),
            _ => {}
        }
    }

    /// A frame that breaks the protocol closes its link, and has changed nothing.
    fn frame_to_victim(&mut self, link: LinkId, channel: u64, frame: Bytes) {
        let now = self.now();
        self.nodes[0].handle(now, Input::Timeout);
        if let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == link) {
            let silence = Duration::from_micros(self.now_us - std::mem::replace(&mut wire.heard_us, self.now_us));
            self.nodes[0].handle(now, Input::Heard { link, silence });
        }
        self.carry_out();
        let before = told(self.nodes[0].map());
        self.nodes[0].handle(now, Input::Frame { link, channel, frame });
        let closed = self.carry_out().into_iter().find(|closed| closed.0 == link);
        if let Some((_, reason)) = closed.filter(|(_, reason)| ![CLONED, DUPLICATE, PASSED].contains(&reason.as_str()))
        {
            assert_eq!(told(self.nodes[0].map()), before, "{reason}");
        }
    }

    fn tell(&mut self, who: usize, input: Input) {
        let now = self.now();
        self.nodes[who].handle(now, input);
        self.carry_out();
    }

    /// What both nodes want done, until they want nothing more. Which links the victim has closed, and why.
    fn carry_out(&mut self) -> Vec<(LinkId, String)> {
        let mut closed = Vec::new();
        let now = self.now();
        for who in [0, 1] {
            while let Some(output) = self.nodes[who].poll_output() {
                let item = match output {
                    Output::Send { link, channel, frame } => Some((link, Item::Frame(channel, frame))),
                    Output::Finish { link, channel } => Some((link, Item::Ended(channel))),
                    Output::Reset { link, channel } => Some((link, Item::Reset(channel))),
                    Output::Close { link, reason } => {
                        closed.extend((who == 0).then_some((link, reason)));
                        Some((link, Item::Closed))
                    }
                    // Who is to be linked is in the input.
                    Output::Dial { .. } => None,
                };
                let Some((link, item)) = item else { continue };
                let sent = if let Item::Frame(channel, _) = &item { Some(*channel) } else { None };
                if let Some(wire) = self.wires.iter_mut().find(|wire| wire.link == link) {
                    wire.push(who, item);
                }
                if let Some(channel) = sent {
                    self.nodes[who].handle(now, Input::Sent { link, channel });
                }
            }
        }
        closed
    }

    // --- Links

    fn connect(&mut self, victim_dials: bool) {
        let link = self.open(true);
        let connected = |who: u128, dialed| Input::Connected {
            link,
            address: format!("10.0.0.{who}:7400"),
            dialed,
            identity: Some(ReplicaId::from(who)),
            key: KeyId::default(),
        };
        self.tell(0, connected(2, victim_dials));
        self.tell(1, connected(1, !victim_dials));
    }

    fn open(&mut self, honest: bool) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        let (to_victim, to_other) = (VecDeque::new(), VecDeque::new());
        let (heard_us, reset, said) = (self.now_us, Default::default(), Spoken::default());
        self.wires.push(Wire { link, honest, to_victim, to_other, heard_us, reset, said });
        link
    }

    fn disconnect(&mut self, choice: u8) {
        let link = self.wire(choice).map(|wire| wire.link);
        link.into_iter().for_each(|link| self.part(link));
    }

    fn part(&mut self, link: LinkId) {
        let Some(at) = self.wires.iter().position(|wire| wire.link == link) else { return };
        let wire = self.wires.remove(at);
        self.tell(0, Input::Disconnected { link });
        if wire.honest {
            self.tell(1, Input::Disconnected { link });
        }
    }

    /// With a hello that is valid, whatever it says of her.
    fn connect_mallory(&mut self, draw: &mut Draw<'_>) {
        self.is_disturbed = true;
        let (number, boot, about) = (66 + u128::from(draw.byte() % 3), draw.byte() % 2, draw.byte());
        let (link, replica) = (self.open(false), ReplicaId::from(number));
        let dialed = about & 1 == 0;
        self.tell(
            0,
            Input::Connected {
                link,
                address: "10.0.0.66:7400".into(),
                dialed,
                identity: Some(replica),
                key: KeyId::default(),
            },
        );
        let ours = self.nodes[0].map().audit();
        let context = if about & 2 == 0 { 1 } else { ours.context };
        let hello = Hello {
            cluster: CLUSTER,
            replica,
            boot: u64::from(boot),
            name: String::from_utf8_lossy(draw.bytes()).into_owned(),
            address: "10.0.0.66:7400".into(),
            audit: Audit { context, state: 1, pending: 0 },
            bound: 0,
            ask: *draw.pick(&[Ask::Active, Ask::Passing, Ask::Urgent]),
            features: u64::from(about >> 4),
        };
        let frame = encode_control(&Message::Hello(hello), &mut Spoken::default());
        self.frame_to_victim(link, CONTROL, frame);
    }

    // --- Disturbing

    /// Changes a byte of the next frame.
    fn spoil(&mut self, draw: &mut Draw<'_>) {
        let (choice, at, change) = (draw.byte(), usize::from(draw.number()), draw.byte().max(1));
        let Some(wire) = self.wire(choice) else { return };
        if let Some(Item::Frame(_, frame)) = wire.to_victim.front_mut().filter(|item| !is_empty(item)) {
            let mut changed = frame.to_vec();
            let at = at % changed.len();
            changed[at] ^= change;
            *frame = changed.into();
            self.is_disturbed = true;
        }
    }

    fn insert(&mut self, draw: &mut Draw<'_>) {
        let (choice, channel, frame) = (draw.byte(), u64::from(draw.byte() % 6), draw.bytes());
        if let Some(link) = self.wire(choice).map(|wire| wire.link) {
            self.is_disturbed = true;
            self.frame_to_victim(link, channel, Bytes::copy_from_slice(frame));
        }
    }

    fn lose(&mut self, draw: &mut Draw<'_>) {
        let choice = draw.byte();
        if let Some(wire) = self.wire(choice) {
            self.is_disturbed |= wire.to_victim.pop_front().is_some();
        }
    }

    /// Mallory writes what she likes below `sys`, claims to have what nobody has written, and tells it as it should be told.
    fn poison(&mut self, draw: &mut Draw<'_>) {
        let (choice, own, of) = (draw.byte(), draw.byte(), u128::from(draw.byte() % 70));
        let prefix = *draw.pick(&SYS);
        let name = match own % 4 {
            0 => ReplicaId::from(of).to_string(),
            1 => format!("{}:{}", self.mallory.id(), self.mallory.context().get(self.mallory.id()) + 1),
            2 => format!("{}:7400", of),
            _ => String::from_utf8_lossy(draw.bytes()).into_owned(),
        };
        let key = [prefix, &name].concat();
        if key.is_empty() || key.len() > Key::BYTES_MAX {
            return;
        }
        let base = self.mallory.context().clone();
        if own & 64 != 0 {
            self.mallory.incorporate(&[(ReplicaId::from(of), 1 << 30)].into_iter().collect());
        }
        let now = self.now().wall_ms;
        match own / 4 % 4 {
            0 => self.mallory.put_until(Key::sys(key.as_bytes()), draw.bytes(), now + 1_000, now),
            _ => self.mallory.put(Key::sys(key.as_bytes()), draw.bytes(), now),
        };
        let base = if own & 128 == 0 { base } else { CausalContext::new() };
        let push = Message::Push(self.mallory.delta_since(&base));
        let Some(wire) = self.wire(choice).filter(|wire| !wire.honest) else { return };
        let (link, frame) = (wire.link, encode_control(&push, &mut wire.said));
        self.frame_to_victim(link, CONTROL, frame);
    }

    // --- Living

    fn pass(&mut self, draw: &mut Draw<'_>) {
        self.now_us += 1_000 << (draw.byte() % 15);
        [0, 1].into_iter().for_each(|who| self.tell(who, Input::Timeout));
    }

    fn write(&mut self, draw: &mut Draw<'_>) {
        let (what, key, now) = (draw.byte(), [draw.byte() % 48], self.now());
        let node = &mut self.nodes[usize::from(what & 1)];
        match what >> 1 & 7 {
            0 => _ = node.delete(now, Key::usr(&key)),
            1 => _ = node.put(now, Key::usr(&key), b"for now", Some(now.wall_ms + 500)),
            2 => _ = node.broadcast(now, b"to all"),
            _ => _ = node.put(now, Key::usr(&key), &[what; 30], None),
        }
        self.carry_out();
    }

    /// All that clients can ask, and what another node may have said of itself.
    fn ask(&mut self, draw: &mut Draw<'_>) {
        let now = self.now();
        let node = &mut self.nodes[0];
        let _ = (node.members(), node.view(), node.http_view(), node.peers(), node.links(), node.under_way());
        let _ = node.listen(now, Some(Default::default())).ask(node, now.wall_ms);
        let _ = node.watch(now, b"", Some(Default::default())).ask(node, now.wall_ms);
        let theirs = Side { symbols: Bytes::copy_from_slice(draw.bytes()), ..self.nodes[1].side() };
        let _ = self.nodes[0].difference(&theirs);
        let own = self.nodes[0].side();
        assert!(self.nodes[1].difference(&own).is_ok(), "what a node says of itself is understood");
    }

    fn end(&mut self) {
        if self.is_disturbed {
            return;
        }
        self.connect(false);
        for _ in 0..QUIET_STEPS_MAX {
            let is_quiet = |wire: &Wire| wire.to_victim.is_empty() && wire.to_other.is_empty();
            if self.wires.iter().all(is_quiet) && self.nodes[0].map().audit() == self.nodes[1].map().audit() {
                return;
            }
            (0..self.wires.len()).for_each(|number| self.both(number));
            self.now_us += 20_000;
            [0, 1].into_iter().for_each(|who| self.tell(who, Input::Timeout));
            if self.wires.is_empty() {
                self.connect(false);
            }
        }
        panic!("undisturbed, and not equal: {:?}", self.nodes.each_ref().map(|node| node.map().audit()));
    }
}

fn is_empty(item: &Item) -> bool {
    !matches!(item, Item::Frame(_, frame) if !frame.is_empty())
}

fn told(map: &OrMap) -> (Audit, CausalContext, CausalContext, usize) {
    (map.audit(), map.context().clone(), map.truncated().clone(), map.pending())
}

fn seeds() -> Vec<Vec<u8>> {
    let shapes = 0..16_u8;
    let undisturbed =
        shapes.clone().map(|shape| vec![shape, 2, 60, 6, 5, 2, 60, 7, shape, 1, 2, 9, 9, 0, 10, 1, 2, 50]);
    let spoilt = shapes.map(|shape| vec![shape, 2, shape, 3, 0, shape, 1, 4, 0, 0, 2, 30, 6, 4, 5, 0, 2, 30, 13, 0, 0]);
    let told = vectors("").into_iter().flat_map(|frame| {
        let on = |channel: u8| {
            [&[6, 2, 40, 11, 0, 0, 0, 0, 0, 0, 4, 1, channel][..], &with_length(&frame), &[2, 9]].concat()
        };
        [on(0), on(1), on(2)]
    });
    undisturbed.chain(spoilt).chain(told).chain(poison()).collect()
}

/// What nodes write below `sys`, in Mallory's hand.
fn poison() -> Vec<Vec<u8>> {
    let record = r#"{"name":"m","addresses":["10.0.0.66:7400"],"http":"10.0.0.66:80","protocol":1,"incarnation":9,"boot":1,"state":"suspect"}"#;
    let message = [&[1, 1, 1, 0][..], b"to all"].concat();
    let (count, said) = (br#"{"since":1,"sent":3}"#, br#"{"put":{"by":"a","answered":null}}"#);
    let values = [
        (0, 64, 1, record.as_bytes()),
        (0, 0, 1, record.as_bytes()),
        (0, 0, 66, record.as_bytes()),
        (1, 1, 0, &message),
        (2, 0, 66, count),
        (3, 2, 1, said),
    ];
    let write = |&(prefix, own, of, value): &(u8, u8, u8, &[u8])| {
        [
            &[6, 2, 40, 11, 0, 0, 0, 0, 0, 0, 12, 1, own, of, prefix][..],
            &with_length(value),
            &[2, 9, 6, 12, 13, 0, 0, 2, 9],
        ]
        .concat()
    };
    values.iter().map(write).collect()
}
