//! Towards an engine whose machines are the resources of one Heat stack per cluster, one named resource for each node.
//!
//! So far there is the [`template`] alone, with what makes a change of it conditional.

// The engine that uses it is not written yet.
#![allow(dead_code)]

mod template;
