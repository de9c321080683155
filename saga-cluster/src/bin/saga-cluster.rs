//! The `saga-cluster` command.

fn main() {}
