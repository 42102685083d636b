//! Any frame is refused, or is the one form of what it says: in a pull with its `Begin` and without, and on a control
//! channel after others, where a frame that is refused has changed nothing. None takes more memory than a multiple of it.

#![no_main]

use bytes::Bytes;
use tidings::proto::codec::{Compressor, Spoken, decode, decode_control, encode, encode_control, plain_bytes};
use tidings::proto::message::{Begin, Message};
use tidings::{CausalContext, OrMap, ReplicaId};
use tidings_fuzz::{Draw, vectors, with_length, within};

/// What a compressed frame begins with.
const COMPRESSED: u8 = 16;

tidings_fuzz::target!(seeds, run);

/// The first byte says what was said before; then come frames, each after its length.
fn run(input: &[u8]) {
    let mut draw = Draw::new(input);
    let (mut said, begin) = before(draw.byte());
    let mut heard = said.clone();
    while !draw.is_over() {
        let frame = Bytes::copy_from_slice(draw.bytes());
        // The multiple of `tests/wire_memory.rs`, three times over: to decode it, to encode it again and to compare.
        within((64 << 20) + 400 * frame.len().max(plain_bytes(&frame).min(1024 * frame.len())), || {
            in_a_pull(&frame, None);
            in_a_pull(&frame, Some(&begin));
            on_control(&frame, &mut said, &mut heard);
        });
    }
}

fn in_a_pull(frame: &Bytes, begun: Option<&Begin>) {
    if let Ok(message) = decode(frame, begun) {
        assert_is_form_of(frame, &encode(&message, begun));
    }
}

fn on_control(frame: &Bytes, said: &mut Spoken, heard: &mut Spoken) {
    let before = heard.clone();
    match decode_control(frame, heard) {
        Ok(message) => {
            assert_is_form_of(frame, &encode_control(&message, said));
            assert_eq!(said, heard, "both ends have the same");
        }
        Err(_) => assert_eq!(*heard, before, "what is refused changes nothing"),
    }
}

/// A frame may be compressed in many ways; what is in it has one form.
fn assert_is_form_of(frame: &Bytes, form: &Bytes) {
    match frame.first() {
        Some(&COMPRESSED) => assert_eq!(form.len(), plain_bytes(frame)),
        _ => assert_eq!(form, frame),
    }
}

/// Nothing, or contexts of a few replicas.
fn before(choice: u8) -> (Spoken, Begin) {
    let clocks = |count: u8| (1..=u128::from(count)).map(|id| (ReplicaId::from(id), 9)).collect::<CausalContext>();
    let (context, bound) = (clocks(choice % 4), clocks(choice / 4 % 4));
    let mut spoken = Spoken::default();
    if choice >= 16 {
        encode_control(&Message::Context { context: context.clone(), replace: false }, &mut spoken);
    }
    (spoken, Begin { snapshot: context, bound, catch_up: choice >= 128 })
}

fn seeds() -> Vec<Vec<u8>> {
    let frames: Vec<Bytes> = vectors("").into_iter().chain([compressed()]).collect();
    let alone = frames.iter().flat_map(|frame| [0, 18, 22].map(|choice| [vec![choice], with_length(frame)].concat()));
    let together = frames.iter().flat_map(|frame| with_length(frame));
    alone.chain([[0].into_iter().chain(together).collect()]).collect()
}

fn compressed() -> Bytes {
    let mut map = OrMap::new(ReplicaId::from(1));
    (0..40).for_each(|key| _ = map.put(&[key], [b'v'; 40], 1_700_000_000_000));
    let push = Message::Push(map.delta_since(&CausalContext::new()));
    Compressor::default().compress(encode(&push, None))
}
