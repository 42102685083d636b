//! What a service manager is told that waits for it: that the node serves, and that it ends. Not responsible for starting
//! or ending anything. Where nobody has asked (`NOTIFY_SOCKET` is not set), nothing is said.

/// The node serves its clients. Whether it has met a peer is no part of it: it may be meant to work alone for days.
pub(super) fn tell_ready(serving: &str) {
    tell(Told::Ready(serving));
}

/// It ends: what is under way is finished first.
pub(super) fn tell_stopping() {
    tell(Told::Stopping);
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
enum Told<'a> {
    Ready(&'a str),
    Stopping,
}

#[cfg(target_os = "linux")]
fn tell(told: Told<'_>) {
    use sd_notify::NotifyState::{Ready, Status, Stopping};
    let sent = match told {
        Told::Ready(serving) => sd_notify::notify(&[Ready, Status(serving)]),
        Told::Stopping => sd_notify::notify(&[Stopping]),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told; it may take the node for one that hangs");
    }
}

#[cfg(not(target_os = "linux"))]
fn tell(_: Told<'_>) {}
