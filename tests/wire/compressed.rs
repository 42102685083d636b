//! Frames within frames.

use crate::worlds::NOW;
use bytes::Bytes;
use proptest::prelude::*;
use tidings::crdt::{CausalContext, OrMap, ReplicaId};
use tidings::proto::codec::{Compressor, FEATURE_ZSTD, FEATURES, decode, encode, plain_bytes};
use tidings::proto::message::{Begin, Message};

/// Text compresses, what looks random does not.
fn frame(entries: u32, value: impl Fn(u32) -> Vec<u8>) -> Bytes {
    let mut map = OrMap::new(ReplicaId::from(1));
    for i in 0..entries {
        map.put(format!("key {i}").as_bytes(), value(i), NOW);
    }
    encode(&Message::Push(map.delta_since(&CausalContext::new())), None)
}

fn text(_: u32) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog".to_vec()
}

fn noise(seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..64).map(|_| next()).collect()
}

fn compress(frame: &Bytes) -> Bytes {
    Compressor::default().compress(frame.clone())
}

#[test]
fn a_build_says_what_it_can_read() {
    assert_eq!(FEATURES, if cfg!(feature = "zstd") { FEATURE_ZSTD } else { 0 });
}

#[test]
fn what_gets_shorter_is_compressed_and_says_the_same() {
    let plain = frame(1_000, text);
    let compressed = compress(&plain);
    assert_eq!(compressed.len() < plain.len() / 2, cfg!(feature = "zstd"), "{} of {}", compressed.len(), plain.len());
    assert_eq!(plain_bytes(&compressed), plain.len());
    assert_eq!(plain_bytes(&plain), plain.len());
    let message = decode(&compressed, None).expect("it decodes");
    assert!(encode(&message, None) == plain, "the form of its content is what counts");
}

#[test]
fn what_is_short_or_does_not_get_shorter_goes_as_it_is() {
    let long_noise = |i| (0..100).flat_map(|j| noise(i * 100 + j)).collect();
    for plain in [frame(2, text), frame(10, long_noise), Bytes::new(), Bytes::from(vec![0; 17 << 20])] {
        assert!(compress(&plain) == plain, "{} bytes", plain.len());
    }
}

#[test]
fn a_compressor_keeps_nothing_of_one_frame_for_the_next() {
    let (one, other) = (frame(1_000, text), frame(900, |i| [text(i), text(i)].concat()));
    let mut compressor = Compressor::default();
    let first = compressor.compress(one.clone());
    compressor.compress(other);
    assert!(compressor.compress(one) == first);
}

#[cfg(feature = "zstd")]
mod hostile {
    use super::*;

    fn refused(frame: Vec<u8>) -> String {
        decode(&frame.into(), None).expect_err("it must be refused").to_string()
    }

    fn within(plain: &[u8]) -> Vec<u8> {
        let mut frame = vec![16];
        let mut length = plain.len();
        while length >= 0x80 {
            frame.push(length as u8 | 0x80);
            length >>= 7;
        }
        frame.push(length as u8);
        frame.extend(zstd::bulk::compress(plain, 3).expect("it compresses"));
        frame
    }

    #[test]
    fn a_length_that_is_not_what_it_expands_to_is_refused() {
        let mut frame = compress(&frame(1_000, text)).to_vec();
        for change in [1, 0x7f] {
            frame[1] ^= change;
            assert!(refused(frame.clone()).contains("what it claims"));
            frame[1] ^= change;
        }
    }

    #[test]
    fn frames_within_frames_within_frames_are_refused() {
        assert!(refused(within(&within(&frame(1_000, text)))).contains("within another"));
    }

    #[test]
    fn more_than_a_frame_may_be_is_refused_before_it_is_expanded() {
        let says = refused(within(&vec![0; (16 << 20) + 1]));
        assert!(says.contains("bytes of a compressed frame: 16777217"), "{says}");
    }

    /// What hides more than it is worth goes plain, and is refused from others.
    #[test]
    fn more_than_a_thousand_times_its_length_is_refused() {
        let zeros = Bytes::from(vec![0; 4 << 20]);
        assert!(compress(&zeros) == zeros);
        assert!(refused(within(&zeros)).contains("bytes of a compressed frame"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_compressed_frame_with_any_byte_changed_is_refused_or_a_message(entries in 8..60_u32, byte in 1..=255_u8) {
            let compressed = compress(&frame(entries, text));
            for at in 0..compressed.len() {
                let mut changed = compressed.to_vec();
                changed[at] ^= byte;
                if let Ok(message) = decode(&changed.into(), None) {
                    let again = encode(&message, None);
                    decode(&again, None).expect("what decodes has a form");
                }
            }
            for end in 0..compressed.len() {
                prop_assert!(decode(&compressed.slice(..end), Some(&Begin::default())).is_err());
            }
        }
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn without_the_feature_a_compressed_frame_is_refused_in_plain_words() {
    let frame = Bytes::from([&[16, 0xc8, 1][..], &[7; 30]].concat());
    let refused = decode(&frame, Some(&Begin::default())).unwrap_err();
    assert!(refused.to_string().contains("was not offered"), "{refused}");
}
