//! Engines, plugins and repositories for tests: ones that only pretend, and ones that fail on demand.
//!
//! Failures are injected through the public traits, at the place where a real engine or plugin would fail, so that a
//! test goes through all the error handling that a real failure goes through.
//!
//! ```
//! use saga_cluster::testing::{FakeEngine, Faults, FaultyEngine, How, On, When};
//!
//! let faults = Faults::new();
//! faults.inject(On::Create, When::Nth(2), How::FailAfter);
//! faults.inject(On::Destroy, When::Node("workers-1".parse()?), How::FailBefore); // for ever: the run gets stuck
//! let fake = FakeEngine::new();
//! let engine = FaultyEngine::new(fake.clone(), faults.clone());
//! # Ok::<(), saga_cluster::model::InvalidName>(())
//! ```

mod fake_engine;
mod fake_plugin;
mod faults;
mod faulty_engine;
mod faulty_plugin;
mod faulty_repository;

pub use fake_engine::FakeEngine;
pub use fake_plugin::{Call, FakePlugin};
pub use faults::{Faults, How, On, When};
pub use faulty_engine::FaultyEngine;
pub use faulty_plugin::FaultyPlugin;
pub use faulty_repository::FaultyRepository;

#[cfg(test)]
mod tests;
