//! What the benchmarks are made of.
//!
//! Two kinds of them: the criterion benches of single parts are the `*.rs` files beside this folder
//! (`cargo bench -p saga-benches`); the command `saga-bench` runs whole workloads, and measures the limit that the disk
//! sets in the same run. `docs/performance.md` says how to read what it prints.
//!
//! Figures are compared in one run, as ratios: machines are noisy.
//!
//! - [`workload`]: the sagas;
//! - [`stores`]: where their journals are kept, with [`tap`] to see what they write;
//! - [`postgres`]: the server for the one that needs one;
//! - [`measure`]: a closed loop of clients, and what it takes;
//! - [`limit`]: a plain file, to hold the durable stores against;
//! - [`crew`]: who drives the sagas, this process or workers beside it;
//! - [`row`]: one measurement, from all of these;
//! - [`report`]: what is printed;
//! - [`recovery`]: how long it takes until all runs of a store are at work again;
//! - [`bars`]: the ratios that the project holds itself to.

pub mod bars;
pub mod crew;
pub mod limit;
pub mod measure;
pub mod postgres;
pub mod recovery;
pub mod report;
pub mod row;
pub mod stores;
pub mod tap;
pub mod workload;

pub use workload::{Nothing, chain, run_many};

/// Why a benchmark has no result.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
