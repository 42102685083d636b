//! Layer 3: the node on a network, the only place with tokio, sockets, files and real clocks. Not responsible for any
//! decision of the protocol.
//!
//! ```text
//!  Store handles ──commands (bounded)──▶ ┌────────┐ ──LinkCommand (bounded)──▶ a task for each link
//!       ▲  └──── read lock ────────────▶ │ driver │ ◀──LinkEvent (bounded)────  and one for each channel
//!       └────── replies, versions ────── └────────┘ ◀──connections──────────── accept task, dial tasks
//!                                         │      ▲
//!                                    Batch▼      │durable, or not
//!                                   thread of the storage
//! ```
//!
//! The driver never waits for a link: it closes one whose queue is full. Links wait for the driver, and so hold back
//! their peers. Shutdown, in order: peers take what they lack; goodbye; link tasks end; the socket closes.

pub(crate) mod clock;
pub(crate) mod command;
mod dialing;
pub(crate) mod discovery;
pub(crate) mod disk;
pub(crate) mod driver;
mod hearing;
pub(crate) mod meters;
pub mod net;
pub mod storage;
