//! The runtime, from start to rest, under everything that can happen in between.

mod actions;
mod cancelling;
mod clients;
mod crashes;
mod events;
mod leases;
mod operators;
mod polling;
mod recovery;
mod resting;
mod scale;
mod shutting_down;
mod stores;
mod workers;
mod world;
mod wrapped;
