//! Sessions in a cluster in which more replicas have written than a token can name. Not responsible for what a dot that
//! stands for a context is worth: the simulator is.

use crate::close;
use crate::stores::{PATIENCE, address, eventually, open, secret};
use std::time::Duration;
use tidings::{Error, Secret, Store};

/// So many replicas that each name, at 12 characters or more, is too much.
const REPLICAS: u64 = 360;

/// Nodes that come, write their record, and go.
async fn guests(secret: &Secret, hub: &Store) {
    let mut closing = Vec::new();
    while hub.status().context.replicas < REPLICAS {
        let known = hub.status().context.replicas;
        let mut guests = Vec::new();
        for number in 0..40 {
            guests.push(open(secret, &format!("guest{known}-{number}"), &[hub]).await);
        }
        eventually("their records are here", || hub.status().context.replicas >= known + 40).await;
        closing.extend(guests.into_iter().map(|guest| tokio::spawn(async move { guest.close().await })));
    }
    for closed in closing {
        closed.await.expect("it closes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_fits_a_header_however_many_replicas_have_written() {
    let secret = secret();
    let hub = open(&secret, "hub", &[]).await;
    guests(&secret, &hub).await;
    let other = open(&secret, "other", &[&hub]).await;
    let written = hub.put("k", "1").await.expect("written");
    let own = hub.session();
    let first = hub.token_of(&written.session).await.expect("a token");
    assert!(first.len() <= 4_096, "{}", first.len());
    assert!(hub.session() != own, "it has taken a dot that stands for the rest");
    // While little changes, that dot stands for the rest of the next token too.
    let written = hub.put("k", "2").await.expect("written");
    let second = hub.token_of(&written.session).await.expect("a token");
    assert!(second.len() < 200 && second != first, "{second}");
    for (token, value) in [(first, "1"), (second.clone(), "2")] {
        let session = other.session_of(&token).expect("a token of this cluster");
        let seen = other.get_after("k", &session, PATIENCE).await.expect("in time");
        assert!(seen.as_deref() == Some(b"2") || seen.as_deref() == Some(value.as_bytes()));
    }
    assert_eq!(other.get("k").as_deref(), Some(&b"2"[..]));
    // Who lacks what the dot stands for lacks the dot.
    let apart = open(&secret, "apart", &[]).await;
    let session = apart.session_of(&second).expect("a token of this cluster");
    assert!(!apart.has_reached(&session));
    let early = apart.wait_for(&session, Duration::from_millis(20)).await;
    assert!(matches!(early, Err(Error::NotYetHere)), "{early:?}");
    apart.add_peer(&address(&hub)).await.expect("an address");
    apart.wait_for(&session, PATIENCE).await.expect("in time");
    assert!(apart.status().context.replicas >= REPLICAS);
    close([hub, other, apart]).await;
}
