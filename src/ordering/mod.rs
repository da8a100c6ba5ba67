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
//! # Files
//!
//! `core.rs` handles the events; `rounds.rs` holds proposals and says which vectors are complete
//! (R1, R3, R4); `order.rs` is the pure function from committed vectors to the order (O1 to O4);
//! `clock.rs` makes candidate ids; `wants.rs` asks for what is missing (R5).
//!
//! # Properties
//!
//! - *Agreement.* Two good replicas that commit a vector of one round commit the same: every
//!   member has chosen it, each signs once.
//! - *Validity.* Only requests that a good replica has from the client's own connection run.
//! - *Fairness.* If every good replica saw r before any saw r', by more than their clocks
//!   disagree, r runs before r'.
//! - *Liveness*, in this version: while all members answer. A member that stops or withholds its
//!   proposal stops the group; the core then says whom it waits for. A replica that lost its
//!   state signs nothing, since it cannot know what it signed before.
//!
//! # Deviations, each with its reason
//!
//! - R5 asks for a proposal that a choice names `join_delay` after learning of it, not at once:
//!   on separate links a proposal is often overtaken by the next one of somebody else.
//! - The first proposal of all waits until `t + 1` other replicas have said how far they are, so
//!   that a replica that lost its disk finds out before it signs anything.
//! - The quota of O4 charges whoever named a request first, and R6 counts a vector as work only
//!   for those whom it concerns: `docs/adr/0003` has the executions that made this necessary.

mod actions;
mod clock;
mod core;
mod input;
mod order;
mod rounds;
mod setup;
mod stats;
mod view;
mod wants;

pub use actions::{Action, Event, Ordered, Step};
pub use core::Core;
pub use input::Input;
pub use setup::Setup;
pub use stats::Stats;
