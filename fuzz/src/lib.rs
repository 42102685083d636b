//! What all targets share: choices drawn from an input, seeds, and a bound on the memory that an input may take. Not
//! responsible for any property: each target states its own.

use bytes::Bytes;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where `fuzz/run` wants the seeds of a target.
const SEEDS_VARIABLE: &str = "TIDINGS_FUZZ_SEEDS";

/// A target: what is tried with an input, and inputs to begin with, made of real values.
#[macro_export]
macro_rules! target {
    ($seeds:path, $run:path) => {
        libfuzzer_sys::fuzz_target!(init: $crate::write_seeds($seeds), |data: &[u8]| $run(data));
    };
}

/// If the process was started for it: writes the seeds, and ends.
pub fn write_seeds(seeds: fn() -> Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os(SEEDS_VARIABLE) else { return };
    for (number, seed) in seeds().into_iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("seed-{number:03}")), seed).expect("a folder for the seeds");
    }
    std::process::exit(0);
}

/// An input as a series of choices. After its end all are 0.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    rest: &'a [u8],
}

impl<'a> Draw<'a> {
    /// Of all of an input.
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether the input is over.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// A number below `end`, of one byte.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// A number of two bytes.
    pub fn number(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// One of a few.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// Some bytes, after two that say how many; as many as there are.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.number()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Some bytes, as [`Draw::bytes`] reads them. Longer than it can say, they are cut.
pub fn with_length(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    [&(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// The bytes of all vectors in `proto-docs/vectors` whose name begins so.
pub fn vectors(prefix: &str) -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-docs/vectors");
    let files = std::fs::read_dir(folder).expect("the vectors").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| name(path).starts_with(prefix)).collect();
    files.sort();
    files.iter().flat_map(|path| in_vector(path)).collect()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A vector is an object with `bytes`, or a list of such objects.
fn in_vector(path: &Path) -> Vec<Bytes> {
    let text = std::fs::read(path).expect("a vector");
    let mut found = Vec::new();
    collect(&serde_json::from_slice(&text).expect("JSON"), &mut found);
    found
}

fn collect(value: &serde_json::Value, found: &mut Vec<Bytes>) {
    match value {
        serde_json::Value::Object(fields) => {
            found.extend(fields.get("bytes").and_then(|bytes| bytes.as_str()).map(from_hex));
            fields.values().for_each(|value| collect(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

fn from_hex(digits: &str) -> Bytes {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(|pair| byte(pair).expect("hexadecimal digits")).collect()
}

// --- Memory

/// Runs with so many bytes of memory at most, beyond what is in use. More ends the process.
pub fn within<T>(bytes: usize, run: impl FnOnce() -> T) -> T {
    LIMIT.store(IN_USE.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    let result = run();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    result
}

/// The system's allocator, which keeps count.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize) {
    let before = IN_USE.fetch_add(more, Ordering::Relaxed);
    let limit = LIMIT.load(Ordering::Relaxed);
    if before.saturating_add(more) > limit {
        LIMIT.store(usize::MAX, Ordering::Relaxed);
        panic!("{more} bytes more than {before} are beyond the {limit} that this input may take");
    }
}

// SAFETY: every call goes to the system's allocator as it came. What is refused ends the process: the panic hook of
// libFuzzer does that before anything is unwound.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}
