//! Stories of two nodes on the loopback, over real UDP. Not responsible for lossy networks. Nothing here depends on how
//! long anything takes, only that it comes to pass.

use super::authority::{Authority, Leaf};
use super::tls::{self, Presented};
use super::*;
use crate::ReplicaId;
use crate::proto::link::LinkId;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(90);

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn secret() -> Secret {
    Secret::random(&mut rand::rng())
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it should have come to pass by now")
}

struct Node {
    endpoint: Endpoint,
    replica: ReplicaId,
    cut: CutSwitch,
}

impl Node {
    fn new(secret: &Secret, number: u128) -> Self {
        Self::with_upload(secret, number, UploadLimits::default())
    }

    fn with_upload(secret: &Secret, number: u128, upload: UploadLimits) -> Self {
        Self::with(secret, number, Transport { upload, ..Transport::lan() })
    }

    fn with(secret: &Secret, number: u128, transport: Transport) -> Self {
        Self::at(ANYWHERE, secret, number, transport)
    }

    fn at(address: SocketAddr, secret: &Secret, number: u128, transport: Transport) -> Self {
        let (replica, cut) = (ReplicaId::from(number), CutSwitch::default());
        // As one that is kept: that of a process is the same after a restart.
        let reset = ResetKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let identity = Identity::new(&secret.clone().into(), replica).expect("an identity").with_reset(reset);
        let transport = Transport { dial_timeout: PATIENCE, ..transport };
        let endpoint = Endpoint::bind(address, &identity, &transport, cut.clone()).expect("a socket");
        Self { endpoint, replica, cut }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("an address")
    }

    /// The connections of both sides, after both have checked who the other is.
    async fn connect(&self, other: &Self) -> (quinn::Connection, quinn::Connection) {
        let (dialed, accepted) =
            soon(async { tokio::join!(self.endpoint.dial(other.address()), other.accept()) }).await;
        let (ours, them) = dialed.expect("dialed");
        let (theirs, us, address) = accepted.expect("accepted");
        assert_eq!((us.replica, them.replica), (Some(self.replica), Some(other.replica)));
        assert_eq!(us.key, them.key);
        assert_eq!(address, self.address());
        (ours, theirs)
    }

    async fn accept(&self) -> Result<Accepted, LinkError> {
        self.endpoint.accept().await.expect("an open endpoint")
    }

    async fn linked(&self, other: &Self) -> (Side, Side) {
        let (ours, theirs) = self.connect(other).await;
        let side = |connection, link, silence| Side::with_silence(Session::first(connection), link, 16, silence);
        let [of_ours, of_theirs] = [self, other].map(|node| node.endpoint.link_limits().silence);
        (side(ours, 1, of_ours), side(theirs, 2, of_theirs))
    }
}

fn two_nodes() -> (Node, Node) {
    let secret = secret();
    (Node::new(&secret, 0xa), Node::new(&secret, 0xb))
}

/// One side of a link.
struct Side {
    handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    kept: oneshot::Receiver<Kept>,
}

impl Side {
    const FRAME_BYTES_MAX: usize = 6 << 20;

    fn new(connection: quinn::Connection, link: u64) -> Self {
        Self::with_room(connection, link, 16)
    }

    fn with_room(connection: quinn::Connection, link: u64, room: usize) -> Self {
        Self::of_session(Session::first(connection), link, room)
    }

    fn of_session(session: Session, link: u64, room: usize) -> Self {
        Self::with_silence(session, link, room, Transport::lan().idle_timeout)
    }

    fn with_silence(session: Session, link: u64, room: usize, silence: Duration) -> Self {
        let ((sender, events), tracker, cancel) = (mpsc::channel(room), TaskTracker::new(), CancellationToken::new());
        let limits = LinkLimits { frame_bytes_max: Self::FRAME_BYTES_MAX, send_bytes_max: 2 << 20, silence };
        let (ledger, end) = (Ledger::default(), cancel.clone());
        let (handle, kept) = spawn_link(session, LinkId(link), limits, ledger, sender, &tracker, end);
        tracker.close();
        Self { handle, events, tracker, cancel, kept }
    }

    fn tell(&self, command: LinkCommand) {
        self.handle.try_send(command).expect("room");
    }

    fn send(&self, channel: u64, frame: impl Into<Bytes>) {
        self.tell(LinkCommand::Send { channel, frame: frame.into() });
    }

    async fn next(&mut self) -> LinkEvent {
        soon(self.events.recv()).await.expect("an event: `Closed` comes before the end")
    }

    /// The next event that is not about sending.
    async fn heard(&mut self) -> LinkEvent {
        loop {
            match self.next().await {
                LinkEvent::Sent { .. } => {}
                event => return event,
            }
        }
    }

    async fn expect_frame(&mut self, on: u64, payload: &[u8]) {
        match self.heard().await {
            LinkEvent::Frame { channel, frame, .. } => assert!(channel == on && frame == payload, "a wrong frame"),
            event => panic!("not a frame: {event:?}"),
        }
    }

    async fn expect_ended(&mut self, on: u64) {
        assert_eq!(self.heard().await, LinkEvent::Ended { link: self.handle.link(), channel: on });
    }

    async fn expect_sent(&mut self, on: u64) {
        assert_eq!(self.next().await, LinkEvent::Sent { link: self.handle.link(), channel: on });
    }

    async fn expect_closed_after_frames(mut self, frames: usize) -> String {
        for _ in 0..frames {
            let event = self.heard().await;
            assert!(matches!(event, LinkEvent::Frame { .. }), "not a frame: {event:?}");
        }
        self.expect_closed().await
    }

    /// Why the link closed, and that nothing is left of it.
    async fn expect_closed(self) -> String {
        self.expect_closed_and_kept().await.0
    }

    /// Why the link closed, after which nothing may come and no task be left; and its connection, if that is kept.
    async fn expect_closed_and_kept(mut self) -> (String, Option<Kept>) {
        let reason = match self.heard().await {
            LinkEvent::Closed { reason, .. } => reason,
            event => panic!("not closed: {event:?}"),
        };
        assert_eq!(soon(self.events.recv()).await, None);
        soon(self.tracker.wait()).await;
        (reason, self.kept.try_recv().ok())
    }
}

/// A QUIC client that plays by rules of its own.
fn stranger(config: rustls::ClientConfig) -> (quinn::Endpoint, quinn::ClientConfig) {
    let endpoint = quinn::Endpoint::client(ANYWHERE).expect("a socket");
    let config = QuicClientConfig::try_from(config).expect("a config");
    (endpoint, quinn::ClientConfig::new(Arc::new(config)))
}

/// A stranger who takes any server of the cluster for good, but shows a certificate of his own, or none.
fn intruder(cluster: &Secret, own: Option<&Secret>, alpn: &[u8]) -> (quinn::Endpoint, quinn::ClientConfig) {
    let anchor = Authority::from_secret(cluster).and_then(|authority| authority.anchor()).expect("an anchor");
    let presented = own.map(|secret| {
        let authority = Authority::from_secret(secret).expect("an authority");
        let leaf = Leaf::issue(&authority, &[CLUSTER_NAME.to_owned()]).expect("a certificate");
        let issuer = rustls::DistinguishedName::in_sequence(&anchor.subject);
        Arc::new(Presented(vec![(issuer, Arc::new(leaf.certified().expect("a key")))]))
    });
    let roots = Arc::new(rustls::RootCertStore { roots: vec![anchor] });
    stranger(tls::client_config(roots, presented.as_ref(), alpn).expect("a config"))
}

/// What both sides say of an intruder: first the server, then the intruder's own link, on which no frame may come.
async fn refusal(node: &Node, intruder: (quinn::Endpoint, quinn::ClientConfig)) -> (LinkFault, String) {
    let (endpoint, config) = intruder;
    let connecting = endpoint.connect_with(config, node.address(), CLUSTER_NAME).expect("an attempt");
    let (connected, accepted) = soon(async { tokio::join!(connecting, node.accept()) }).await;
    let reason = match connected {
        Ok(connection) => {
            let side = Side::new(connection, 1);
            side.send(0, "let me in");
            side.expect_closed().await
        }
        Err(error) => LinkFault::from(&error).to_string(),
    };
    (accepted.expect_err("refused").fault, reason)
}

#[tokio::test]
async fn frames_pass_both_ways_on_every_channel() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    // Bert speaks first on the control channel, whose stream Anna has yet to open.
    b.send(0, "early");
    a.send(0, "hello");
    b.expect_frame(0, b"hello").await;
    a.expect_frame(0, b"early").await;

    a.send(1, "question");
    b.expect_frame(1, b"question").await;
    b.send(1, "answer");
    a.expect_frame(1, b"answer").await;
    b.send(2, "");
    a.expect_frame(2, b"").await;

    let stats = a.handle.stats();
    assert!(stats.sent.wire_bytes > 0 && stats.received.wire_bytes > 0 && stats.rtt > Duration::ZERO);
    assert_eq!((stats.sent.frame_bytes, stats.received.frame_bytes), (13, 11), "the payloads alone");
    assert_eq!(a.handle.remote_address(), bert.address());
}

#[tokio::test]
async fn a_big_frame_arrives_whole() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    let frame: Vec<u8> = (0..5_u32 << 20).map(|i| ((i * 31) >> 7) as u8).collect();
    a.send(1, frame.clone());
    a.send(0, "small");
    let mut sent = [a.next().await, a.next().await];
    sent.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(sent, [0, 1].map(|channel| LinkEvent::Sent { link: LinkId(1), channel }));
    b.expect_frame(0, b"small").await;
    b.expect_frame(1, &frame).await;
}

/// What went wrong: the layer above keeps frames that come before the hello, and they had taken the room for it.
#[tokio::test]
async fn a_control_frame_is_read_while_all_other_room_is_taken() {
    let (anna, bert) = two_nodes();
    let (a, mut b) = anna.linked(&bert).await;
    a.send(1, vec![1; Side::FRAME_BYTES_MAX]);
    let kept = b.heard().await;
    a.send(0, "hello");
    b.expect_frame(0, b"hello").await;
    a.send(3, "next");
    a.send(0, "more");
    b.expect_frame(0, b"more").await;
    drop(kept);
    b.expect_frame(3, b"next").await;
}

#[tokio::test]
async fn a_channel_ends_when_both_have_finished_and_its_number_is_free() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    for _ in 0..3 * CHANNELS_MAX {
        a.send(1, "question");
        a.tell(LinkCommand::Finish { channel: 1 });
        b.expect_frame(1, b"question").await;
        b.expect_ended(1).await;
        b.send(1, "answer");
        b.tell(LinkCommand::Finish { channel: 1 });
        a.expect_frame(1, b"answer").await;
        a.expect_ended(1).await;
        // A reset forgets it at once, though its task may still be ending; the round trip says that both have done so.
        a.tell(LinkCommand::Reset { channel: 1 });
        b.tell(LinkCommand::Reset { channel: 1 });
        b.send(0, "next");
        a.send(0, "next");
        a.expect_frame(0, b"next").await;
        b.expect_frame(0, b"next").await;
    }
}

#[tokio::test]
async fn a_reset_ends_the_channel_at_the_peer_who_may_still_send_into_it() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    a.send(1, "question");
    b.expect_frame(1, b"question").await;
    a.tell(LinkCommand::Reset { channel: 1 });
    b.expect_ended(1).await;
    b.send(1, "answer");
    b.expect_sent(1).await;
    b.tell(LinkCommand::Reset { channel: 1 });
    b.send(1, "too late");
    b.expect_sent(1).await;
    b.send(0, "still here");
    a.send(0, "so am I");
    a.expect_frame(0, b"still here").await;
    b.expect_frame(0, b"so am I").await;
}

#[tokio::test]
async fn nodes_of_two_secrets_refuse_each_other() {
    let (anna, eve) = (Node::new(&secret(), 0xa), Node::new(&secret(), 0xe));
    let (dialed, accepted) = soon(async { tokio::join!(eve.endpoint.dial(anna.address()), anna.accept()) }).await;
    let (dialed, accepted) = (dialed.expect_err("refused"), accepted.expect_err("refused"));
    assert_eq!(dialed, LinkError { peer: anna.address(), fault: LinkFault::OtherCluster });
    assert_eq!(accepted, LinkError { peer: eve.address(), fault: LinkFault::RefusedUs });
    assert!(dialed.to_string().contains("another secret than ours"));
}

#[tokio::test]
async fn intruders_are_refused_on_both_sides_and_no_frame_is_answered() {
    let cluster = secret();
    let anna = Node::new(&cluster, 0xa);
    let refused = LinkFault::RefusedUs.to_string();
    let theirs = refusal(&anna, intruder(&cluster, Some(&secret()), ALPN)).await;
    assert_eq!(theirs, (LinkFault::OtherCluster, refused.clone()));
    let none = refusal(&anna, intruder(&cluster, None, ALPN)).await;
    assert_eq!(none, (LinkFault::NoCertificate, refused));
    let newer = refusal(&anna, intruder(&cluster, Some(&cluster), b"tidings/2")).await;
    assert_eq!(newer, (LinkFault::OtherProtocol, LinkFault::OtherProtocol.to_string()));
}

#[tokio::test]
async fn a_node_that_does_not_say_which_replica_it_is_is_refused() {
    let cluster = secret();
    let anna = Node::new(&cluster, 0xa);
    let (fault, reason) = refusal(&anna, intruder(&cluster, Some(&cluster), ALPN)).await;
    assert_eq!(fault, LinkFault::NoReplica);
    assert!(reason.contains("does not name one replica"), "{reason}");
}

#[tokio::test]
async fn each_is_shown_the_newest_secret_that_it_knows() {
    let (old, new) = (secret(), secret());
    let (anna, bert) = (Node::new(&old, 0xa), Node::new(&old, 0xb));
    let (before, _there) = anna.connect(&bert).await;
    let identity = |secrets: &Secrets| Identity::new(&secrets.clone().into(), anna.replica).expect("an identity");
    let both = Secrets::from(old.clone()).rotated(new.clone());
    let key_of = async |dialer: &Node, accepter: &Node| {
        let (dialed, accepted) =
            soon(async { tokio::join!(dialer.endpoint.dial(accepter.address()), accepter.accept()) }).await;
        dialed.and_then(|(_, peer)| accepted.map(|(_, other, _)| [peer.key, other.key]))
    };
    anna.endpoint.set_identity(&identity(&both));
    // Who has only the old one gets in, both ways; who has the new one is met with that.
    for (dialer, accepter) in [(&anna, &bert), (&bert, &anna)] {
        assert_eq!(key_of(dialer, accepter).await, Ok([old.key_id(); 2]));
    }
    let carl = Node::new(&new, 0xc);
    for (dialer, accepter) in [(&anna, &carl), (&carl, &anna)] {
        assert_eq!(key_of(dialer, accepter).await, Ok([new.key_id(); 2]));
    }
    anna.endpoint.set_identity(&identity(&both.presented_only()));
    for (dialer, accepter) in [(&anna, &bert), (&bert, &anna)] {
        let refused = key_of(dialer, accepter).await.expect_err("the old one is not known any more");
        assert!([LinkFault::OtherCluster, LinkFault::RefusedUs].contains(&refused.fault), "{refused}");
    }
    assert_eq!(before.close_reason(), None, "what stood before, stands");
}

#[tokio::test]
async fn nobody_at_an_address_is_said_so() {
    let (anna, bert) = two_nodes();
    bert.cut.cut();
    let error = soon(anna.endpoint.dial(bert.address())).await.expect_err("nobody");
    assert_eq!(error, LinkError { peer: bert.address(), fault: LinkFault::Timeout });
}

#[tokio::test]
async fn a_short_cut_is_survived() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    a.send(0, "before");
    b.expect_frame(0, b"before").await;
    bert.cut.cut();
    a.send(0, "during");
    sleep(Duration::from_millis(500)).await;
    assert!(b.events.try_recv().is_err(), "it is cut off");
    bert.cut.heal();
    b.expect_frame(0, b"during").await;
    b.send(0, "after");
    a.expect_frame(0, b"after").await;
}

#[tokio::test]
async fn a_long_cut_loses_the_link_on_both_sides_and_a_new_one_can_be_had() {
    let (anna, bert) = two_nodes();
    let (mut a, mut b) = anna.linked(&bert).await;
    a.send(0, "before");
    b.expect_frame(0, b"before").await;
    a.expect_sent(0).await;
    bert.cut.cut();
    assert_eq!(a.expect_closed().await, LinkFault::Timeout.to_string());
    assert_eq!(b.expect_closed().await, LinkFault::Timeout.to_string());
    bert.cut.heal();
    let (a, mut b) = anna.linked(&bert).await;
    a.send(0, "after");
    b.expect_frame(0, b"after").await;
}

/// The next link of a kept connection, which comes with a sign of life.
async fn revived(kept: Option<Kept>, link: u64) -> Side {
    let session = soon(kept.expect("kept").revived()).await.expect("a sign of life");
    Side::of_session(session, link, 16)
}

#[tokio::test]
async fn a_connection_that_was_silent_carries_the_next_link() {
    let (anna, bert) = two_nodes();
    let (a, mut b) = anna.linked(&bert).await;
    // What is under way on either side is over with the link.
    a.send(1, vec![1; 100_000]);
    b.expect_frame(1, &[1; 100_000]).await;
    bert.cut.cut();
    b.send(1, vec![2; 100_000]);
    b.send(2, "of the lost link");
    a.send(0, "of the lost link");
    let ((why_a, a), (why_b, b)) = tokio::join!(a.expect_closed_and_kept(), b.expect_closed_and_kept());
    assert_eq!([why_a, why_b], [LinkFault::Timeout.to_string(), LinkFault::Timeout.to_string()]);
    bert.cut.heal();
    let mut a = revived(a, 3).await;
    // With this it opens the control channel.
    a.send(0, "hello");
    let mut b = revived(b, 4).await;
    b.expect_frame(0, b"hello").await;
    b.send(0, "hello");
    a.expect_frame(0, b"hello").await;
    a.send(1, "question");
    b.expect_frame(1, b"question").await;
    b.send(2, "other");
    a.expect_frame(2, b"other").await;
    let stats = a.handle.stats();
    assert_eq!((stats.sent.frame_bytes, stats.received.frame_bytes), (13, 10), "of this link alone");
    assert!(stats.sent.wire_bytes < 3_000, "of this link alone, and no handshake: {}", stats.sent.wire_bytes);
}

#[tokio::test]
async fn a_peer_that_has_restarted_ends_its_old_connections() {
    let secret = secret();
    let (anna, bert) = (Node::new(&secret, 0xa), Node::new(&secret, 0xb));
    let (mut a, mut b) = anna.linked(&bert).await;
    a.send(0, "hello");
    b.expect_frame(0, b"hello").await;
    let address = bert.address();
    // It says no goodbye.
    bert.cut.cut();
    drop((b, bert));
    let mut bound = None;
    while bound.is_none() {
        sleep(Duration::from_millis(10)).await;
        bound = std::net::UdpSocket::bind(address).ok();
    }
    drop(bound);
    let _bert = Node::at(address, &secret, 0xb, Transport::lan());
    a.expect_sent(0).await;
    let (why, kept) = a.expect_closed_and_kept().await;
    // Or the silence was noticed before.
    let ended = match kept {
        Some(kept) => soon(kept.revived()).await.is_none(),
        None => why != LinkFault::Timeout.to_string(),
    };
    assert!(ended, "{why}");
}

#[tokio::test]
async fn a_silence_may_be_as_long_or_short_as_numbers_go() {
    let secret = secret();
    let transport = || Transport { idle_timeout: Duration::MAX, ..Transport::lan() };
    let (anna, bert) = (Node::with(&secret, 0xa, transport()), Node::with(&secret, 0xb, transport()));
    for silence in [Duration::MAX, Duration::from_nanos(1)] {
        let (ours, theirs) = anna.connect(&bert).await;
        let a = Side::with_silence(Session::first(ours), 1, 16, Duration::MAX);
        let mut b = Side::with_silence(Session::first(theirs), 2, 16, silence);
        a.send(0, "hello");
        // With the shortest it may be lost, and that is all.
        let event = b.next().await;
        assert!(matches!(event, LinkEvent::Frame { .. } | LinkEvent::Closed { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn who_has_noticed_no_silence_is_told_of_it() {
    for noticed_by_dialer in [true, false] {
        let (anna, bert) = two_nodes();
        let (ours, theirs) = anna.connect(&bert).await;
        let silences = [Duration::from_millis(800), PATIENCE];
        let [of_a, of_b] = if noticed_by_dialer { silences } else { [silences[1], silences[0]] };
        let mut a = Side::with_silence(Session::first(ours), 1, 16, of_a);
        let mut b = Side::with_silence(Session::first(theirs), 2, 16, of_b);
        a.send(0, "hello");
        b.expect_frame(0, b"hello").await;
        b.send(0, "hello");
        a.expect_frame(0, b"hello").await;
        bert.cut.cut();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        bert.cut.heal();
        let ((_, a), (_, b)) = tokio::join!(a.expect_closed_and_kept(), b.expect_closed_and_kept());
        let a = revived(a, 3).await;
        a.send(0, "again");
        let mut b = revived(b, 4).await;
        b.expect_frame(0, b"again").await;
    }
}

/// What a link says of a peer that writes these bytes on streams of its own, one after the other.
async fn verdict_on(streams: &[&[u8]]) -> String {
    let (anna, bert) = two_nodes();
    let (mallory, theirs) = anna.connect(&bert).await;
    let side = Side::new(theirs, 1);
    let mut open = Vec::new();
    for &bytes in streams {
        let (mut send, recv) = soon(mallory.open_bi()).await.expect("a stream");
        let finished = bytes.strip_suffix(b"FIN");
        send.write_all(finished.unwrap_or(bytes)).await.expect("written");
        if finished.is_some() {
            send.finish().expect("open");
        }
        open.push((send, recv));
    }
    let reason = side.expect_closed().await;
    let told = LinkFault::from(&soon(mallory.closed()).await).to_string();
    let words = reason.strip_prefix("the peer broke the protocol: ").expect(&reason);
    assert_eq!(told, format!("closed by the peer: {words}"));
    words.to_owned()
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_is_told_and_cut_off() {
    assert_eq!(
        verdict_on(&[b"\x00\x01\xbf\xff\xff\xff"]).await,
        "a frame of 1073741823 bytes on channel 1, more than 6291456"
    );
    assert_eq!(
        verdict_on(&[b"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff"]).await,
        "a frame of 4611686018427387903 bytes on channel 1, more than 6291456"
    );
    assert_eq!(verdict_on(&[b"\x00\x02"]).await, "a stream for channel 2, which is not the opener's to number");
    assert_eq!(verdict_on(&[b"\x00\x01", b"\x00\x01"]).await, "a second stream for channel 1");
    assert_eq!(verdict_on(&[b"\x00\x00", b"\x00\x00"]).await, "a second stream for channel 0");
    assert_eq!(verdict_on(&[b"\xc0FIN"]).await, "a stream ended before it named its channel");
    assert_eq!(verdict_on(&[b"\x00\xc0FIN"]).await, "a stream ended before it named its channel");
    assert_eq!(verdict_on(&[b"\x00\x01\x09FIN"]).await, "channel 1 ended in the middle of a frame");
    assert_eq!(verdict_on(&[b"\x00\x01\x40FIN"]).await, "channel 1 ended in the middle of a frame");
    assert_eq!(verdict_on(&[b"\x00\x00FIN"]).await, "the control channel ended");
}

#[tokio::test]
async fn a_frame_too_long_to_send_closes_the_link() {
    let (anna, bert) = two_nodes();
    let (a, b) = anna.linked(&bert).await;
    a.send(0, vec![0; Side::FRAME_BYTES_MAX + 1]);
    assert!(a.expect_closed().await.contains("bytes to send"));
    assert_eq!(b.expect_closed().await, "closed by the peer: an internal fault");
}

/// A peer that accepts the streams of channels 0 and 1, and reads only the first frame of the control channel.
async fn read_control_only(peer: &quinn::Connection, payload: &[u8]) -> Vec<(quinn::SendStream, quinn::RecvStream)> {
    let mut streams = Vec::new();
    loop {
        let (send, mut recv) = soon(peer.accept_bi()).await.expect("a stream");
        let mut name = [0xff; 2];
        soon(recv.read_exact(&mut name)).await.expect("a name");
        if name == [0, 0] {
            let mut frame = vec![0; 1 + payload.len()];
            soon(recv.read_exact(&mut frame)).await.expect("a frame");
            assert_eq!((usize::from(frame[0]), &frame[1..]), (payload.len(), payload));
            streams.push((send, recv));
            return streams;
        }
        streams.push((send, recv));
    }
}

#[tokio::test]
async fn a_channel_that_is_not_read_holds_up_no_other_and_gives_every_frame_back_when_reset() {
    let (anna, bert) = two_nodes();
    let (ours, theirs) = anna.connect(&bert).await;
    let mut a = Side::new(ours, 1);
    for _ in 0..3 {
        a.send(1, vec![1; 5 << 20]);
    }
    a.send(0, "urgent");
    a.expect_sent(0).await;
    let _streams = read_control_only(&theirs, b"urgent").await;
    assert!(a.events.try_recv().is_err(), "nobody reads channel 1");
    a.tell(LinkCommand::Reset { channel: 1 });
    for _ in 0..3 {
        a.expect_sent(1).await;
    }
    a.tell(LinkCommand::Close { reason: "enough".to_owned() });
    assert_eq!(a.expect_closed().await, "closed on this side: enough");
}

#[tokio::test]
async fn a_channel_with_too_much_to_send_breaks_the_link() {
    let (anna, bert) = two_nodes();
    let (ours, _theirs) = anna.connect(&bert).await;
    let a = Side::new(ours, 1);
    let frame = Bytes::from(vec![0; 4 << 20]);
    for _ in 0..QUEUE_FRAMES_MAX + 3 {
        while a.handle.try_send(LinkCommand::Send { channel: 1, frame: frame.clone() }).is_err() {
            tokio::task::yield_now().await;
        }
    }
    assert!(a.expect_closed().await.contains("too many frames wait on channel 1"));
}

#[tokio::test]
async fn what_came_before_the_peer_closed_is_still_delivered() {
    let (anna, bert) = two_nodes();
    let (ours, theirs) = anna.connect(&bert).await;
    let (mut a, b) = (Side::with_room(ours, 1, 1), Side::new(theirs, 2));
    // With room for one event, most of these wait within the link.
    a.send(0, "hello");
    for number in 0..10 {
        b.send(0, vec![number]);
    }
    // The close overtakes what is still being sent, so give it time; less than enough would fail, not pass.
    sleep(Duration::from_millis(500)).await;
    b.tell(LinkCommand::Close { reason: "good night".to_owned() });
    b.expect_closed_after_frames(1).await;
    for number in 0..10 {
        a.expect_frame(0, &[number]).await;
    }
    assert_eq!(a.expect_closed().await, "closed by the peer: good night");
}

#[tokio::test]
async fn a_cancel_ends_all_tasks_though_nobody_reads_the_events() {
    let (anna, bert) = two_nodes();
    let (ours, theirs) = anna.connect(&bert).await;
    let (a, b) = (Side::with_room(ours, 1, 1), Side::new(theirs, 2));
    for channel in [0, 1, 3, 5] {
        a.send(channel, "one");
        a.send(channel, "two");
    }
    // The first event fills Anna's queue: its channel goes on to its second frame, all others wait after their first.
    soon(async {
        while b.events.len() < 5 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    a.cancel.cancel();
    soon(a.tracker.wait()).await;
    b.expect_closed_after_frames(5).await;
    anna.endpoint.close(CloseCode::Shutdown, "bye");
    bert.endpoint.close(CloseCode::Shutdown, "bye");
    soon(anna.endpoint.wait_idle()).await;
    assert!(soon(bert.endpoint.accept()).await.is_none());
}

#[tokio::test]
async fn a_dropped_handle_closes_the_link() {
    let (anna, bert) = two_nodes();
    let (a, b) = anna.linked(&bert).await;
    let Side { handle, events: _events, tracker, .. } = a;
    drop(handle);
    soon(tracker.wait()).await;
    assert_eq!(b.expect_closed().await, "closed by the peer: shutting down");
}

/// Relays between strangers and a node so that no handshake goes beyond the proof of an address: of what the node says,
/// only retries pass (their first byte starts with four ones). Returns after that many.
async fn relay_retries(mouth: &UdpSocket, node: SocketAddr, strangers: SocketAddr, retries: usize) {
    let (mut datagram, mut passed) = ([0; 1500], 0);
    while passed < retries {
        let (length, from) = mouth.recv_from(&mut datagram).await.expect("a datagram");
        let is_retry = datagram[0] & 0xf0 == 0xf0;
        passed += usize::from(from == node && is_retry);
        if from != node || is_retry {
            let to = if from == node { strangers } else { node };
            mouth.send_to(&datagram[..length], to).await.expect("sent");
        }
    }
}

#[tokio::test]
async fn strangers_who_never_finish_do_not_stall_a_good_peer() {
    let cluster = secret();
    let (anna, bert) = (Node::new(&cluster, 0xa), Node::new(&cluster, 0xb));
    let bert = Arc::new(bert);
    let accepting = Arc::clone(&bert);
    let (found, mut accepted) = mpsc::unbounded_channel();
    let accept = tokio::spawn(async move {
        while let Some(arrival) = accepting.endpoint.accept().await {
            if let Ok((connection, peer, _)) = arrival {
                found.send((connection, peer)).expect("the test is still there");
            }
        }
    });

    let (endpoint, config) = intruder(&cluster, None, ALPN);
    let strangers = endpoint.local_addr().expect("an address");
    let mouth = UdpSocket::bind(ANYWHERE).await.expect("a socket");
    let address = mouth.local_addr().expect("an address");
    let attempt = |_| endpoint.connect_with(config.clone(), address, CLUSTER_NAME).expect("an attempt");
    let _attempts: Vec<_> = (0..3 * HANDSHAKES_MAX).map(attempt).collect();
    soon(relay_retries(&mouth, bert.address(), strangers, 2 * HANDSHAKES_MAX)).await;
    let node = bert.address();
    let relay = tokio::spawn(async move { relay_retries(&mouth, node, strangers, usize::MAX).await });

    // On a busy machine an attempt may be among the oldest unfinished ones, and given up, which only the accepting side
    // knows at once: it is made anew, as nodes do.
    let moment = Duration::from_secs(5);
    let persistent = async {
        loop {
            let Ok(Ok((link, peer))) = timeout(moment, anna.endpoint.dial(bert.address())).await else { continue };
            assert_eq!(peer.replica, Some(bert.replica));
            if let Ok(Some((_connection, peer))) = timeout(moment, accepted.recv()).await {
                return (link, peer);
            }
        }
    };
    assert_eq!(soon(persistent).await.1.replica, Some(anna.replica));
    relay.abort();
    accept.abort();
}

/// A counter outside: what passes from one address to another by way of it, with headers.
struct Path {
    address: SocketAddr,
    wire_bytes: Arc<AtomicU64>,
    _relay: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Path {
    async fn to(node: SocketAddr) -> Self {
        let mouth = UdpSocket::bind(ANYWHERE).await.expect("a socket");
        let address = mouth.local_addr().expect("an address");
        let wire_bytes = Arc::new(AtomicU64::new(0));
        let counter = wire_bytes.clone();
        let relay = tokio::spawn(async move {
            let (mut datagram, mut dialer) = ([0; 2_000], node);
            loop {
                let (length, from) = mouth.recv_from(&mut datagram).await.expect("a datagram");
                let to = if from == node { dialer } else { node };
                if from != node {
                    dialer = from;
                    counter.fetch_add(length as u64 + 28, Ordering::Relaxed);
                }
                mouth.send_to(&datagram[..length], to).await.expect("sent");
            }
        });
        Self { address, wire_bytes, _relay: AbortOnDrop(relay) }
    }

    fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }
}

/// A link from a node with an upload limit, and a counter on its way.
async fn limited_link(bytes_per_second: u64) -> (Node, Node, Path, Side, Side) {
    let secret = secret();
    let upload = UploadLimits { all: Some(bytes_per_second), each: None };
    let (anna, bert) = (Node::with_upload(&secret, 0xa, upload), Node::new(&secret, 0xb));
    let path = Path::to(bert.address()).await;
    let (dialed, accepted) = soon(async { tokio::join!(anna.endpoint.dial(path.address), bert.accept()) }).await;
    let (ours, theirs) = (dialed.expect("dialed").0, accepted.expect("accepted").0);
    let (a, b) = (Side::new(ours, 1), Side::new(theirs, 2));
    (anna, bert, path, a, b)
}

#[tokio::test]
async fn an_upload_limit_is_kept_by_all_that_leaves_from_the_first_handshake_on() {
    const LIMIT: u64 = 30_000;
    let start = tokio::time::Instant::now();
    let (anna, _bert, path, a, mut b) = limited_link(LIMIT).await;
    a.send(1, vec![7; 60_000]);
    b.expect_frame(1, &[7; 60_000]).await;
    let (sent, seconds) = (path.wire_bytes(), start.elapsed().as_secs_f64());
    println!("{sent} bytes in {seconds:.2} s: {:.3} of the limit", sent as f64 / seconds / LIMIT as f64);
    assert!(sent as f64 <= LIMIT as f64 * seconds + 2.0 * 1_228.0, "{sent} bytes in {seconds} s");
    assert!(sent > 60_000, "all of it was seen");
    // Acknowledgements go on for a moment; what has not come there yet is on its way through the counter.
    soon(async {
        while path.wire_bytes() != anna.endpoint.meter().sent().wire_bytes {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_control_frame_passes_all_bulk_but_what_is_on_its_way() {
    let (_anna, _bert, path, a, mut b) = limited_link(200_000).await;
    for channel in 0..8 {
        a.send(2 * channel + 1, vec![7; 60_000]);
    }
    // Bulk is under way, and the window has found its size.
    soon(async {
        while path.wire_bytes() < 100_000 {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let before = path.wire_bytes();
    a.send(0, vec![1; 40_000]);
    b.expect_frame(0, &[1; 40_000]).await;
    let bulk = path.wire_bytes() - before - 40_000;
    println!("{bulk} bytes before and around a control frame");
    assert!(bulk < 60_000, "{bulk} bytes of others went before it");
}

/// What went wrong: QUIC wakes the writers that wait for room in no fair order, and bulk took all of it for as long as
/// there was any.
#[tokio::test]
async fn control_frames_do_not_starve_beside_bulk_that_takes_all_room() {
    const FRAMES: usize = 12;
    let (_anna, _bert, path, mut a, mut b) = limited_link(60_000).await;
    for channel in 0..4 {
        a.send(2 * channel + 1, vec![7; 400_000]);
    }
    for number in 0..FRAMES {
        let (before, grown) = (path.wire_bytes(), 10_000);
        soon(async {
            while path.wire_bytes() < before + grown {
                sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let before = path.wire_bytes();
        a.send(0, vec![number as u8; 100]);
        b.expect_frame(0, &[number as u8; 100]).await;
        a.expect_sent(0).await;
        let bulk = path.wire_bytes() - before;
        assert!(bulk < 60_000, "{bulk} bytes went before control frame {number}");
    }
}

#[tokio::test]
async fn a_metered_link_on_which_nothing_is_said_sends_nothing_for_seconds() {
    let secret = secret();
    let (anna, bert) = (Node::with(&secret, 0xa, Transport::metered()), Node::with(&secret, 0xb, Transport::metered()));
    let (mut a, mut b) = anna.linked(&bert).await;
    a.send(0, "hello");
    b.expect_frame(0, b"hello").await;
    b.send(0, "hello");
    a.expect_frame(0, b"hello").await;
    let datagrams = || anna.endpoint.meter().sent().datagrams + bert.endpoint.meter().sent().datagrams;
    // What the handshake and the frames have left to be acknowledged.
    sleep(Duration::from_secs(1)).await;
    let before = datagrams();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(datagrams(), before, "a link of the other profile has said eight times that it lives");
    a.send(0, "at once");
    b.expect_frame(0, b"at once").await;
}

#[tokio::test]
async fn an_attempt_tells_when_it_is_answered_and_not_before() {
    let (anna, bert) = two_nodes();
    let answered = AtomicU64::new(0);
    let tell = || {
        answered.fetch_add(1, Ordering::Relaxed);
    };
    let dial = || anna.endpoint.dial_and_tell(bert.address(), tell);
    bert.cut.cut();
    assert!(timeout(Duration::from_millis(300), dial()).await.is_err());
    assert_eq!(answered.load(Ordering::Relaxed), 0, "nobody is there");
    bert.cut.heal();
    // The first one has been given up, and may have said so.
    let accepting = async { while bert.accept().await.is_err() {} };
    let (dialed, ()) = soon(async { tokio::join!(dial(), accepting) }).await;
    dialed.expect("dialed");
    assert_eq!(answered.load(Ordering::Relaxed), 1);
}

/// What went wrong: on a thin link each of several attempts was answered in full, and all answers came too late.
#[tokio::test]
async fn a_second_attempt_from_an_address_that_is_answered_costs_a_few_bytes() {
    let (anna, bert) = two_nodes();
    let sent = || bert.endpoint.meter().sent().wire_bytes;
    let answer = async |attempts: usize| {
        let before = sent();
        let mut dials: Vec<_> = (0..attempts).map(|_| Box::pin(anna.endpoint.dial(bert.address()))).collect();
        let first = std::future::poll_fn(|cx| {
            let ready = dials.iter_mut().find_map(|dial| match dial.as_mut().poll(cx) {
                Poll::Ready(dialed) => Some(dialed.is_ok()),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        let linked = soon(async {
            tokio::select! {
                is_linked = first => is_linked,
                () = async { loop { drop(bert.accept().await) } } => unreachable!("it goes on"),
            }
        });
        assert!(linked.await);
        sent() - before
    };
    let one = answer(1).await;
    let five = answer(5).await;
    assert!(five < 2 * one, "{one} bytes for one attempt, and {five} for five");
}
