//! The client's voter (PROTOCOL.md §9): work in progress.

mod explanation;

pub use explanation::{Ballot, Explanation, Verdict};
