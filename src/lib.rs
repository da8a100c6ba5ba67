//! Quorate keeps a service answering, and answering right, while some of the machines that run it
//! crash, stall or lie.
//!
//! A deterministic [`service::Service`] runs on `n = 2t + 1` replicas. The replicas agree on one
//! order of the clients' requests in two phases, by candidate ids that they give themselves:
//! nobody leads. They speak QUIC with keys pinned on both sides. A client asks all of them and
//! accepts what `t + 1` answered alike, so up to `t` replicas may do whatever they like and
//! nobody is fooled.
//!
//! What is promised, and under which assumptions (there is a bound Δ on delays, and it matters),
//! stands in `README.md`; the protocol with its numbered rules in `docs/protocol.md`; how the
//! parts work together in `docs/architecture.md`. Rules are cited all over the code by number:
//! `R3`, `O6`, `C1`.
//!
//! # Who lives where
//!
//! A module may use itself and what its row names, nothing else; rows name only rows above them,
//! so there are no cycles. *Pure* modules have no clock, randomness, thread, file, socket,
//! environment or `await`, and never iterate over a hash map: same inputs, same outputs. Time and
//! seeds are arguments. `tests/layering.rs` reads this table and fails when the code differs.
//!
//! | layer | module | what lives there | may use | pure |
//! | --- | --- | --- | --- | --- |
//! | 0 | `types` | the words: ids, epochs, rounds, times, limits, all arithmetic on n and t | – | yes |
//! | 1 | `crypto` | digests with a domain each, `Unverified<T>` to `Verified<T>`, keyrings, key files as text | types | yes |
//! | 2 | `wire` | messages, frames, records on disk; one fixed layout each, frozen by golden files | types crypto | yes |
//! | 2 | `config` | the cluster file: TOML in, checked values out | types crypto wire | yes |
//! | 2 | `service` | the `Service` trait, the session table (at most once), the built-in services | types crypto wire | yes |
//! | 3 | `proof` | proofs of lying, which convict a replica, and receipts, which show an answer; the files that people keep of them | types crypto wire | yes |
//! | 4 | `ordering` | rounds (R1 to R7), the order that follows from committed vectors (O1 to O4), the change of the epoch (E1 to E8) | types crypto wire proof | yes |
//! | 4 | `chain` | one replica of a fail-stop chain as a state machine (docs/chain.md) | types crypto wire service | yes |
//! | 4 | `master` | the master of such chains: a service for a voting group | types crypto wire service | yes |
//! | 4 | `voter` | the client's voter: what `t + 1` equal replies are, and who said what | types crypto wire | yes |
//! | 4 | `storage` | log, snapshots, recovery over a `Disk` trait | types crypto wire | yes |
//! | 5 | `replica` | one replica as a state machine: events in, actions out | 0–4 | yes |
//! | 5 | `caller` | one client as a state machine: sessions, repeats, coalescing, votes | 0–4 | yes |
//! | 6 | `offline` | a disk looked at without a replica: surveys, executing again, backups | 0–5 | yes |
//! | 6 | `adversary` | liars: honest replicas whose doings are changed, one file each | 0–5 | yes |
//! | 6 | `files` | key files and the cluster file, read and written with care for their modes | types crypto config service | no |
//! | 6 | `transport` | quinn and rustls: mutual TLS with raw public keys pinned to the roster | types crypto wire config | no |
//! | 6 | `metrics` | names and export of the cores' counters | 0–5 | no |
//! | 7 | `client` | the async client: a caller driven over transport | 0–5 transport metrics | no |
//! | 7 | `daemon` | the process of a replica: driver, clocks, signals, admin address, its directory | 0–5 offline adversary files transport metrics client | no |
//! | 7 | `simulator` | a fake world for whole clusters: virtual time, bad networks, checkers | 0–5 adversary | yes |
//! | 9 | `cli` | the subcommands | all | no |
//!
//! Every core has one door, `handle(now, input) -> actions`. Actions are data: whoever drives the
//! core, the daemon or the simulator, does them.

pub mod adversary;
pub mod caller;
pub mod chain;
pub mod cli;
pub mod client;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod files;
pub mod master;
pub mod metrics;
pub mod offline;
pub mod ordering;
pub mod proof;
pub mod replica;
pub mod service;
pub mod simulator;
pub mod storage;
pub mod transport;
pub mod types;
pub mod voter;
pub mod wire;

pub use client::Client;
pub use daemon::Daemon;
pub use service::Service;
