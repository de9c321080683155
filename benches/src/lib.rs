//! Benchmarks of `saga-core`.
