//! Measuring: CPU time, the heap, and a table of ours beside a floor. Not responsible for what is measured.

use rustix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and how many bytes were asked of it and not given back.
pub(crate) struct CountingAllocator;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)] // passes every call on as it came
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        HEAP_BYTES.fetch_add(new_size, Ordering::Relaxed);
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(block, layout, new_size) }
    }
}

/// What `build` makes, and how much of the heap that keeps.
pub(crate) fn heap_of<T>(build: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let built = build();
    (built, HEAP_BYTES.load(Ordering::Relaxed).saturating_sub(before))
}

/// CPU time of the process: others may run beside it.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// CPU time of one run, its input made before and its output dropped after.
pub(crate) fn cpu_ns_of<I, O>(input: I, run: impl FnOnce(I) -> O) -> f64 {
    let input = black_box(input);
    let begin = cpu_ns();
    let output = black_box(run(input));
    let ns = cpu_ns() - begin;
    drop(output);
    ns
}

/// Nanoseconds of CPU time: the least of several rounds. The two take turns, so that both meet the same machine.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) floor_ns: f64,
    pub(crate) ours_ns: f64,
}

impl Pair {
    pub(crate) fn least_of(rounds: usize, mut floor: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) -> Self {
        let mut least = Self { floor_ns: f64::INFINITY, ours_ns: f64::INFINITY };
        for _ in 0..rounds {
            least.floor_ns = least.floor_ns.min(floor());
            least.ours_ns = least.ours_ns.min(ours());
        }
        least
    }

    pub(crate) fn per(self, count: usize) -> Self {
        Self { floor_ns: self.floor_ns / count as f64, ours_ns: self.ours_ns / count as f64 }
    }
}

/// The least of several rounds, where there is no floor.
pub(crate) fn least_of(rounds: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..rounds).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// What a figure is held to, and beyond it what it would be good to reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64, f64),
    AtMost(f64, f64),
    None,
}

impl Target {
    pub(crate) fn verdict(self, figure: f64) -> &'static str {
        let (met, stretched, is_same) = match self {
            Self::AtLeast(target, stretch) => (figure >= target, figure >= stretch, target == stretch),
            Self::AtMost(target, stretch) => (figure <= target, figure <= stretch, target == stretch),
            Self::None => return "",
        };
        match (met, stretched && !is_same) {
            (_, true) => "yes, and the stretch",
            (true, false) => "yes",
            (false, false) => "NO",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::AtLeast(target, stretch) if target == stretch => write!(f, "≥ {target}"),
            Self::AtMost(target, stretch) if target == stretch => write!(f, "≤ {target}"),
            Self::AtLeast(target, stretch) => write!(f, "≥ {target} ({stretch})"),
            Self::AtMost(target, stretch) => write!(f, "≤ {target} ({stretch})"),
            Self::None => Ok(()),
        }
    }
}

/// Prints the head of the table, in Markdown, so that it can stand in a text as it is.
pub(crate) fn head() {
    println!(
        "| {:52} | {:>12} | {:>12} | {:>7} | {:15} | met? |",
        "work", "floor", "ours", "ratio", "target (stretch)"
    );
    println!("| {:-<52} | {:->12} | {:->12} | {:->7} | {:-<16} | ---- |", "", ":", ":", ":", "");
}

pub(crate) fn row(work: &str, floor: &str, ours: &str, ratio: &str, target: Target, verdict: &str) {
    println!("| {work:52} | {floor:>12} | {ours:>12} | {ratio:>7} | {:16} | {verdict} |", target.to_string());
}

/// Prints speeds beside each other: the ratio is ours as a part of the floor's speed, and what the target is about.
pub(crate) fn speed(work: &str, pair: Pair, target: Target) {
    let ratio = pair.floor_ns / pair.ours_ns;
    let [floor, ours] = [pair.floor_ns, pair.ours_ns].map(in_ns);
    row(work, &floor, &ours, &format!("{ratio:.2}"), target, target.verdict(ratio));
}

/// Prints the same work on little and on much: the ratio is how many times the cost is on much.
pub(crate) fn growth(work: &str, little_ns: f64, much_ns: f64, target: Target) {
    let ratio = much_ns / little_ns;
    row(work, &in_ns(little_ns), &in_ns(much_ns), &format!("{ratio:.2}"), target, target.verdict(ratio));
}

/// Prints a figure that is held to a target itself.
pub(crate) fn figure(work: &str, floor: &str, ours: f64, unit: &str, target: Target) {
    row(work, floor, &format!("{} {unit}", short(ours)), "", target, target.verdict(ours));
}

fn in_ns(ns: f64) -> String {
    if ns < 1e5 { format!("{ns:.0} ns") } else { format!("{:.2} ms", ns / 1e6) }
}

fn short(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number}") } else { format!("{number:.2}") }
}
