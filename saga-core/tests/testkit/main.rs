//! The test kit, tried on sagas that are right and on sagas with a bug that was planted.

#![cfg(feature = "testkit")]

mod asking;
mod planted;
mod sound;
mod world;
