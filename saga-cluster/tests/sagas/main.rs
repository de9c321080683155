//! The sagas through the service, on engines, plugins and repositories that fail on demand.

mod accidents;
mod bad_plugins;
mod changed_mind;
mod crash;
mod create;
mod delete;
mod durable;
mod many;
mod scale;
mod sleepy;
mod told;
mod vanish;
mod vetting;
mod windows;
mod world;
