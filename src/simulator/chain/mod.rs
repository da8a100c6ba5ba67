//! Fail-stop chains in a fake world: links that break, disks that lose what was not synced,
//! replicas that stop, start again or sleep, a master that takes out who is silent, and clients.
//!
//! [`run`] plays one seed. The checkers look after every event; what they check is in [`check`].
//! [`search`] goes through all orders of delivery of small chains instead.

mod caller;
pub mod check;
mod client;
mod disk;
mod faults;
mod options;
pub mod search;
mod site;
mod wires;
mod world;

pub use faults::setup;
pub use options::{ChainOptions, ChainReport};
pub use world::run;
