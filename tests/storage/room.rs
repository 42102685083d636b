//! Room that is given back. Not responsible for when exactly.

use super::place::{Client, Place, secret};
use crate::common::eventually;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ROOM_BYTES: u64 = 10_000_000;
const WRITERS: usize = 16;

/// As `du` counts; what goes away meanwhile takes nothing.
pub(crate) fn du(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.blocks() * 512 + below.map(|entry| du(&entry.path())).sum::<u64>()
}

fn import(client: &Client, keys: usize) {
    for first in (0..keys).step_by(50_000) {
        let line = |key: usize| format!("{{\"key\":\"k{key:07}\",\"text\":\"{:0400}\"}}\n", key);
        let lines: String = (first..keys.min(first + 50_000)).map(line).collect();
        let answer = client.ask("POST", "/v1/import", lines.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn delete(client: &Client, keys: usize) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for key in (writer..keys).step_by(WRITERS) {
                    let answer = client.ask("DELETE", &format!("/v1/kv/k{key:07}"), b"").expect("an answer");
                    assert_eq!(answer.status, 204, "{}", answer.text());
                }
            });
        }
    });
}

/// `TIDINGS_KEYS=1000000` is what a disk of a small machine has to stand.
#[test]
fn space_is_given_back() {
    let keys = std::env::var("TIDINGS_KEYS").map_or(30_000, |keys| keys.parse().expect("a number"));
    let mut place = Place::new(&secret()).with_flags(&["--tombstone-age", "1s", "--tombstone-count", "0"]);
    place.start(&[]);
    import(place.client(), keys);
    let full = du(place.data());
    assert!(full > ROOM_BYTES, "only {full} bytes: too few to tell");
    println!("{keys} keys: {full} bytes");
    delete(place.client(), keys);
    println!("all deleted: {} bytes", du(place.data()));
    eventually("the deletes are forgotten", || place.client().status()["tombstones"] == 0);
    println!("and forgotten: {} bytes", du(place.data()));
    eventually("the room is given back", || du(place.data()) < ROOM_BYTES);
    println!("given back: {} bytes", du(place.data()));
    assert_eq!(place.client().put("kettle", "on").status, 201);
    place.kill();
    place.start(&[]);
    assert_eq!(place.client().value("kettle").as_deref(), Some(&b"on"[..]));
    assert_eq!(place.client().get("/v1/export").text().lines().count(), 1);
    assert!(du(place.data()) < ROOM_BYTES);
}
