//! A model checker for the machine of `saga-core`: it visits every state of every small saga, breadth first, and holds named
//! properties against each of them.
//!
//! What is checked is the real machine: [`observe`](saga_core::machine::observe), [`evolve`](saga_core::machine::evolve),
//! [`decide`](saga_core::machine::decide), [`operate`](saga_core::machine::operate). Around it stand, in small, a driver
//! that commits before it acts, a store with a conditional append, and an outside world that knows what really happened.
//!
//! | module | |
//! |---|---|
//! | [`shape`], [`saga`], [`steps`] | every graph of up to four steps, every class of each |
//! | [`bounds`], [`passes`] | how much may go wrong in one run |
//! | [`node`], [`journal`] | one state: the machine's, the store's, the world's; its fingerprint |
//! | [`act`], [`possible`], [`model`] | what can happen, and what comes of it |
//! | [`property`], [`ledger`], [`judge`], [`rest`] | what has to hold, judged without the machine |
//! | [`explore`], [`sweep`], [`report`], [`story`] | breadth first through one saga, through all, and what to tell of it |
//! | [`system`] | what is under check, with a place for faults |

pub mod act;
pub mod bounds;
pub mod explore;
pub mod journal;
pub mod judge;
pub mod ledger;
pub mod model;
pub mod node;
pub mod passes;
pub mod possible;
pub mod property;
pub mod report;
pub mod rest;
pub mod saga;
pub mod shape;
pub mod steps;
pub mod story;
pub mod sweep;
pub mod system;
