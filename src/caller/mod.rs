//! One client, without a network: sessions, repeats, votes (work in progress).

mod actions;
mod input;

pub use actions::{Action, Actions, Answer, CallError};
pub use input::{Input, Token};
