//! Tidings over a transport of your own: threads and plain TCP here, with no tokio, no QUIC and no TLS.
//! `cargo run --no-default-features --example custom_transport`
//!
//! What a node is, the machine `proto::node::Node` does alone: it says whom to dial and what to send, and is told what
//! came and how late it is. What this file does is all that is left: sockets, clocks, threads. It cuts a node off in the middle of
//! a sync, and lets it come back.
//!
//! Left out: who is at the other end is believed here as it is told. Over a real network a certificate has to say it.

use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidings::proto::config::NodeConfig;
use tidings::proto::link::LinkId;
use tidings::proto::node::{Input, Node, Output};
use tidings::proto::time::{Instant as NodeInstant, Now};
use tidings::{Key, KeyId, ReplicaId};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than any frame of a node takes.
const FRAME_BYTES_MAX: usize = 16 << 20;

// ---- what threads tell the one that owns the node -------------------------------------------------------------------

type Task = Box<dyn FnOnce(&mut Node, Now) + Send>;

enum Event {
    /// To be told to the node as it is.
    Input(Input),
    /// Somebody has dialled this node.
    Accepted(TcpStream),
    /// A socket, whose other end has said who it is.
    Connected { socket: TcpStream, address: String, dialed: bool, identity: ReplicaId },
    /// Something to be done with the node.
    Do(Task),
    /// All sockets break, as when a cable is pulled.
    Cut,
    /// The end.
    Close,
}

/// What the thread of a link sends, in this order.
enum Piece {
    Frame {
        channel: u64,
        frame: Bytes,
    },
    /// Nothing more comes on the channel.
    Ended {
        channel: u64,
    },
}

// ---- the thread that owns the node ----------------------------------------------------------------------------------

/// A node that runs. To write and read, [`ask`](Self::ask) it.
struct Handle {
    address: String,
    events: Sender<Event>,
    thread: JoinHandle<()>,
}

impl Handle {
    fn start(name: &str, join: Option<&Handle>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let mut rng = rand::rng();
        let config = NodeConfig {
            boot: rng.random(),
            cluster: *b"custom transport", // the same at all nodes: it keys the sums that they compare
            name: name.to_owned(),
            address: address.clone(),
            join: join.iter().map(|other| other.address.clone()).collect(),
            ..NodeConfig::new(ReplicaId::random(&mut rng))
        };
        let (events, inbox) = channel();
        accept(listener, events.clone());
        let clock = Clock(Instant::now());
        let node = Node::new(config, clock.now());
        let driver = Driver { node, clock, events: events.clone(), links: BTreeMap::new(), next_link: 0 };
        let thread = thread::spawn(move || driver.run(&inbox));
        Ok(Self { address, events, thread })
    }

    /// Does something with the node, on its thread.
    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Node, Now) -> T + Send + 'static) -> T {
        let (reply, answer) = channel();
        let what = move |node: &mut Node, now: Now| drop(reply.send(what(node, now)));
        self.events.send(Event::Do(Box::new(what))).expect("it runs until it is closed");
        answer.recv().expect("it runs until it is closed")
    }

    fn put(&self, key: &str, value: &str) {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.ask(move |node, now| node.put(now, Key::usr(key.as_bytes()), value.as_bytes(), None));
    }

    fn get(&self, key: &'static str) -> Option<Vec<u8>> {
        self.ask(move |node, now| node.map().get(key, now.wall_ms).map(<[u8]>::to_vec))
    }

    fn close(self) {
        let _ = self.events.send(Event::Close);
        self.thread.join().expect("it does not panic");
    }
}

struct Clock(Instant);

impl Clock {
    fn now(&self) -> Now {
        let micros = self.0.elapsed().as_micros() as u64;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { instant: NodeInstant::from_micros(micros), wall_ms: wall.as_millis() as u64 }
    }
}

struct Driver {
    node: Node,
    clock: Clock,
    events: Sender<Event>,
    links: BTreeMap<LinkId, (TcpStream, Sender<Piece>)>,
    next_link: u64,
}

impl Driver {
    /// The whole contract: an input, then the outputs until there is none, then a wait until the next timeout at most.
    fn run(mut self, inbox: &Receiver<Event>) {
        loop {
            while let Some(output) = self.node.poll_output() {
                self.perform(output);
            }
            let now = self.clock.now();
            let wait = self.node.next_timeout().map_or(PATIENCE, |due| due.since(now.instant));
            match inbox.recv_timeout(wait) {
                Ok(Event::Input(input)) => self.tell(input),
                Ok(Event::Accepted(socket)) => self.meet(socket),
                Ok(Event::Connected { socket, address, dialed, identity }) => {
                    self.connect(socket, address, dialed, identity)
                }
                Ok(Event::Do(what)) => what(&mut self.node, self.clock.now()),
                Ok(Event::Cut) => self.links.values().for_each(|(socket, _)| drop(socket.shutdown(Shutdown::Both))),
                Err(RecvTimeoutError::Timeout) => self.tell(Input::Timeout),
                Ok(Event::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.node.close(self.clock.now());
        while let Some(output) = self.node.poll_output() {
            self.perform(output);
        }
    }

    fn tell(&mut self, input: Input) {
        if let Input::Disconnected { link } = &input {
            self.links.remove(link);
        }
        self.node.handle(self.clock.now(), input);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { address } => self.dial(address),
            Output::Send { link, channel, frame } => self.give(link, Piece::Frame { channel, frame }),
            Output::Finish { link, channel } => self.give(link, Piece::Ended { channel }),
            // Streams that share a socket cannot be reset: what still comes on the channel is for nobody.
            Output::Reset { link, channel } => self.give(link, Piece::Ended { channel }),
            // The writer closes the socket when it has sent what it was given, and the reader then says that it is gone.
            Output::Close { link, .. } => drop(self.links.remove(&link)),
        }
    }

    fn give(&self, link: LinkId, piece: Piece) {
        // A link that is gone takes nothing; the node is told by the reader.
        let _ = self.links.get(&link).map(|(_, writer)| writer.send(piece));
    }

    /// Says so if it succeeds, and nothing if not: the node tries again by itself.
    fn dial(&self, address: String) {
        let (own, events) = (self.node.config().replica, self.events.clone());
        thread::spawn(move || introduce(TcpStream::connect(&address)?, address, true, own, &events));
    }

    fn meet(&self, socket: TcpStream) {
        let (own, events) = (self.node.config().replica, self.events.clone());
        thread::spawn(move || introduce(socket, String::new(), false, own, &events));
    }

    fn connect(&mut self, socket: TcpStream, address: String, dialed: bool, identity: ReplicaId) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let (pieces, queue) = channel();
        let (Ok(reading), Ok(writing)) = (socket.try_clone(), socket.try_clone()) else { return };
        let (events, sent) = (self.events.clone(), self.events.clone());
        thread::spawn(move || read(reading, link, &events));
        thread::spawn(move || write(writing, link, &queue, &sent));
        self.links.insert(link, (socket, pieces));
        self.tell(Input::Connected { link, address, dialed, identity: Some(identity), key: KeyId::default() });
    }
}

// ---- sockets --------------------------------------------------------------------------------------------------------

fn accept(listener: TcpListener, events: Sender<Event>) {
    thread::spawn(move || {
        let mut sockets = listener.incoming().flatten();
        sockets.try_for_each(|socket| events.send(Event::Accepted(socket)))
    });
}

/// Both say who they are.
fn introduce(
    mut socket: TcpStream,
    address: String,
    dialed: bool,
    own: ReplicaId,
    to: &Sender<Event>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(own.as_bytes())?;
    let mut identity = [0; 16];
    socket.read_exact(&mut identity)?;
    socket.set_read_timeout(None)?;
    let identity = ReplicaId::from_bytes(identity);
    let connected = Event::Connected { socket, address, dialed, identity };
    to.send(connected).map_err(|_| io::ErrorKind::NotConnected.into())
}

/// Channel, length and bytes; no length is the end of the channel.
fn write(mut socket: TcpStream, link: LinkId, queue: &Receiver<Piece>, events: &Sender<Event>) {
    for piece in queue {
        let (channel, length, frame) = match piece {
            Piece::Frame { channel, frame } => (channel, frame.len() as u32, Some(frame)),
            Piece::Ended { channel } => (channel, u32::MAX, None),
        };
        let head = [&channel.to_be_bytes()[..], &length.to_be_bytes()].concat();
        let written = socket.write_all(&head).and_then(|()| socket.write_all(frame.as_deref().unwrap_or_default()));
        if written.is_err() {
            break;
        }
        if frame.is_some() {
            // The node gives the next frame of a channel when it is told that this one is taken: so nothing piles up here.
            let _ = events.send(Event::Input(Input::Sent { link, channel }));
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
}

fn read(mut socket: TcpStream, link: LinkId, events: &Sender<Event>) {
    let mut next = || {
        let (mut channel, mut length) = ([0; 8], [0; 4]);
        socket.read_exact(&mut channel)?;
        socket.read_exact(&mut length)?;
        let channel = u64::from_be_bytes(channel);
        let length = match u32::from_be_bytes(length) {
            u32::MAX => return Ok(Input::Ended { link, channel }),
            length if length as usize > FRAME_BYTES_MAX => return Err(io::Error::other("no frame is so long")),
            length => length as usize,
        };
        let mut frame = vec![0; length];
        socket.read_exact(&mut frame)?;
        Ok::<_, io::Error>(Input::Frame { link, channel, frame: frame.into() })
    };
    while let Ok(input) = next() {
        if events.send(Event::Input(input)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Input(Input::Disconnected { link }));
}

// ---- what it shows --------------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn Error>> {
    let a = Handle::start("a", None)?;
    let b = Handle::start("b", Some(&a))?;
    let c = Handle::start("c", Some(&a))?; // learns of b from a
    a.put("kettle", "on");
    converge(&[&a, &b, &c]);
    assert_eq!(c.get("kettle").as_deref(), Some(&b"on"[..]));
    println!("three nodes agree; c has {} links", c.ask(|node, _| node.links().len()));

    // A sync that is cut off in its middle loses no ground: what has arrived counts.
    for i in 0..20_000 {
        b.put(&format!("readings/{i}"), "a value that takes some bytes on its way");
    }
    c.events.send(Event::Cut)?;
    println!("c is cut off with {} keys", c.ask(|node, _| node.map().counts().keys));
    a.ask(|node, now| node.delete(now, Key::usr(b"kettle"))).ok_or("it was there")?;
    converge(&[&a, &b, &c]);
    assert_eq!(c.get("kettle"), None);
    println!("and is back with {}, and the kettle is gone", c.ask(|node, _| node.map().counts().keys));

    [a, b, c].into_iter().for_each(Handle::close);
    Ok(())
}

/// Equal sums are equal states.
fn converge(nodes: &[&Handle]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let audits: Vec<_> = nodes.iter().map(|node| node.ask(|node, _| node.map().audit())).collect();
        // Who joins one of them learns of the others.
        let linked = nodes.iter().all(|node| node.ask(|node, _| node.links().len()) + 1 == nodes.len());
        if linked && audits.iter().all(|audit| *audit == audits[0]) {
            return;
        }
        assert!(Instant::now() < deadline, "they do not agree: {audits:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
