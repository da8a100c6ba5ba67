//! The two-phase ordering protocol: how replicas agree on one order of requests.
//!
//! # The protocol in prose
//!
//! Time is cut into *rounds*. In round h every member of the epoch signs **one** proposal and
//! sends it to all replicas (R2). A proposal does two things at once. It gives *candidates*, ids
//! from the sender's clock, to the requests that it has seen since (phase 1 for those requests);
//! and it makes a *choice*, the hashes of the proposals of round h-1 (phase 2 for the requests
//! of that round). A member sends its proposal of round h when it holds a valid proposal of round
//! h-1 from every member, all with one choice: that is the vector V(h-1), complete (R1). When
//! V(h) is complete every member has chosen the same V(h-1): V(h-1) is *committed* (R3).
//!
//! From the committed vectors, and from nothing else, follows the order (`order.rs`). A request is
//! *accepted* once t+1 replicas have given it a candidate, so that at least one good replica has
//! it from the client itself (O1). Its *unique id* is the (t+1)-th smallest of its candidates: at
//! least one good replica's candidate is not above it and one is not below, so liars cannot move
//! it outside of what good clocks say (O2). It is executed when it is *stable*: when nothing can
//! come before it any more, or after two rounds at the latest, so that nobody can hold it back
//! (O3). What nobody else has seen is forgotten (O4).
//!
//! Rounds run only while there is work (R6). One round is in flight and takes everything that
//! waits; a request alone in an idle group is executed after four message delays.
//!
//! When a member does not answer, lied or restarted, or when members change, the others go over to
//! another epoch: a round whose proposals are Reports of how far each is. `epoch/mod.rs` tells it.
//!
//! # Files
//!
//! `core.rs` handles the events; `propose.rs` says when to propose and what (R1, R2, R6);
//! `rounds.rs` holds proposals and says which vectors are complete (R1, R3, R4); `commit.rs`
//! commits them; `order.rs` is the pure function from committed vectors to the order (O1 to O4);
//! `roster.rs` is the part of it that says who is a member, and who is out and why (M1 to M4);
//! `clock.rs` makes candidate ids; `wants.rs` asks for what is missing (R5); `history.rs` keeps
//! what followers may have missed (R7); `lag.rs` what members were waited for beyond what is usual
//! (E1); `lost_disk.rs` keeps what was signed on a disk that is lost from being contradicted (§7);
//! `strict.rs` keeps own proposals back until they are durable, and goes on from them (§7); `epoch`
//! changes the epoch (E1 to E8, F1 to F3).
//!
//! # Properties
//!
//! - *Agreement.* Two good replicas that commit a vector of one round commit the same: every
//!   member has chosen it, each signs once; and every later epoch starts from a base that has it.
//! - *Validity.* Only requests that a good replica has from the client's own connection run.
//! - *Fairness.* If every good replica saw r before any saw r', by more than their clocks
//!   disagree, r runs before r'.
//! - *Liveness* while at most t replicas are bad and Δ holds. A member that stops or withholds its
//!   proposal stops the rounds for `patience` and a little; then the others go on without it. A
//!   replica that lost its state signs nothing, since it cannot know what it signed before; it
//!   takes up the state of the others and joins them again.
//!
//! # Deviations, each with its reason
//!
//! - R5 asks for a proposal that a choice names `join_delay` after learning of it, not at once:
//!   on separate links a proposal is often overtaken by the next one of somebody else.
//! - The first proposal of all waits until `t + 1` other replicas have said how far they are, so
//!   that a replica whose disk is lost finds out before it signs anything, and stops.
//! - The quota of O4 charges whoever named a request first, and R6 counts a vector as work only
//!   for those whom it concerns: `docs/adr/0003` has the executions that made this necessary.
//! - `docs/adr/0004` has what became different in the change of the epoch, and what is still open.

mod actions;
mod answer;
mod clock;
mod commit;
mod core;
mod epoch;
mod fingerprint;
mod history;
mod input;
mod keys;
mod lag;
mod lost_disk;
mod order;
mod propose;
mod reads;
mod roster;
mod rounds;
mod setup;
mod stats;
mod strict;
mod view;
mod wants;

pub use actions::{
    Action, ChangeOutcome, Checkpoint, Event, Logged, Opened, Ordered, Statement, Step,
};
pub use core::Core;
pub use epoch::{Checked, Opening};
pub use fingerprint::Fingerprint;
pub use input::Input;
pub use reads::ReadPoint;
pub use roster::{Reason, Standing};
pub use setup::Setup;
pub use stats::Stats;
