//! How long things may take, and how often they are tried.

use std::time::Duration;

use saga_core::Retry;

/// How often a wait makes sure that its cluster still exists.
pub(super) const GUARD_EVERY: Duration = Duration::from_secs(1);
/// How long a plugin has to come to a safe point, once it is told to stop.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(10);
/// A wait that something else limits.
pub(super) const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many machines are made, or destroyed, side by side.
pub(super) const NODES_AT_ONCE: u32 = 16;

/// Making a machine: an engine has its bad moments.
pub(super) const CREATE: Retry = Retry::exponential(3);
pub(super) const CREATE_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Destroying one machine, once.
pub(super) const DESTROY_WITHIN: Duration = Duration::from_secs(60);
/// Killing what a run made and does not keep. Long, because what is given up here is left to a person.
pub(super) const KILL: Retry = Retry::exponential(8);
/// Destroying a decommissioned node, before the scale turns back because of it.
pub(super) const TERMINATE: Retry = Retry::exponential(5);
/// Finishing that, once the scale has turned back.
pub(super) const TERMINATE_PATIENCE: Retry = Retry::exponential(10);

/// Moving data away from nodes. It may take long, and an attempt goes on where the one before it stopped.
pub(super) const DECOMMISSION: Retry = Retry::exponential(3);
pub(super) const DECOMMISSION_WITHIN: Duration = Duration::from_secs(3600);

/// Configuring and starting nodes.
pub(super) const SET_UP: Retry = Retry::exponential(3);
pub(super) const SET_UP_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Starting nodes may be moving data to them, which takes as long as moving it away. An attempt that is cut off goes on
/// the next time, but the last one that is cut off halts a run in which nothing is wrong.
pub(super) const START_WITHIN: Duration = DECOMMISSION_WITHIN;

/// Changing the record in the middle of a run.
pub(super) const RECORD: Retry = Retry::exponential(6);
pub(super) const RECORD_WITHIN: Duration = Duration::from_secs(30);

/// How often a run looks at the record before it begins, and how long it waits in between, at first.
pub(super) const LOOKS: u32 = 6;
pub(super) const FIRST_LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often a delete asks the engine: about its machines, and to destroy one of them.
pub(super) const DELETE_ATTEMPTS: u32 = 8;
pub(super) const DELETE: Retry = Retry::exponential(DELETE_ATTEMPTS);
/// How often a delete looks for machines that appeared after it had begun.
pub(super) const SWEEPS: u32 = 3;
