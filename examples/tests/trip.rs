//! The tests in the tutorial. (Cargo builds the example itself as the program that it is, without them.)

#[allow(dead_code)] // its `main`
#[path = "../trip.rs"]
mod trip;
