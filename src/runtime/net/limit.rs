//! A UDP socket that sends no more than so many bytes a second, in all and to each address. Not responsible for which
//! datagram goes first: whoever is refused keeps its datagram and asks again, so that QUIC still decides by its priorities.
//!
//! All that leaves is counted, handshakes and acknowledgements too, with the headers of IP and UDP. Those who wait are
//! served in turn, one datagram each.

use super::socket::datagrams;
use super::traffic::header_bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::task::Id;
use tokio::time::{Instant, Sleep, sleep_until};

/// What may leave at once after a pause: two full datagrams of a handshake,
const BURST_BYTES: u64 = 2 * 1_228;
/// or what leaves in this time: timers are no more exact than a few milliseconds.
const BURST_TIME: Duration = Duration::from_millis(20);

/// Addresses that are limited one by one. All others share one limit: strangers must not be able to fill memory.
const ADDRESSES_MAX: usize = 1_024;

/// Bytes a second, over any time but for a small burst.
///
/// It is the moment at which it will be full again, which each byte puts off: nothing is rounded away over time.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    burst: Duration,
    full_at: Instant,
}

impl Bucket {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        let mut bucket = Self { bytes_per_second, burst: BURST_TIME, full_at: now };
        bucket.burst = bucket.time_of(BURST_BYTES).max(BURST_TIME);
        bucket
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / self.bytes_per_second.max(1))
    }

    /// From when on there is room for so many bytes, if nobody else takes them.
    fn room_at(&self, bytes: u64) -> Instant {
        let empty_after = self.full_at + self.time_of(bytes);
        empty_after.checked_sub(self.burst).unwrap_or(self.full_at)
    }

    fn take(&mut self, bytes: u64, now: Instant) {
        self.full_at = self.full_at.max(now) + self.time_of(bytes);
    }
}

/// A bucket, and who waits for it, in turn.
#[derive(Debug)]
struct Gate(Mutex<Turns>);

#[derive(Debug)]
struct Turns {
    bucket: Bucket,
    waiting: VecDeque<Waiting>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    task: Option<Id>,
    waker: Option<Waker>,
}

impl Turns {
    /// Whether others come first.
    fn is_others(&self, task: Option<Id>) -> bool {
        self.waiting.front().is_some_and(|first| first.task != task)
    }

    /// Whoever's turn it was has sent.
    fn sent(&mut self, bytes: u64, now: Instant, task: Option<Id>) {
        self.bucket.take(bytes, now);
        if self.waiting.front().is_some_and(|first| first.task == task) {
            self.waiting.pop_front();
            self.wake_first();
        }
    }

    fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|waiting| waiting.ticket != ticket);
        self.wake_first();
    }

    fn wake_first(&mut self) {
        self.waiting.front_mut().and_then(|first| first.waker.take()).into_iter().for_each(Waker::wake);
    }
}

impl Gate {
    fn new(bytes_per_second: u64) -> Arc<Self> {
        let bucket = Bucket::new(bytes_per_second, Instant::now());
        Arc::new(Self(Mutex::new(Turns { bucket, waiting: VecDeque::new(), tickets: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is owed and nobody waits: a new one would be the same.
    fn is_idle(&self, now: Instant) -> bool {
        let turns = self.lock();
        turns.waiting.is_empty() && turns.bucket.full_at <= now
    }
}

/// A place in the queue of a gate, kept until its task has sent, and given up when it is dropped.
struct Place {
    gate: Arc<Gate>,
    ticket: u64,
    bytes: u64,
    sleep: Pin<Box<Sleep>>,
}

impl Place {
    fn take(Refusal { gate, bytes }: Refusal) -> Self {
        let mut turns = gate.lock();
        turns.tickets += 1;
        let ticket = turns.tickets;
        turns.waiting.push_back(Waiting { ticket, task: tokio::task::try_id(), waker: None });
        drop(turns);
        Self { gate, ticket, bytes, sleep: Box::pin(sleep_until(Instant::now())) }
    }

    /// Ready when it is its turn and there is room.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let room_at = {
                let mut turns = self.gate.lock();
                match turns.waiting.iter().position(|waiting| waiting.ticket == self.ticket) {
                    None => return Poll::Ready(()),
                    Some(0) => turns.bucket.room_at(self.bytes),
                    Some(place) => {
                        turns.waiting[place].waker = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            if room_at <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(room_at);
            ready!(self.sleep.as_mut().poll(cx));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.lock().leave(self.ticket);
    }
}

/// A datagram that has to wait, and for what.
struct Refusal {
    gate: Arc<Gate>,
    bytes: u64,
}

/// Limits what leaves, in bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadLimits {
    /// In all.
    pub all: Option<u64>,
    /// To each address.
    pub each: Option<u64>,
}

impl UploadLimits {
    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.all.is_none() && self.each.is_none()
    }

    /// What one link can have at most.
    pub fn of_link(&self) -> Option<u64> {
        [self.all, self.each].into_iter().flatten().min()
    }
}

/// A socket behind upload limits.
pub(super) struct LimitedSocket {
    socket: Arc<dyn AsyncUdpSocket>,
    all: Option<Arc<Gate>>,
    each: Option<Addresses>,
    /// What the last attempt of a task was refused for, until its poller takes it. QUIC asks its poller right after a
    /// refusal, in the same task, but does not tell it the address.
    refused: Mutex<HashMap<Option<Id>, Refusal>>,
}

impl LimitedSocket {
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>, limits: UploadLimits) -> Self {
        let all = limits.all.map(Gate::new);
        Self { socket, all, each: limits.each.map(Addresses::new), refused: Mutex::default() }
    }

    fn refuse(&self, gate: &Arc<Gate>, bytes: u64) -> io::Error {
        let refusal = Refusal { gate: Arc::clone(gate), bytes };
        self.refused().insert(tokio::task::try_id(), refusal);
        io::ErrorKind::WouldBlock.into()
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<Option<Id>, Refusal>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits of single addresses.
struct Addresses {
    bytes_per_second: u64,
    gates: Mutex<HashMap<SocketAddr, Arc<Gate>>>,
    others: Arc<Gate>,
}

impl Addresses {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, gates: Mutex::default(), others: Gate::new(bytes_per_second) }
    }

    fn gate(&self, address: SocketAddr) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&address) {
            return Arc::clone(gate);
        }
        if gates.len() >= ADDRESSES_MAX {
            let now = Instant::now();
            gates.retain(|_, gate| !gate.is_idle(now));
        }
        if gates.len() >= ADDRESSES_MAX {
            return Arc::clone(&self.others);
        }
        Arc::clone(gates.entry(address).or_insert_with(|| Gate::new(self.bytes_per_second)))
    }
}

impl AsyncUdpSocket for LimitedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let socket = Arc::clone(&self.socket).create_io_poller();
        Box::pin(LimitedPoller { limited: self, socket, place: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let datagrams = datagrams(transmit.contents.len(), transmit.segment_size);
        let bytes = transmit.contents.len() as u64 + datagrams * header_bytes(transmit.destination);
        let each = self.each.as_ref().map(|addresses| addresses.gate(transmit.destination));
        // Always in this order, so that no two wait for each other.
        let gates: Vec<&Arc<Gate>> = self.all.iter().chain(&each).collect();
        let mut turns: Vec<_> = gates.iter().map(|gate| gate.lock()).collect();
        let (now, task) = (Instant::now(), tokio::task::try_id());
        for (gate, turns) in gates.iter().zip(&turns) {
            if turns.is_others(task) || turns.bucket.room_at(bytes) > now {
                return Err(self.refuse(gate, bytes));
            }
        }
        self.socket.try_send(transmit)?;
        turns.iter_mut().for_each(|turns| turns.sent(bytes, now, task));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    // A batch would leave as one, however much that is.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for LimitedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedSocket").field("all", &self.all).finish_non_exhaustive()
    }
}

/// Waits until there is room for what was refused.
struct LimitedPoller {
    limited: Arc<LimitedSocket>,
    socket: Pin<Box<dyn UdpPoller>>,
    place: Option<Place>,
}

impl UdpPoller for LimitedPoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(refusal) = this.limited.refused().remove(&tokio::task::try_id()) {
            this.place = Some(Place::take(refusal));
        }
        if let Some(place) = &mut this.place {
            ready!(place.poll(cx));
        }
        this.socket.as_mut().poll_writable(cx)
    }
}

impl fmt::Debug for LimitedPoller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedPoller").field("socket", &self.socket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const NEAR: &str = "10.0.0.1:1";
    const FAR: &str = "[fe80::1]:1";

    /// A sender that always has something to send, and wakes late as timers do: how much it sends in ten seconds.
    fn sent_in_ten_seconds(bytes_per_second: u64, datagram: u64) -> u64 {
        let start = Instant::now();
        let (mut bucket, mut now, mut sent) = (Bucket::new(bytes_per_second, start), start, 0);
        let mut late = 0;
        while now < start + Duration::from_secs(10) {
            if bucket.room_at(datagram) <= now {
                bucket.take(datagram, now);
                sent += datagram;
            } else {
                late = (late + 1) % 4;
                now = bucket.room_at(datagram) + Duration::from_millis(late);
            }
        }
        sent
    }

    #[test]
    fn a_limit_is_kept_within_a_twentieth_over_ten_seconds() {
        for bytes_per_second in [8_000, 64_000, 1_000_000, 20_000_000] {
            for datagram in [70, 1_228, 1_500] {
                let sent = sent_in_ten_seconds(bytes_per_second, datagram) as f64;
                let ratio = sent / (bytes_per_second as f64 * 10.0);
                assert!((0.99..1.05).contains(&ratio), "{ratio} of {bytes_per_second} B/s in datagrams of {datagram}");
            }
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_the_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(8_000, start);
        let later = start + Duration::from_secs(3_600);
        let mut at_once = 0;
        while bucket.room_at(1_228) <= later {
            bucket.take(1_228, later);
            at_once += 1;
        }
        assert_eq!(at_once, 2);
    }

    #[test]
    fn what_is_larger_than_the_burst_leaves_too() {
        let start = Instant::now();
        let bucket = Bucket::new(1_000, start);
        assert_eq!(bucket.room_at(10_000), start + Duration::from_millis(10_000 - 2_456));
    }

    /// A socket that takes everything.
    #[derive(Debug, Default)]
    struct Drain {
        wire_bytes: AtomicU64,
    }

    #[derive(Debug)]
    struct Writable;

    impl UdpPoller for Writable {
        fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncUdpSocket for Drain {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(Writable)
        }

        fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
            let ip = if transmit.destination.is_ipv4() { 28 } else { 48 };
            self.wire_bytes.fetch_add(transmit.contents.len() as u64 + ip, Ordering::Relaxed);
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Sends as a connection does: it builds a datagram, asks its poller, tries, and asks again when refused.
    async fn send(socket: &Arc<LimitedSocket>, poller: &mut Pin<Box<dyn UdpPoller>>, to: &str, bytes: usize) {
        let contents = vec![0; bytes];
        let destination = to.parse().expect("an address");
        let transmit = Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        std::future::poll_fn(|cx| {
            loop {
                ready!(poller.as_mut().poll_writable(cx)).expect("it takes everything");
                match socket.try_send(&transmit) {
                    Ok(()) => return Poll::Ready(()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        })
        .await;
    }

    fn limited(all: Option<u64>, each: Option<u64>) -> (Arc<Drain>, Arc<LimitedSocket>) {
        let drain = Arc::new(Drain::default());
        (drain.clone(), Arc::new(LimitedSocket::new(drain, UploadLimits { all, each })))
    }

    /// How many datagrams each of several senders has sent when the first has sent so many.
    async fn race(socket: &Arc<LimitedSocket>, to: &[&'static str], bytes: usize, goal: u64) -> Vec<u64> {
        let counts: Arc<Vec<AtomicU64>> = Arc::new(to.iter().map(|_| AtomicU64::new(0)).collect());
        let mut tasks = tokio::task::JoinSet::new();
        for (index, to) in to.iter().copied().enumerate() {
            let (socket, counts) = (socket.clone(), counts.clone());
            tasks.spawn(async move {
                let mut poller = socket.clone().create_io_poller();
                while counts[index].load(Ordering::Relaxed) < goal {
                    send(&socket, &mut poller, to, bytes).await;
                    counts[index].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let first = tokio::time::timeout(Duration::from_secs(90), tasks.join_next()).await;
        first.expect("it goes on").expect("a sender").expect("no panic");
        counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn several_who_wait_are_served_in_turn_and_together_within_the_limit() {
        let (drain, socket) = limited(Some(100_000), None);
        let start = Instant::now();
        let counts = race(&socket, &[NEAR, NEAR, FAR, FAR], 1_200, 20).await;
        let (sent, seconds) = (drain.wire_bytes.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
        assert!(counts.iter().all(|&count| count >= 17), "{counts:?}");
        assert!(sent as f64 <= 100_000.0 * seconds + 2.0 * 1_250.0, "{sent} bytes in {seconds} s");
    }

    #[tokio::test]
    async fn headers_count_for_as_much_as_what_they_stand_before() {
        let (drain, socket) = limited(Some(50_000), None);
        let start = Instant::now();
        race(&socket, &[NEAR], 28, 500).await;
        let (sent, seconds) = (drain.wire_bytes.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
        assert_eq!(sent, 500 * 56);
        assert!(sent as f64 <= 50_000.0 * seconds + BURST_BYTES as f64, "{sent} bytes in {seconds} s");
    }

    #[tokio::test]
    async fn the_limit_of_one_address_holds_up_no_other() {
        let (_, socket) = limited(None, Some(3_000));
        let mut poller = socket.clone().create_io_poller();
        for _ in 0..2 {
            send(&socket, &mut poller, NEAR, 1_200).await;
        }
        let start = Instant::now();
        let waiting = async {
            send(&socket, &mut poller, NEAR, 1_200).await;
            start.elapsed()
        };
        let other = async {
            let mut poller = socket.clone().create_io_poller();
            send(&socket, &mut poller, FAR, 1_200).await;
            start.elapsed()
        };
        let (waited, passed) = tokio::join!(tokio::time::timeout(Duration::from_secs(90), waiting), other);
        assert!(waited.expect("it goes on") > passed, "the other address had room");
    }

    #[tokio::test]
    async fn addresses_beyond_number_share_one_limit() {
        let (_, socket) = limited(None, Some(2_000));
        let addresses = socket.each.as_ref().expect("a limit for each");
        for number in 0..2 * ADDRESSES_MAX as u32 {
            let address = SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 1);
            addresses.gate(address).lock().bucket.take(1_000_000, Instant::now());
        }
        assert!(addresses.gates.lock().expect("no panic").len() <= ADDRESSES_MAX);
        assert!(Arc::ptr_eq(&addresses.gate(FAR.parse().expect("an address")), &addresses.others));
    }
}
