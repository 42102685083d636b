//! Any frame is refused, or is the one form of what it says: with the `Begin` of a pull, without, and after something was
//! said on the control channel. What a push then says can be merged, or is refused by the map.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidings::proto::assembly::Assembly;
use tidings::proto::codec::{Spoken, decode, decode_control, encode, encode_control};
use tidings::proto::message::{Begin, Message};
use tidings::{CausalContext, OrMap, ReplicaId};

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    let snapshot: CausalContext = [(ReplicaId::from(1), 9), (ReplicaId::from(2), 9)].into_iter().collect();
    let begin = Begin { snapshot: snapshot.clone(), ..Begin::default() };
    for begun in [None, Some(&begin)] {
        if let Ok(message) = decode(&frame, begun) {
            assert_eq!(encode(&message, begun), frame);
            take(message);
        }
    }
    let mut said = Spoken::default();
    encode_control(&Message::Context { context: snapshot, replace: false }, &mut said);
    let (before, mut heard) = (said.clone(), said.clone());
    match decode_control(&frame, &mut heard) {
        Ok(message) => {
            assert_eq!(encode_control(&message, &mut said), frame);
            assert_eq!(said, heard);
            take(message);
        }
        Err(_) => assert_eq!(before, heard),
    }
});

/// What a receiver does with it that has a few entries.
fn take(message: Message) {
    let mut map = OrMap::new(ReplicaId::from(1));
    map.put(b"the kettle", b"on", 1_700_000_000_000);
    map.put(b"the kettle", b"off", 1_700_000_000_000);
    match message {
        Message::Push(delta) => drop(map.merge(delta)),
        Message::Chunk(entries) => {
            if let Some(entries) = Assembly::default().complete(entries).ok().and_then(|all| map.resolve(all).ok()) {
                map.join_entries(&entries, |_| ());
            }
        }
        Message::Piece(piece) => drop(Assembly::default().take(&piece)),
        _ => {}
    }
}
