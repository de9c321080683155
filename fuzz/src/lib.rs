//! What is fuzzed stands in `saga-core/tests/fuzz`, where the tests run it too; here it is only given to the fuzzer.

#[path = "../../saga-core/tests/fuzz/bodies/mod.rs"]
pub mod bodies;
#[allow(dead_code, unused_imports, reason = "the tests of the machine use more of it")]
#[path = "../../saga-core/tests/machine/support/mod.rs"]
mod support;
