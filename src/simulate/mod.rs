//! Clusters that do not exist, by the thousand: the production machine in virtual time, on a network of arithmetic. Not
//! responsible for what real sockets, disks and schedulers add, nor for looking at every single step: of few nodes, the
//! tests do that with an oracle.
//!
//! | file | |
//! | --- | --- |
//! | `network` | how long a frame is on its way: latency, jitter, loss, upload |
//! | `queue` | what will happen, in order; the digest of all that has |
//! | `wires`, `cuts` | connections, and which paths are cut |
//! | `machine` | one computer: its node, its disk, its clock |
//! | `cluster`, `transport`, `faults` | the engine: events to inputs and outputs to events; what goes wrong |
//! | `writes`, `spreading` | who wrote what, to check it by; and how long it took to be everywhere |
//! | `checks`, `causality`, `figures` | what is demanded, and what is counted |
//! | `plan`, `run` | a whole run: come together, write under faults, heal, agree |
//!
//! One seed decides everything: the same settings and seed give the same run to the last byte, and
//! [`Cluster::digest`] tells whether two runs were the same.
//!
//! ```
//! use tidings::simulate::{Cluster, Settings};
//! let mut cluster = Cluster::new(Settings { nodes: 5, seed: 7, ..Settings::default() });
//! let second = 1_000_000;
//! cluster.run_for(2 * second);
//! cluster.put(3, 0, 64);
//! let took_us = cluster.run_until_converged(10 * second).expect("they agree");
//! assert!(took_us < second);
//! cluster.check().expect("no write is lost, and none is back");
//! ```

mod causality;
mod checks;
mod cluster;
mod cuts;
mod faults;
mod figures;
mod machine;
mod network;
mod plan;
mod queue;
mod run;
mod spreading;
mod transport;
mod wires;
mod writes;

pub use cluster::{Cluster, Joins, Settings};
pub use cuts::CutId;
pub use figures::{Counts, Figures};
pub use network::Network;
pub use plan::{Crash, Partition, Plan, Random, Writers};
pub use run::{Outcome, Progress, Run};
pub use spreading::{Curve, SHARES, Spread};
