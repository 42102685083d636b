//! Whose a data directory is, and who may read it. Not responsible for what is wrong inside.

use super::place::{Place, secret};
use crate::common::{stderr, stdout};
use std::process::Stdio;

#[test]
fn a_data_directory_has_one_owner_and_none_after_a_kill() {
    let mut place = Place::new(&secret());
    place.start(&[]);
    assert_eq!(place.client().put("kettle", "on").status, 201);
    let second = place.command(&[]).stderr(Stdio::piped()).output().expect("the binary runs");
    assert_eq!((second.status.code(), stdout(&second)), (Some(1), String::new()));
    let said = stderr(&second);
    assert!(
        said.contains(place.data().to_str().expect("UTF-8")) && said.contains("in use by another process"),
        "{said}"
    );
    assert_eq!(place.client().put("kettle", "off").status, 204);
    for _ in 0..3 {
        place.kill();
        place.start(&[]);
        assert_eq!(place.client().value("kettle").as_deref(), Some(&b"off"[..]));
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut place = Place::new(&secret());
    place.start(&[]);
    assert_eq!(place.client().put("kettle", "on").status, 201);
    place.end();
    let format = place.data().join("format");
    let written = std::fs::read_to_string(&format).expect("there");
    std::fs::write(&format, written.replacen("tidings 1", "tidings 7", 1)).expect("written");
    assert_newer(&mut place);
    std::fs::write(&format, &written).expect("written");
    place.start(&[]);
    place.end();

    // The record of the identity begins with the format, too: that of what the records mean.
    let state = place.data().join(written.split_whitespace().last().expect("the state's directory"));
    let database = fjall::Database::builder(state).open().expect("the engine's");
    let log = database.keyspace("log", fjall::KeyspaceCreateOptions::default).expect("its records");
    let mut identity = log.get([0]).expect("read").expect("there").to_vec();
    identity[0] = 7;
    log.insert([0], identity).expect("written");
    database.persist(fjall::PersistMode::SyncAll).expect("durable");
    drop((log, database));
    assert_newer(&mut place);
}

fn assert_newer(place: &mut Place) {
    assert_eq!(place.try_start(&[]), Err(Some(1)), "{}", place.stderr());
    let said = place.stderr();
    assert!(said.contains(place.data().to_str().expect("UTF-8")), "{said}");
    assert!(said.contains("has format 7, written by a newer release"), "{said}");
}
