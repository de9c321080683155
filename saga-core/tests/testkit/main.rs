//! The test kit, tried on sagas that are right and on sagas with a bug that was planted.

#![cfg(feature = "testkit")]

mod asked;
mod asking;
mod planted;
mod rested;
mod sound;
mod world;
