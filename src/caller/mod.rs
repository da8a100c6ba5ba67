//! One client, without a network.

mod actions;
mod core;
mod input;
mod links;
mod queue;
mod replies;
mod setup;
mod stats;
mod window;

pub use self::core::Caller;
pub use actions::{Action, Actions, Answer, CallError};
pub use input::{Input, Token};
pub use setup::Setup;
pub use stats::{ReplicaStats, Stats};

#[cfg(test)]
mod tests;
