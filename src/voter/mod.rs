//! The client's voter (docs/protocol.md §9): what a client believes.
//!
//! A client sends a request to all `2t + 1` replicas and gets replies over links whose other end
//! is known by its key. [`Voter`] collects them for one request:
//!
//! - **Rule C1.** A reply's value is (position, index in the step, outcome bytes), and nothing of
//!   it is interpreted before it is accepted. A value is accepted when `t + 1` distinct replicas
//!   stand for it at the same time. Any number of other replies is waited past.
//! - **One replica, one vote.** The vote of a replica is its latest reply. A later one takes the
//!   place of an earlier one and never stands beside it, so that a replica that says different
//!   things at different times counts once, for the last. (Were the first to count instead, an
//!   honest replica that had to roll back an answer while Δ was broken could never correct it,
//!   and the request would wait for ever.)
//! - **Notes are not votes.** What a replica says outside of the order ([`NoteKind`]) only
//!   explains its silence.
//! - **Rule C3.** A vote may hold the digest of its outcome in place of that. It counts like any
//!   other; what is accepted has its bytes from whoever sent what fits. Nothing is hashed before a
//!   digest comes. [`Voter::lacking`] tells what is agreed on and not here.
//! - **Acceptance is final.** Later votes change who dissents and nothing else.
//! - **Rule C2.** [`Voter::explain`] tells at any time who said what, when, and who is silent.
//!
//! # Properties
//!
//! With at most `t` liars, whatever they say, how often and in whichever order:
//!
//! - *Only the right value.* Of `t + 1` replicas that stand for a value one is good, and a good
//!   replica replies only what the order and the service gave. All good replicas give the same.
//! - *Always the right value.* Nobody but a replica itself changes its vote, and good ones do
//!   not, so nothing can keep the `t + 1`-th good reply from completing the vote.
//! - *Bounded.* There is one place for a vote and one for a note a replica. Equal values share
//!   their bytes, so memory is at most one outcome for each *different* value.
//!
//! The tests check all three over random schedules, and the arithmetic by hand.
//!
//! [`NoteKind`]: crate::wire::NoteKind

mod explanation;
mod said;
mod votes;

pub use explanation::{Ballot, DigestShown, Explanation, Verdict, chain_text};
pub use votes::{Heard, Lacking, LinkState, Value, Voter};
