//! Integers of variable length, as in RFC 9000, section 16. Not responsible for what they mean.
//!
//! The first two bits say how many bytes there are. A number has to be read in whatever length it was written.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream};

/// The largest number that can be written.
pub(super) const MAX: u64 = (1 << 62) - 1;

/// Writes a number in the fewest bytes.
pub(super) fn encode(number: u64) -> Bytes {
    debug_assert!(number <= MAX, "channels are numbered by counting, and frames have a limit");
    let mut bytes = BytesMut::with_capacity(8);
    match number {
        0..=0x3f => bytes.put_u8(number as u8),
        0x40..=0x3fff => bytes.put_u16(1 << 14 | number as u16),
        0x4000..=0x3fff_ffff => bytes.put_u32(2 << 30 | number as u32),
        _ => bytes.put_u64(3 << 62 | number),
    }
    bytes.freeze()
}

fn decode(bytes: &[u8]) -> u64 {
    bytes[1..].iter().fold(u64::from(bytes[0] & 0x3f), |number, &byte| number << 8 | u64::from(byte))
}

/// What stands in a stream where a number is expected.
pub(super) enum Read {
    Number(u64),
    /// The stream ended before it.
    End,
    /// The stream ended within it.
    Cut,
    /// The stream is no more.
    Lost(quinn::ReadError),
}

/// Reads a number.
pub(super) async fn read(recv: &mut RecvStream) -> Read {
    let mut bytes = [0; 8];
    match recv.read_exact(&mut bytes[..1]).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(_)) => return Read::End,
        Err(ReadExactError::ReadError(error)) => return Read::Lost(error),
    }
    let length = 1 << (bytes[0] >> 6);
    match recv.read_exact(&mut bytes[1..length]).await {
        Ok(()) => Read::Number(decode(&bytes[..length])),
        Err(ReadExactError::FinishedEarly(_)) => Read::Cut,
        Err(ReadExactError::ReadError(error)) => Read::Lost(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths_come_back() {
        for (number, length) in
            [(0, 1), (63, 1), (64, 2), (16_383, 2), (16_384, 4), (1 << 30, 8), ((1 << 30) - 1, 4), (MAX, 8)]
        {
            let bytes = encode(number);
            assert_eq!(bytes.len(), length);
            assert_eq!(1 << (bytes[0] >> 6), length);
            assert_eq!(decode(&bytes), number);
        }
    }
}
