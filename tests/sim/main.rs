//! Clusters of whole nodes in one process, from one seed: first faults, then healed, and everything demanded.
//!
//! `world` holds the nodes and has the oracle look at every step. `dense` hands single frames over in any order, without
//! time or delay, so that a run of some dozen steps meets as many odd orders as it can: `runs` has the properties that
//! are held that way. `timed` gives links delays, cuts and timers, and nodes clocks: `clusters` has seeded runs of it, and
//! `stories` the named ones. `poison` is about peers that break the protocol.
//!
//! `disk` is a disk that loses what was not synced, `kept` nodes whose state is on one: `crashes` has the seeded runs of
//! power cuts and disks that fail, `clients` looks at what sessions rely on in them, `storage` has their named stories,
//! and `clones` those of a disk that was copied. `watching` puts watchers into the same runs. `sessions` is about what a
//! node does for one, `broadcasts` about messages to all nodes.
//!
//! Each failure prints its seed: `TIDINGS_SEED=n cargo test --test sim NAME -- --nocapture` tells that run's story.
//! `TIDINGS_RUNS=n` sets how many seeds each test tries.

#[path = "../replicas/dice.rs"]
mod dice;
#[path = "../replicas/look.rs"]
mod look;
#[path = "../oracle/mod.rs"]
mod oracle;

mod away;
mod broadcasts;
mod clients;
mod clones;
mod clusters;
mod crashes;
mod dense;
mod disk;
mod kept;
mod machines;
mod poison;
mod runs;
mod sessions;
mod storage;
mod stories;
mod timed;
mod watching;
mod world;
