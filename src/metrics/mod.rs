//! Figures for monitoring, as Prometheus reads them. Not responsible for counting: machines, driver and routes do.
//!
//! Every name begins with `tidings_`, has its unit at its end, in seconds or bytes, and `_total` where it only grows. Labels
//! have few values, all known beforehand: never a key, never a peer. `proto-docs/operations.md` says what each is for.

mod text;

pub(crate) use text::Text;
