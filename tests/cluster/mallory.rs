//! A peer that holds the secret and keeps to nothing else. Not responsible for what becomes of it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use bytes::Bytes;
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::net::SocketAddr;
use std::time::Duration;
use tidings::crdt::{Audit, CausalContext, DotSet, Entries, EntriesBuilder, Symbol};
use tidings::proto::codec;
use tidings::proto::message::{Begin, Beginning, Digest, Hello, Message, Part, Pull, Symbols, Told};
use tidings::runtime::net::{CutSwitch, Endpoint, Identity, Transport};
use tidings::{Key, OrMap, ReplicaId, Secret, Store};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Mallory {
    endpoint: Endpoint,
    pub replica: ReplicaId,
    cluster: [u8; 16],
}

impl Mallory {
    pub fn new(secret: &Secret) -> Self {
        Self::posing_as(secret, ReplicaId::random(&mut rand::rng()))
    }

    /// With a certificate in the name of any replica: the secret issues it.
    pub fn posing_as(secret: &Secret, replica: ReplicaId) -> Self {
        let identity = Identity::new(&secret.clone().into(), replica).expect("an identity");
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(anywhere, &identity, &Transport::lan(), CutSwitch::default()).expect("a socket");
        Self { endpoint, replica, cluster: secret.cluster_id() }
    }

    pub fn address(&self) -> String {
        self.endpoint.local_addr().expect("an address").to_string()
    }

    pub async fn dial(&self, victim: &Store) -> Talk {
        for _ in 0..20 {
            if let Ok((connection, _)) = self.endpoint.dial(victim.listen_addr()).await {
                return Talk { connection, streams: Vec::new() };
            }
        }
        panic!("the victim does not answer any more");
    }

    /// An honest one.
    pub fn hello(&self) -> Hello {
        Hello {
            cluster: self.cluster,
            replica: self.replica,
            boot: 1,
            name: "mallory".into(),
            address: "127.0.0.1:1".into(),
            audit: Audit { context: 1, state: 1, pending: 0 },
            bound: 0,
            ask: tidings::proto::message::Ask::Active,
            features: 0,
        }
    }

    /// A map with a few writes of hers.
    pub fn map(&self) -> OrMap {
        let mut map = OrMap::new(self.replica);
        for (key, value) in [("poison/1", "one"), ("poison/2", "two"), ("poison/3", "three")] {
            map.put(key.as_bytes(), value, 1_800_000_000_000);
        }
        map.delete(b"poison/3", 1_800_000_000_000);
        map.put_until(b"poison/1", "with a deadline", 1_900_000_000_000, 1_800_000_000_000);
        map
    }
}

/// A connection that stands; nothing has been said on it.
pub struct Talk {
    pub connection: Connection,
    streams: Vec<(SendStream, RecvStream)>,
}

impl Talk {
    /// Opens a stream and writes bytes on it, as far as the victim listens.
    pub async fn stream(&mut self, bytes: &[u8]) {
        if let Ok((mut send, recv)) = self.connection.open_bi().await {
            let _ = send.write_all(bytes).await;
            self.streams.push((send, recv));
        }
    }

    /// The control channel with these frames.
    pub async fn control(&mut self, frames: &[Bytes]) {
        self.stream(&on_channel(0, frames)).await;
    }

    /// Waits for the victim's pull, and answers it with these frames.
    pub async fn answer_pull(&mut self, frames: &[Bytes]) {
        let accepted = tokio::time::timeout(PATIENCE, self.connection.accept_bi()).await.expect("it pulls");
        // Or it has closed the link already.
        if let Ok((mut send, recv)) = accepted {
            let _ = send.write_all(&framed(frames)).await;
            self.streams.push((send, recv));
        }
    }

    /// More on the stream that was opened last, until nobody takes anything any more.
    pub async fn write_on_last(&mut self, mut bytes: &[u8]) {
        let Some((send, _)) = self.streams.last_mut() else { return };
        while !bytes.is_empty() {
            let written = tokio::time::timeout(Duration::from_secs(1), send.write(bytes)).await;
            let Ok(Ok(written)) = written else { return };
            bytes = &bytes[written..];
        }
    }

    /// Why the victim has closed the connection.
    pub async fn verdict(self) -> String {
        match tokio::time::timeout(PATIENCE, self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(closed)) => String::from_utf8_lossy(&closed.reason).into_owned(),
            Ok(other) => panic!("not closed by the victim: {other}"),
            Err(_) => panic!("the victim goes on listening"),
        }
    }
}

/// What a stream of that channel (below 64) begins with.
pub fn on_channel(channel: u8, frames: &[Bytes]) -> Vec<u8> {
    [vec![0, channel], framed(frames)].concat()
}

fn framed(frames: &[Bytes]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let length = 2 << 30 | u32::try_from(frame.len()).expect("short");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// Where a frame has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After the hello, on the control channel.
    Control,
    /// As the hello.
    First,
    /// On a channel of Mallory's, after these.
    Asking,
    /// On the channel of the victim's pull.
    Answering,
}

/// A valid frame, what has to be said before it, and what it is read with.
#[derive(Clone, Debug)]
pub struct Valid {
    pub place: Place,
    pub before: Vec<Bytes>,
    pub frame: Bytes,
    pub begun: Option<Begin>,
}

/// One frame of each kind, as an honest peer with those writes would send them to a victim that has this context.
pub fn valid_frames(mallory: &Mallory, victim: &CausalContext) -> Vec<Valid> {
    let map = mallory.map();
    let begin = |catch_up| Begin { snapshot: map.context().clone(), bound: CausalContext::new(), catch_up };
    let plain = |message: &Message| codec::encode(message, None);
    let valid = |place, before: &[Bytes], frame| Valid { place, before: before.to_vec(), frame, begun: None };
    let of_pull = |before: &[&Message], message: &Message, begun: Begin| Valid {
        place: Place::Answering,
        before: before.iter().map(|message| plain(message)).collect(),
        frame: codec::encode(message, Some(&begun)),
        begun: Some(begun),
    };
    let live: DotSet = map.context().iter().collect();
    let pull = Pull { have: live.clone(), catch_up: true, ..whole_pull(victim.clone()) };
    let said = |catch_up| Message::Begin(Beginning::whole(&begin(catch_up)));
    let (asked, catch_up, begun) = (plain(&Message::Pull(pull)), said(true), said(false));
    let done = Message::Done { bound: map.context().clone() };
    let symbols = Symbols { total: 3, symbols: vec![Symbol { sum: 1, check: 2, count: 3 }; 16] };
    vec![
        valid(Place::First, &[], plain(&Message::Hello(mallory.hello()))),
        valid(Place::Control, &[], plain(&Message::Digest(Digest { audit: mallory.hello().audit, reply: true }))),
        valid(Place::Control, &[], plain(&Message::Context { context: map.context().clone(), replace: true })),
        valid(Place::Control, &[], plain(&Message::Push(map.delta_since(victim)))),
        valid(Place::Control, &[], plain(&Message::Goodbye { left: true })),
        valid(Place::Asking, &[], asked.clone()),
        valid(Place::Answering, &[], plain(&begun)),
        of_pull(&[&catch_up, &done], &Message::Live(Part { part: live, last: true }), begin(true)),
        of_pull(&[&catch_up, &done], &Message::Symbols(symbols), begin(true)),
        of_pull(&[&begun], &Message::Chunk(entries(&map)), begin(false)),
        of_pull(&[&begun], &Message::Done { bound: map.context().clone() }, begin(false)),
    ]
}

/// A pull that tells its context as it is.
pub fn whole_pull(context: CausalContext) -> Pull {
    Pull { told: Told::Whole { context, bound: CausalContext::new() }, ..Pull::default() }
}

pub fn entries(map: &OrMap) -> Entries {
    let mut builder = EntriesBuilder::default();
    for key in ["poison/1", "poison/2", "poison/3"] {
        builder.push(map, Key::usr(key.as_bytes()));
    }
    builder.finish()
}

impl Mallory {
    /// Says one frame at its place.
    pub async fn say(&self, victim: &Store, valid: &Valid, frame: Bytes) -> Talk {
        let hello = codec::encode(&Message::Hello(self.hello()), None);
        let mut talk = self.dial(victim).await;
        let with_before = || valid.before.iter().cloned().chain([frame.clone()]).collect::<Vec<_>>();
        match valid.place {
            Place::First => talk.control(&[frame]).await,
            Place::Control => talk.control(&[hello, frame]).await,
            Place::Asking => {
                talk.control(&[hello]).await;
                talk.stream(&on_channel(1, &with_before())).await;
            }
            Place::Answering => {
                talk.control(&[hello]).await;
                talk.answer_pull(&with_before()).await;
            }
        }
        talk
    }
}
