//! Narrated examples of `saga-core` and `saga-cluster`; each is a file beside this folder.
//!
//! - `cargo run -p saga-examples --example trip`: what a saga is, and how it ends.
//! - `cargo run -p saga-examples --example crash`: a process that dies in the middle, and one that goes on.
//! - `cargo run -p saga-examples --example redis_cluster`: a Redis Cluster that is grown and shrunk while it is used, and
//!   whose coordinator is killed in the middle.
