//! What a peer that holds the secret can make a node keep in memory: about a frame. Measured by an allocator that counts,
//! around both ends of the link, in a process of its own. Not responsible for what else poison does: `cluster.rs` is.
#![cfg(feature = "cli")]

#[path = "cluster/mallory.rs"]
mod mallory;
#[path = "cluster/stores.rs"]
mod stores;

use bytes::Bytes;
use mallory::{Mallory, Talk, on_channel};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stores::{agree, eventually, linked, mesh, open, secret};
use tidings::crdt::{Audit, CausalContext, DotSet, Symbol};
use tidings::proto::codec::{self, FRAME_BYTES_MAX};
use tidings::proto::message::{Begin, Beginning, Digest, Message, Part, Pull, Symbols};
use tidings::{ReplicaId, Secret, Store};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// To count is what the whole file is for.
#[allow(unsafe_code)]
// SAFETY: hands everything on to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

/// What QUIC may hold of a link in both directions at both ends, and the rest of a process that works.
const LINK: usize = 16 * MIB;

/// One measures at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Scene {
    secret: Secret,
    victim: Store,
    friend: Store,
}

impl Scene {
    async fn set() -> Self {
        let secret = secret();
        let victim = open(&secret, "victim", &[]).await;
        let friend = open(&secret, "friend", &[&victim]).await;
        mesh(&[&victim, &friend]).await;
        agree(&[&victim, &friend]).await;
        Self { secret, victim, friend }
    }

    /// By how many bytes the process grew at most while that went on; afterwards it is small again, and the nodes live.
    async fn growth(&self, what: &str, attack: impl AsyncFnOnce(&Mallory, &mut Talk)) -> usize {
        let mallory = Mallory::new(&self.secret);
        let mut talk = mallory.dial(&self.victim).await;
        talk.control(&[codec::encode(&Message::Hello(mallory.hello()), None)]).await;
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        attack(&mallory, &mut talk).await;
        let growth = PEAK.load(Ordering::Relaxed).saturating_sub(before);
        let (growth_mib, sent_mib) =
            (growth as f64 / MIB as f64, talk.connection.stats().udp_tx.bytes as f64 / MIB as f64);
        eprintln!("{what}: {growth_mib:.1} MiB, {sent_mib:.1} MiB sent, closed: {:?}", talk.connection.close_reason());

        talk.connection.close(0_u32.into(), b"");
        drop((talk, mallory));
        self.victim.put("after", what.to_owned()).await.expect("written");
        agree(&[&self.victim, &self.friend]).await;
        assert!(linked(&self.victim, &self.friend));
        let small = || NOW.load(Ordering::Relaxed) < before + 2 * MIB;
        eventually("all of it is given back", small).await;
        growth
    }
}

/// The beginning of a frame of the greatest length, as far as anybody takes it.
async fn write_frame(send: &mut quinn::SendStream, channel: u8, payload: &[u8]) {
    for mut bytes in [&[0, channel, 0x81, 0, 0, 0], payload] {
        while !bytes.is_empty() {
            let written = tokio::time::timeout(Duration::from_secs(1), send.write(bytes)).await;
            let Ok(Ok(written)) = written else { return };
            bytes = &bytes[written..];
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_takes_no_more_memory_than_a_frame() {
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;

    // A length is no reason to make room.
    let promised = scene.growth("frames that are only promised", async |_, talk| {
        for channel in (1..60).step_by(2) {
            talk.stream(&[0, channel, 0x81, 0, 0, 0, 1, 2, 3]).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    });
    let promised = promised.await;
    assert!(promised < 4 * MIB, "{promised}");

    // Nor are numbers within a frame.
    let counts: [&[u8]; 5] = [
        &[2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[3, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f],
        &[3, 0, 0, 0, 0, 0, 0xff, 0xff, 0x03, 0xff, 0xff, 0x07, 0],
        &[6, 0, 2, 0xff, 0xff, 0xff, 0x7f, 0],
        &[0, 0xfe, 0xff, 0xff, 0xff, 0xff],
    ];
    for frame in counts {
        let counted = scene.growth("numbers within a frame", async |mallory, _| {
            let mut second = mallory.dial(&scene.victim).await;
            second.control(&[Bytes::copy_from_slice(frame)]).await;
            assert!(!second.verdict().await.is_empty());
        });
        assert!(counted.await < 4 * MIB);
    }

    // The largest frame, of the worst that may be in it.
    let rubbish = vec![0xa5; FRAME_BYTES_MAX];
    let largest = scene.growth("the largest frame", async |_, talk| {
        let (mut send, _recv) = talk.connection.open_bi().await.expect("a stream");
        write_frame(&mut send, 1, &rubbish).await;
        let _ = tokio::time::timeout(Duration::from_secs(20), talk.connection.closed()).await;
    });
    let largest = largest.await;
    assert!(largest < FRAME_BYTES_MAX + LINK, "{largest}");
}

/// Sixteen channels, each with most of a long frame: no more is kept than the length of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_on_many_channels_takes_no_more_memory_than_a_frame() {
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;
    let most = Bytes::from(vec![0; 10 * MIB]);
    let many = scene.growth("frames on many channels, none of them whole", async |_, talk| {
        let mut writers = tokio::task::JoinSet::new();
        for channel in (1..32).step_by(2) {
            let (mut send, recv) = talk.connection.open_bi().await.expect("a stream");
            let most = most.clone();
            writers.spawn(async move {
                write_frame(&mut send, channel, &most).await;
                (send, recv)
            });
        }
        writers.join_all().await;
    });
    let many = many.await;
    assert!(many < FRAME_BYTES_MAX + LINK, "{many}");
}

/// Short frames that are answered, by a peer who reads no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_to_who_never_reads_takes_no_more_memory_than_a_frame() {
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;
    let audit = Audit { context: 3, state: 3, pending: 0 };
    let question = codec::encode(&Message::Digest(Digest { audit, reply: true }), None);
    let questions = framed(std::iter::repeat_n(question, 100_000));
    let flood = scene.growth("questions to which no answer is read", async |mallory, _| {
        // The hello of this link is its own.
        let hello = codec::encode(&Message::Hello(mallory.hello()), None);
        let mut second = mallory.dial(&scene.victim).await;
        second.stream(&on_channel(0, &[hello])).await;
        second.write_on_last(&questions).await;
    });
    let flood = flood.await;
    assert!(flood < FRAME_BYTES_MAX + LINK, "{flood}");
}

/// A peer who asks for everything and reads nothing of it, on one link; what is written meanwhile goes out on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_reader_takes_no_more_memory_than_a_link_and_holds_up_no_other() {
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;
    for number in 0..400 {
        scene.victim.put(format!("large/{number}"), vec![b'v'; 100_000]).await.expect("written");
    }
    agree(&[&scene.victim, &scene.friend]).await;
    let growth = scene.growth("everything, unread", async |_, talk| {
        let pull = Pull::default();
        let pull = codec::encode(&Message::Pull(pull), None);
        for channel in [1, 3, 5, 7] {
            talk.stream(&on_channel(channel, std::slice::from_ref(&pull))).await;
        }
        for number in 0..50 {
            scene.victim.put("fresh", number.to_string()).await.expect("written");
            let arrived = || scene.friend.get("fresh").is_some_and(|value| value == number.to_string());
            eventually("a fresh write is at the friend", arrived).await;
        }
        assert!(talk.connection.stats().udp_rx.bytes > 1 << 20, "it had begun to send");
        assert_eq!(talk.connection.close_reason(), None, "slow is no crime");
    });
    let growth = growth.await;
    assert!(growth < LINK, "{growth}");
}

/// A context with counters that nobody can have reached, of replicas that nobody knows, said by itself and in the answer of a
/// pull; then symbols without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_counter_takes_no_memory_and_wedges_nothing() {
    /// The least that is refused, and the greatest that is not.
    const HUGE: u64 = 1 << 56;
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;
    let of_thousand = |counter: u64| -> CausalContext {
        (1..=1_000).map(|replica| (ReplicaId::from(u128::MAX - replica), counter)).collect()
    };
    let said = |context| framed([codec::encode(&Message::Context { context, replace: true }, None)]);
    for counter in [HUGE, 1 << 63, u64::MAX] {
        let refused = scene.growth("counters that nobody can have reached", async |_, talk| {
            talk.write_on_last(&said(of_thousand(counter))).await;
            let closed = tokio::time::timeout(Duration::from_secs(20), talk.connection.closed()).await;
            let reason = closed.expect("it closes").to_string();
            assert!(reason.contains("a counter that no replica can have reached"), "{reason}");
        });
        let refused = refused.await;
        assert!(refused < 4 * MIB, "{refused}");
    }

    let context = of_thousand(HUGE - 1);
    let begin = Begin { snapshot: context.clone(), bound: context.clone(), catch_up: true };
    let symbols = Symbols { total: HUGE, symbols: vec![Symbol { sum: 1, check: 2, count: 3 }; 16] };
    let mut answer = vec![
        codec::encode(&Message::Begin(Beginning::whole(&begin)), None),
        codec::encode(&Message::Done { bound: context.clone() }, Some(&begin)),
    ];
    answer.extend(std::iter::repeat_n(codec::encode(&Message::Symbols(symbols), Some(&begin)), 200_000));
    let endless = framed(answer);
    let growth = scene.growth("unknown replicas, and symbols without end", async |_, talk| {
        talk.write_on_last(&said(context.clone())).await;
        talk.answer_pull(&[]).await;
        talk.write_on_last(&endless).await;
        let _ = tokio::time::timeout(Duration::from_secs(20), talk.connection.closed()).await;
        assert!(talk.connection.close_reason().is_some(), "there was to be an end of it");
    });
    let growth = growth.await;
    assert!(growth < LINK, "{growth}");
    for number in 0..10 {
        scene.friend.put(format!("still/{number}"), "written").await.expect("written");
    }
    agree(&[&scene.victim, &scene.friend]).await;
}

/// A catch-up whose list of live dots has no end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_message_of_an_endless_list_takes_no_more_memory_than_a_frame() {
    let _alone = ALONE.lock().await;
    let scene = Scene::set().await;
    let begin = Begin { snapshot: CausalContext::new(), bound: CausalContext::new(), catch_up: true };
    let done = Message::Done { bound: CausalContext::new() };
    let mut frames = vec![codec::encode(&Message::Begin(Beginning::whole(&begin)), None), codec::encode(&done, None)];
    for replica in 0..1_000_u128 {
        let mut part = DotSet::new();
        (0..4_000).for_each(|i| part.insert_range(ReplicaId::from(replica), 3 * i + 1, 3 * i + 1));
        frames.push(codec::encode(&Message::Live(Part { part, last: false }), None));
    }
    let endless = framed(frames);
    let list = scene.growth("live dots without end", async |_, talk| {
        talk.answer_pull(&[]).await;
        talk.write_on_last(&endless).await;
        let _ = tokio::time::timeout(Duration::from_secs(3), talk.connection.closed()).await;
    });
    let list = list.await;
    assert!(list < LINK, "{list}");
}

fn framed(frames: impl IntoIterator<Item = Bytes>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let length = 2 << 30 | u32::try_from(frame.len()).expect("short");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&frame);
    }
    bytes
}
