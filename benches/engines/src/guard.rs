//! fjall cuts a journal off at the first place that it cannot read, and says nothing (fjall-rs/fjall#311): right for the
//! torn end that a crash leaves, and a silent loss of acknowledged batches for damage before the end. What a store
//! would have to do before it opens: walk each journal as fjall will, and refuse if whole batches lie beyond its end.
//!
//! The layout is that of fjall 3.1 with its journal compression off.

use std::path::Path;

const TRAILER: &[u8] = b"FJL\x03";

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The end of the item, batch start or batch end that begins at `at`, if it is one.
fn step(bytes: &[u8], at: usize) -> Option<usize> {
    let end = match *bytes.get(at)? {
        1 => at + 1 + 4 + 8, // how many items, sequence number
        2 => {
            // a type or a compression that is not known ends fjall's reading as well
            if bytes.get(at + 1).is_none_or(|kind| *kind > 2) || bytes.get(at + 2) != Some(&0) {
                return None;
            }
            // after the tag: type, compression, keyspace (8), length of the key (2), of the value (4), as stored (4)
            let key = u16::from_le_bytes(number(bytes, at + 11)?) as usize;
            let value = u32::from_le_bytes(number(bytes, at + 17)?) as usize;
            at + 21 + key + value
        }
        3 => {
            let end = at + 1 + 8 + TRAILER.len(); // checksum
            return (bytes.get(at + 9..end)? == TRAILER).then_some(end);
        }
        4 => at + 1 + 8,
        _ => return None,
    };
    (end <= bytes.len()).then_some(end)
}

/// How many batches seem to lie, written to their ends, behind the place where fjall will stop reading.
fn cut_off(bytes: &[u8]) -> usize {
    let (mut at, mut whole) = (0, 0);
    let mut inside = false;
    while let Some(next) = step(bytes, at) {
        // a start within a batch, and all else outside of one, ends the reading
        if inside == (bytes[at] == 1) {
            break;
        }
        inside = bytes[at] != 3;
        whole = if inside { whole } else { next };
        at = next;
    }
    bytes[whole..].windows(TRAILER.len()).filter(|four| *four == TRAILER).count()
}

/// The last batch of the last journal may be torn, whatever of its pages came to the disk; no more than it.
pub(crate) fn check(dir: &Path) -> Result<(), String> {
    let journals = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in journals.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")) {
        let bytes = std::fs::read(&path).map_err(|error| format!("{error:?}"))?;
        let cut = cut_off(&bytes);
        if cut > 1 {
            return Err(format!("Guard: {cut} batches of {path:?} would be cut off"));
        }
    }
    Ok(())
}
