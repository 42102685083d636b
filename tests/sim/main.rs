//! Clusters of whole nodes in one process, from one seed: first faults, then healed, and everything demanded.
//!
//! `world` holds the nodes and has the oracle look at every step. `dense` hands single frames over in any order, without
//! time or delay, so that a run of some dozen steps meets as many odd orders as it can: `runs` has the properties that
//! are held that way. `timed` gives links delays, cuts and timers, and nodes clocks: `clusters` has seeded runs of it, and
//! `stories` the named ones. `poison` is about peers that break the protocol.
//!
//! Each failure prints its seed: `TIDINGS_SEED=n cargo test --test sim NAME -- --nocapture` tells that run's story.
//! `TIDINGS_RUNS=n` sets how many seeds each test tries.

#[path = "../replicas/dice.rs"]
mod dice;
#[path = "../oracle/mod.rs"]
mod oracle;

mod clusters;
mod dense;
mod poison;
mod runs;
mod stories;
mod timed;
mod world;
