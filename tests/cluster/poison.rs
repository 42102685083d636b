//! poison_message: what a peer that holds the secret may send, and what a node makes of it. Each time the link is closed
//! for a reason that is logged, nothing has changed, and the other links stay. Not responsible for memory:
//! `poison_memory.rs` measures it.

use crate::dice::Dice;
use crate::mallory::{Mallory, Talk, Valid, entries, on_channel, valid_frames, whole_pull};
use crate::stores::{PATIENCE, Picture, agree, eventually, linked, logged, mesh, open, secret};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidings::crdt::{Audit, CausalContext, DotSet};
use tidings::proto::codec;
use tidings::proto::message::{Begin, Beginning, Hello, Message, Part, Pull};
use tidings::runtime::net::ALPN;
use tidings::{ReplicaId, Secret, Store};

/// A node with something to lose, and a friend that has it too.
struct Scene {
    secret: Secret,
    victim: Store,
    friend: Store,
    before: Picture,
}

impl Scene {
    async fn set() -> Self {
        let secret = secret();
        let victim = open(&secret, "victim", &[]).await;
        let friend = open(&secret, "friend", &[&victim]).await;
        mesh(&[&victim, &friend]).await;
        for key in ["kettle", "mirror", "lamp"] {
            victim.put(key, "on").await.expect("written");
            friend.put(key, "off").await.expect("written");
        }
        victim.delete("lamp").await.expect("deleted");
        agree(&[&victim, &friend]).await;
        let before = Picture::of(&victim);
        Self { secret, victim, friend, before }
    }

    /// Nothing has changed. A lost link to the friend would have: either would have written the other down.
    fn unchanged(&self, after: &str) {
        let now = Picture::of(&self.victim);
        assert!(now == self.before, "after {after}: {}", self.before.difference(&now));
        assert_eq!(self.victim.status().pending, 0, "after {after}");
        assert!(linked(&self.victim, &self.friend), "after {after}");
    }

    /// The link was closed for a reason with these words, which the victim has logged, and nothing has changed.
    async fn refused(&self, mallory: &Mallory, talk: Talk, words: &str) {
        let verdict = talk.verdict().await;
        assert!(verdict.contains(words), "{words}: {verdict}");
        let address = mallory.address();
        eventually("the reason is logged", || !logged(&["the peer broke the protocol", &address, words]).is_empty())
            .await;
        self.unchanged(words);
    }

    /// It goes on living.
    /// What a believed lie has left pending stays so, for its source is gone: but the two go on.
    async fn still_talk(self) {
        let Self { victim, friend, .. } = self;
        victim.put("after", "all this").await.expect("written");
        friend.put("and", "so does the friend").await.expect("written");
        let heard = || friend.get("after").is_some() && victim.get("and").is_some();
        eventually("each has heard the other", heard).await;
        victim.close().await;
        friend.close().await;
    }

    async fn over(self) {
        let Self { victim, friend, .. } = self;
        victim.put("after", "all this").await.expect("written");
        friend.put("and", "so does the friend").await.expect("written");
        agree(&[&victim, &friend]).await;
        assert_eq!(friend.get("after").as_deref(), Some(&b"all this"[..]));
        victim.close().await;
        friend.close().await;
    }
}

fn plain(message: &Message) -> Bytes {
    codec::encode(message, None)
}

fn hello(mallory: &Mallory) -> Bytes {
    plain(&Message::Hello(mallory.hello()))
}

/// What is refused on the control channel: after a hello, or instead of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_on_the_control_channel() {
    let scene = Scene::set().await;
    let id = scene.victim.id();
    let unmade = || -> CausalContext { [(id, 1_000_000)].into_iter().collect() };
    let far: CausalContext = [(ReplicaId::from(7), 1 << 63)].into_iter().collect();
    let context = |context| plain(&Message::Context { context, replace: true });
    let map = Mallory::new(&scene.secret).map();
    let mut ahead = map.clone();
    ahead.incorporate(&unmade());
    let pull = |base| plain(&Message::Pull(whole_pull(base)));
    let endless_count = [&[2, 1, 1][..], &[0xff; 9], &[1]].concat();
    let after_hello: [(Bytes, &str); 10] = [
        (context(unmade()), "two nodes run with one replica id"),
        (plain(&Message::Push(ahead.delta_since(&CausalContext::new()))), "two nodes run with one replica id"),
        (context(far), "a counter that no replica can have reached"),
        (endless_count.into(), "replicas of a context"),
        (pull(CausalContext::new()), "Pull on the control channel"),
        (plain(&Message::Begin(Beginning::default())), "Begin on the control channel"),
        (plain(&Message::Done { bound: CausalContext::new() }), "Done on the control channel"),
        (Bytes::new(), "it ends in the middle"),
        (Bytes::from_static(&[99, 1, 2, 3]), "a message of an unknown kind"),
        (plain(&Message::Hello(Mallory::new(&scene.secret).hello())), "Hello on the control channel"),
    ];
    for (frame, words) in after_hello {
        let mallory = Mallory::new(&scene.secret);
        let mut talk = mallory.dial(&scene.victim).await;
        talk.control(&[hello(&mallory), frame]).await;
        scene.refused(&mallory, talk, words).await;
    }
    let push = plain(&Message::Push(map.delta_since(&CausalContext::new())));
    for (frame, words) in [
        (push, "Push before the hello"),
        (plain(&Message::Goodbye { left: true }), "Goodbye before the hello"),
        (context(unmade()), "Context before the hello"),
        (Bytes::from_static(b"GET / HTTP/1.1\r\n"), "a message of an unknown kind"),
    ] {
        let mallory = Mallory::new(&scene.secret);
        let mut talk = mallory.dial(&scene.victim).await;
        talk.control(&[frame]).await;
        scene.refused(&mallory, talk, words).await;
    }
    scene.over().await;
}

/// Whoever holds the secret may be any replica, but one at a time, and not the victim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_under_a_false_name() {
    let scene = Scene::set().await;
    let refuse = async |mallory: Mallory, hello: Hello, words: &str| {
        let mut talk = mallory.dial(&scene.victim).await;
        talk.control(&[plain(&Message::Hello(hello))]).await;
        scene.refused(&mallory, talk, words).await;
    };
    let mallory = Mallory::new(&scene.secret);
    let hello = Hello { replica: scene.friend.id(), ..mallory.hello() };
    refuse(mallory, hello, "its certificate says").await;
    let mallory = Mallory::new(&scene.secret);
    let hello = Hello { cluster: [7; 16], ..mallory.hello() };
    refuse(mallory, hello, "it is of another cluster").await;
    let mallory = Mallory::posing_as(&scene.secret, scene.victim.id());
    let hello = mallory.hello();
    refuse(mallory, hello, "another process runs with the replica id").await;
    scene.over().await;
}

/// Streams that keep to no rule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_below_the_frames() {
    let scene = Scene::set().await;
    let streams: [(Vec<u8>, &str); 4] = [
        (vec![0, 0, 0xbf, 0xff, 0xff, 0xff], "a frame of 1073741823 bytes on channel 0"),
        (vec![0, 1, 0x81, 0, 0, 0x01], "a frame of 16777217 bytes on channel 1"),
        (vec![0, 2], "a stream for channel 2, which is not the opener's to number"),
        (vec![0, 0xc0, 0, 0, 0, 0, 0, 1, 0], "a stream for channel 256"),
    ];
    for greeted in [false, true] {
        for (bytes, words) in &streams {
            if greeted && bytes[1] == 0 {
                continue;
            }
            let mallory = Mallory::new(&scene.secret);
            let mut talk = mallory.dial(&scene.victim).await;
            if greeted {
                talk.control(&[hello(&mallory)]).await;
            }
            talk.stream(bytes).await;
            scene.refused(&mallory, talk, words).await;
        }
    }
    let mallory = Mallory::new(&scene.secret);
    let mut talk = mallory.dial(&scene.victim).await;
    talk.control(&[hello(&mallory)]).await;
    talk.control(&[hello(&mallory)]).await;
    scene.refused(&mallory, talk, "a second stream for channel 0").await;
    scene.over().await;
}

/// Syncs that are not as syncs are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_in_a_sync() {
    let scene = Scene::set().await;
    let unmade = || -> CausalContext { [(scene.victim.id(), 1_000_000)].into_iter().collect() };
    let begin = |snapshot, catch_up| {
        let begin = Begin { snapshot, bound: CausalContext::new(), catch_up };
        plain(&Message::Begin(Beginning::whole(&begin)))
    };
    let done = || plain(&Message::Done { bound: CausalContext::new() });
    let honest = || begin(CausalContext::new(), false);
    let live = || plain(&Message::Live(Part { part: DotSet::new(), last: true }));
    let mut ahead = Mallory::new(&scene.secret).map();
    ahead.incorporate(&unmade());
    let answers: [(Vec<Bytes>, &str); 7] = [
        (vec![begin(unmade(), false)], "a clock that is told twice"),
        (vec![plain(&Message::Chunk(entries(&ahead)))], "two nodes run with one replica id"),
        (vec![plain(&Message::Done { bound: CausalContext::new() })], "Done where the beginning of a pull"),
        (vec![live()], "Live where the beginning of a pull"),
        (vec![honest(), live()], "Live where entries"),
        (vec![honest(), honest()], "Begin where entries"),
        (vec![begin(CausalContext::new(), true), done(), done()], "Done where"),
    ];
    for (frames, words) in answers {
        let mallory = Mallory::new(&scene.secret);
        let mut talk = mallory.dial(&scene.victim).await;
        talk.control(&[hello(&mallory)]).await;
        talk.answer_pull(&frames).await;
        scene.refused(&mallory, talk, words).await;
    }

    let pull = |base| plain(&Message::Pull(Pull { catch_up: true, ..whole_pull(base) }));
    let more = || plain(&Message::More { symbols: 20, differences: 3 });
    let asked: [(Vec<Bytes>, &str); 4] = [
        (vec![pull(unmade())], "two nodes run with one replica id"),
        (vec![pull(CausalContext::new()), pull(CausalContext::new())], "Pull where"),
        (vec![pull(CausalContext::new()), more()], "More where nothing was expected"),
        (vec![pull(CausalContext::new()), Bytes::from_static(&[99])], "a message of an unknown kind"),
    ];
    for (frames, words) in asked {
        let mallory = Mallory::new(&scene.secret);
        let mut talk = mallory.dial(&scene.victim).await;
        talk.control(&[hello(&mallory)]).await;
        talk.stream(&on_channel(1, &frames)).await;
        scene.refused(&mallory, talk, words).await;
    }
    let mallory = Mallory::new(&scene.secret);
    let mut talk = mallory.dial(&scene.victim).await;
    talk.control(&[hello(&mallory)]).await;
    eventually("the victim takes her for a peer", || scene.victim.status().links.len() == 2).await;
    for channel in [1, 3, 5, 7, 9] {
        talk.stream(&on_channel(channel, &[pull(CausalContext::new())])).await;
    }
    scene.refused(&mallory, talk, "too many pulls at once").await;
    scene.over().await;
}

/// Channels without end, on which nothing more is said: they cost little, and nobody else anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_that_never_ends() {
    let scene = Scene::set().await;
    let mallory = Mallory::new(&scene.secret);
    let mut talk = mallory.dial(&scene.victim).await;
    talk.control(&[hello(&mallory)]).await;
    eventually("the victim takes her for a peer", || scene.victim.status().links.len() == 2).await;
    let mut opened = 0;
    for channel in (1..64).step_by(2).chain([0x40]) {
        // The last has half a name; each of the others begins a frame, and leaves it there.
        let begun: &[u8] = if channel == 0x40 { &[0, channel] } else { &[0, channel, 0x44, 0, 1, 2, 3] };
        let opening = talk.stream(begun);
        opened += usize::from(tokio::time::timeout(Duration::from_secs(1), opening).await.is_ok());
    }
    assert_eq!(opened, 33);
    while tokio::time::timeout(Duration::from_millis(200), talk.stream(&[0, 0x40])).await.is_ok() {
        opened += 1;
        assert!(opened <= 64, "there is no end of them");
    }
    scene.victim.put("meanwhile", "1").await.expect("written");
    agree(&[&scene.victim, &scene.friend]).await;
    drop(talk);
    eventually("her link is gone", || scene.victim.status().links.len() == 1).await;
    scene.over().await;
}

/// One link after the other on the same connection, each given up for the next at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_of_sessions_without_end() {
    let scene = Scene::set().await;
    let mallory = Mallory::new(&scene.secret);
    let mut talk = mallory.dial(&scene.victim).await;
    for session in 0..40_u8 {
        talk.stream(&[&[session], &on_channel(0, &[hello(&mallory)])[1..]].concat()).await;
    }
    eventually("the victim takes her for a peer", || scene.victim.status().links.len() == 2).await;
    // A stream of one that is over means nothing.
    talk.stream(&[7, 3, 1, 2]).await;
    scene.victim.put("meanwhile", "1").await.expect("written");
    agree(&[&scene.victim, &scene.friend]).await;
    assert_eq!(talk.connection.close_reason(), None);
    drop(talk);
    eventually("her link is gone", || scene.victim.status().links.len() == 1).await;
    scene.over().await;
}

/// Frames as valid ones but for one byte, of each kind and in each place. What does not decode closes the link and changes
/// nothing; what still does is said to another pair of nodes, who may believe it, and go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_with_any_byte_changed() {
    const MALLORIES: u64 = 4;
    // Each takes a handshake, for which the link is closed. More, if asked for.
    let runs = std::env::var("TIDINGS_RUNS").map_or(1_000, |runs| runs.parse().expect("a number"));
    let each = runs / (MALLORIES as usize);
    let (scene, gullible) = (Scene::set().await, Scene::set().await);
    let start = Instant::now();
    let mut at_work = tokio::task::JoinSet::new();
    for seed in 0..MALLORIES {
        let mallory = Mallory::new(&scene.secret);
        at_work.spawn(mutants(mallory, scene.victim.clone(), seed, each, |valid| !excludes_others(valid)));
    }
    let mut refused = 0;
    while let Some(done) = at_work.join_next().await {
        refused += done.expect("all are refused");
    }
    refused += mutants(Mallory::new(&scene.secret), scene.victim.clone(), MALLORIES, each / 5, excludes_others).await;
    scene.unchanged("mutants");
    let took = start.elapsed();

    let mallory = Mallory::new(&gullible.secret);
    let (mut dice, kinds) = (Dice::new(9), valid_frames(&mallory, &context_of(&gullible.victim)));
    for number in 0..300 {
        let valid = &kinds[number % kinds.len()];
        let talk = mallory.say(&gullible.victim, valid, decodable(&mut dice, valid)).await;
        // Whatever becomes of it.
        talk.connection.close(0_u32.into(), b"");
    }
    eprintln!("{refused} mutants refused in {took:.1?}, 300 of another kind said in {:.1?}", start.elapsed() - took);
    assert!(refused > runs / 2, "most of them should not decode: {refused}");
    scene.over().await;
    gullible.still_talk().await;
}

/// While one catch-up is under way, what others send in their syncs is not even read.
fn excludes_others(valid: &Valid) -> bool {
    valid.begun.as_ref().is_some_and(|begun| begun.catch_up)
}

/// Says so many, of those kinds; how many it found.
async fn mutants(mallory: Mallory, victim: Store, seed: u64, count: usize, of: impl Fn(&Valid) -> bool) -> usize {
    let (mut dice, mut kinds) = (Dice::new(seed), valid_frames(&mallory, &context_of(&victim)));
    kinds.retain(of);
    let mut refused = 0;
    for number in 0..count {
        let valid = &kinds[number % kinds.len()];
        let Some(frame) = mutant(&mut dice, valid) else { continue };
        let verdict = mallory.say(&victim, valid, frame.clone()).await.verdict().await;
        assert!(!verdict.is_empty() && !verdict.contains("another link"), "{verdict}: {valid:?} as {frame:?}");
        refused += 1;
    }
    refused
}

/// A frame with one byte changed that does not decode; none if it is hard to find one.
fn mutant(dice: &mut Dice, valid: &Valid) -> Option<Bytes> {
    let mut frames = (0..8).map(|_| changed(dice, &valid.frame));
    frames.find(|frame| codec::decode(frame, valid.begun.as_ref()).is_err())
}

/// One that does, or the frame itself.
fn decodable(dice: &mut Dice, valid: &Valid) -> Bytes {
    let mut frames = (0..50).map(|_| changed(dice, &valid.frame));
    let decodable = frames.find(|frame| codec::decode(frame, valid.begun.as_ref()).is_ok());
    decodable.unwrap_or_else(|| valid.frame.clone())
}

fn changed(dice: &mut Dice, frame: &Bytes) -> Bytes {
    let mut bytes = frame.to_vec();
    let position = dice.below(bytes.len());
    bytes[position] ^= 1 + dice.below(255) as u8;
    bytes.into()
}

fn context_of(store: &Store) -> CausalContext {
    // All that is shown stands for what has been written: enough for a base that the victim covers.
    let dots = store.sys().scan("").into_iter().filter_map(|(key, _)| store.sys().read(key)).map(|reading| reading.dot);
    dots.map(|dot| (dot.replica, dot.counter)).collect()
}

/// Random bytes, after a hello and instead of it, on the control channel and on others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_of_random_bytes() {
    let scene = Scene::set().await;
    let mallory = Mallory::new(&scene.secret);
    let mut dice = Dice::new(2);
    for _ in 0..200 {
        let mut talk = mallory.dial(&scene.victim).await;
        let noise: Bytes = (0..1 + dice.below(200)).map(|_| dice.below(256) as u8).collect();
        if codec::decode(&noise, None).is_ok() {
            continue;
        }
        match dice.below(3) {
            0 => talk.control(&[noise]).await,
            1 => talk.control(&[hello(&mallory), noise]).await,
            _ => {
                talk.control(&[hello(&mallory)]).await;
                talk.stream(&on_channel(1, &[noise])).await;
            }
        }
        assert!(!talk.verdict().await.is_empty());
    }
    scene.unchanged("noise");
    scene.over().await;
}

// --- wrong_cluster: without the secret

/// Believes every server, and shows no certificate.
#[derive(Debug)]
struct Anybody(rustls::crypto::CryptoProvider);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn stranger(alpn: &[u8]) -> quinn::Endpoint {
    let provider = rustls::crypto::ring::default_provider();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider.clone()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).expect("a config");
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    endpoint
}

/// wrong_cluster: right in everything but that it has no secret, it gets no answer to any frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_cluster_without_any_secret() {
    let scene = Scene::set().await;
    let endpoint = stranger(ALPN);
    let from = endpoint.local_addr().expect("an address").to_string();
    let hello = Hello {
        cluster: scene.secret.cluster_id(),
        replica: ReplicaId::from(7),
        boot: 1,
        name: "nobody".into(),
        address: from.clone(),
        audit: Audit { context: 0, state: 0, pending: 0 },
        bound: 0,
        ask: tidings::proto::message::Ask::Active,
        features: 0,
    };
    // A client may speak before the server has looked at its certificate.
    let connecting = endpoint.connect(scene.victim.listen_addr(), "node.cluster.internal").expect("an attempt");
    let mut answer = Vec::new();
    if let Ok(connection) = connecting.await {
        if let Ok((mut send, mut recv)) = connection.open_bi().await {
            let _ = send.write_all(&on_channel(0, &[plain(&Message::Hello(hello))])).await;
            answer = recv.read_to_end(1 << 20).await.unwrap_or_default();
        }
        let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.expect("closed");
        assert!(closed.to_string().contains("certificate"), "{closed}");
    }
    assert_eq!(answer, b"", "no frame is answered");
    eventually("the victim says who it was not", || {
        !logged(&["refused a connection", &from, "it has no certificate"]).is_empty()
    })
    .await;
    let endpoint = stranger(b"h3");
    let from = endpoint.local_addr().expect("an address").to_string();
    let connecting = endpoint.connect(scene.victim.listen_addr(), "node.cluster.internal").expect("an attempt");
    assert!(connecting.await.is_err(), "another protocol");
    eventually("so it is logged", || !logged(&["refused a connection", &from, "another version"]).is_empty()).await;
    scene.unchanged("strangers");
    scene.over().await;
}
