//! One client, without a network: sessions, numbered requests, repeats and votes.
//!
//! [`Caller`] is a pure core. Its driver owns the links and the clock, hands in what happens as
//! [`Input`] and does what the [`Action`]s say. After every batch of inputs it hands in
//! [`Input::Drained`]: only then is anything sent, so that a batch becomes one write a replica.
//! When [`Caller::next_wake`] has come it hands in [`Input::Tick`] and [`Input::Drained`].
//!
//! # The life of a call
//!
//! 1. It waits in the queue. Calls never overtake each other. A call that can never be sent
//!    (empty, above the cluster's limits) fails at once.
//! 2. The session is opened by an ordered request with number 0 (rule O6), on which the client
//!    votes like on any other. It is sent as soon as a link is up, before there is any call.
//! 3. At `Drained` the first call becomes a request with the next number. Calls behind it travel
//!    in the same request if both sides agreed to that (`coalesce`) and the limits on commands and
//!    bytes allow it. They share one fate: one vote, one refusal, one limit on outputs.
//! 4. The request goes to every replica whose link is up, and to another when its link comes up,
//!    as long as it is unanswered. The frame is made once; every repeat is the same bytes, since
//!    the digest that names a request covers all of it, the low-water mark included (K17).
//! 5. It is repeated after `repeat_after`, then after twice that, up to `repeat_cap`; to those
//!    that have not voted, or to all if all have and disagree. `Busy` changes nothing about that:
//!    it is a note for the explanation, and the growing distance is the backing off.
//! 6. It ends when `t + 1` replicas gave the same reply (rule C1); when `t + 1` replicas note that
//!    they will not take it; when its session is lost; or when the time of its last call is over.
//!    Each call ends at its own deadline, counted from when it came.
//!
//! # Large results (rule C3)
//!
//! A reply may hold a digest in place of its outcome, which another replica is to send. What is
//! done when that does not come is in `wholes.rs`.
//!
//! # Chains
//!
//! In a fail-stop cluster nobody votes. [`ChainCaller`] puts three callers together: two of another
//! [`Mode`], in which a request goes to one replica and the first reply is its answer, and one that
//! votes on what the master says. Queue, window, session, repeats and deadlines are the same; what
//! differs, where a request goes and what follows from a refusal, is in `route.rs`.
//! [`ChainsCaller`] puts one of these together for each chain, where there are several.
//!
//! # Numbers, window and low-water mark (rule O6)
//!
//! A request carries the lowest number that is unanswered when it is made. *Answered* means
//! accepted or given up: once nobody can get the answer any more, there is nothing to keep it for.
//! So a number that somebody still wants is never passed. One that was given up may be: should
//! the order come to it afterwards, it refuses it as below the mark, or executes it if it comes
//! to it first; either way at most once, as its caller was told ("may still be executed").
//!
//! At most `pipeline` requests are outstanding, and numbers stay within `window` above the
//! low-water mark. One request without a majority holds the window until its deadline and no
//! longer: while `t + 1` replicas are gone every call fails in its own time, and when they are
//! back there is nothing to recover from. For this it matters that the session table raises its
//! mark to a request's before it judges the request's number.
//!
//! From eight outstanding requests on, new ones leave at least `gather` apart, and what came
//! meanwhile leaves together: a message costs both sides many times what a request in it does, so
//! where calls come evenly all are answered sooner for it. Fewer outstanding wait for nothing.
//!
//! A forgotten call ([`Input::Forget`]) that was sent keeps its place until it is answered or its
//! time is over; cancelling in a loop cannot put more than `pipeline` requests into the replicas.
//!
//! # What became of a request
//!
//! A caller whose first session begins with [`Start`] in another's place can ask about one request
//! of that: [`Input::Withdraw`] sends its number with an empty body, which gets what came of it, or
//! withdraws it (rule C2). Every explanation has the call's id, [`Action::Numbered`] tells ids
//! before requests leave, and [`notebook`] has the bytes that a client writes down to know them
//! after a restart.
//!
//! # A lost session
//!
//! Sessions are evicted by the order. When `t + 1` replicas refuse a request for that reason, it
//! fails, and so does all else outstanding in that session. Nothing is sent again by itself: an
//! earlier copy may have been executed before the eviction. Calls not sent yet go into a new
//! session, whose nonce is derived from the first one and a counter.
//!
//! # Receipts
//!
//! A call that wants a receipt ([`Input::CallForReceipt`]) is accepted like any other. Then all
//! replicas are asked for the proof, again and again like for replies; each proof is judged with
//! the others when it comes, and the first receipt with the assurance that the caller wants ends
//! the call. Until then the request counts as outstanding, so that replicas keep its reply. When
//! the time is over the call ends with its answer and without a receipt; what was accepted is
//! never lost.
//!
//! # Hostile replicas
//!
//! Whatever one replica sends changes its own place in the votes, its counters and, if it is no
//! message, its link. Outcomes are read only after `t + 1` replicas gave the same bytes; if these
//! do not fit the request, which is outside of the model, the calls fail
//! ([`CallError::Unreadable`]). Kept are: for each outstanding request one vote and one note a
//! replica, of outcomes no larger than a good replica could send; the accepted values of the last
//! requests, up to a thousand and a megabyte, so that who dissents late is counted too.
//!
//! The queue of calls is the driver's to bound: it hands them in.

mod actions;
mod chain;
mod chains;
mod core;
mod input;
mod links;
mod names;
pub mod notebook;
mod queue;
mod receipts;
mod replies;
mod route;
mod setup;
mod shares;
mod stats;
mod voting;

mod wholes;
mod window;

pub use self::core::Caller;
pub use actions::{Action, Actions, Answer, CallError};
pub use chain::{ChainCaller, ChainSetup};
pub use chains::{ChainsCaller, ChainsSetup};
pub use input::{Input, Token};
pub use names::RequestName;
pub use receipts::{Proven, ReceiptKeys, ReceiptTrouble};
pub use setup::{Mode, Setup, Start};
pub use shares::{chain_for, is_for};
pub use stats::{ReplicaStats, Stats};
pub use voting::VotingCaller;

#[cfg(test)]
mod tests;
