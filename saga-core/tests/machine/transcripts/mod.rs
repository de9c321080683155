//! The rules of the design, section 3, told as examples.

mod abort;
mod classes;
mod moving_on;
mod patience;
mod refused;
mod unknown;
