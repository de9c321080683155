//! The same saga on saga-core and on its peers, in one run: machines are noisy, and a figure from another
//! machine or another day says nothing beside one from here.
//!
//! The saga has five steps in a row. Each adds one to what the step before it made, and each has a compensation. A
//! [`Peer`](peer::Peer) runs it as its own documentation advises, with its default settings; to add one, write a file
//! beside [`steno`] and name it in [`peer::all`].
//!
//! - [`peer`]: what a peer has to do;
//! - [`ours`], [`cano`], [`dbos`], [`duroxide`], [`graphrun`], [`restate`], [`steno`]: the peers;
//! - [`contest`]: rounds, medians and ratios;
//! - [`bars`]: the ratios that the project holds itself to beside its peers.

pub mod bars;
pub mod cano;
pub mod contest;
pub mod dbos;
pub mod duroxide;
pub mod graphrun;
pub mod ours;
pub mod peer;
pub mod restate;
pub mod steno;
