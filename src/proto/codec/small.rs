//! Small messages: plain structs as `bincode` writes them.

use super::{Result, bounded};
use crate::proto::wire::{DecodeError, Reader, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Texts of a hello are no longer than this.
const SMALL_BYTES_MAX: usize = 4096;
fn bincode_config() -> impl bincode::config::Config {
    // Counts sizes in memory, not on the wire, hence the factor.
    bincode::config::standard().with_limit::<{ 8 * SMALL_BYTES_MAX }>()
}

pub(super) fn small(writer: &mut Writer, kind: u8, message: &impl Serialize) {
    writer.bytes.push(kind);
    let bytes = bincode::serde::encode_to_vec(message, bincode_config()).expect("plain structs encode");
    writer.bytes.extend_from_slice(&bytes);
}

/// Takes only the bytes that encoding gives: bincode itself accepts more than one form of a number.
pub(super) fn read_small<T: Serialize + DeserializeOwned>(reader: &mut Reader<'_>, kind: u8) -> Result<T> {
    let rest = reader.rest();
    bounded("bytes of a small message", rest.len(), SMALL_BYTES_MAX)?;
    let (message, read) = bincode::serde::decode_from_slice(rest, bincode_config())
        .map_err(|_| DecodeError::Invalid("a small message that does not decode"))?;
    let mut again = Writer::default();
    small(&mut again, kind, &message);
    if again.bytes[1..] != rest[..read] {
        return Err(DecodeError::Invalid("a small message in another form than its own"));
    }
    reader.skip(read);
    Ok(message)
}
