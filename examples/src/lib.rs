//! The examples are the `*.rs` files beside this folder: `cargo run -p saga-examples --example trip`.
