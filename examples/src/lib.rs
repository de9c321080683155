//! Narrated examples of `saga-core`; each is a file beside this folder.
//!
//! - `cargo run -p saga-examples --example trip`: what a saga is, and how it ends.
//! - `cargo run -p saga-examples --example crash`: a process that dies in the middle, and one that goes on.
