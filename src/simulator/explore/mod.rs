//! An explorer of the ordering core: real cores, and every choice of the world around them.
//!
//! The simulator runs whole clusters through random worlds. This looks at few cores and tries
//! *all* that can go wrong around them, up to a number of *deviations*. A deviation is one thing
//! that a friendly world would not do: a link that becomes slow, a crash, one word of a liar. With
//! none, what happens is fixed: messages arrive at once, liars behave. From every state on the way
//! each possible deviation is tried, and from every state on the ways from there the next one.
//! Most executions that break a protocol of this kind are a handful of deviations long.
//!
//! There are no replicas and no services around the cores: bodies are always there, and executing
//! is writing down what was ordered. Time moves from event to event. Between good replicas every
//! message arrives within Δ, *before* any timer that goes off at the same instant, unless the
//! options say that Δ is broken.

mod book;
mod driver;
mod ghost;
mod liar;
mod moves;
mod search;
mod step;
mod story;
mod walk;
mod world;

#[cfg(test)]
mod tests;

pub use book::Book;
pub use ghost::Violation;
pub use moves::Move;
pub use search::{Found, Searched, search};
pub use story::{Told, story};
pub use walk::{Walked, walk};
pub use world::{Options, World};
