//! The async client: the caller's core over real links.
//!
//! [`Client`] is a handle, cheap to clone, that sends calls over a channel to one task, the
//! driver. The driver owns the socket, one link a replica and the [`Caller`]; it takes everything
//! that has come, hands it to the core, and does what the core asks. There is no task, timer or
//! packet per call: calls that wait together travel together.
//!
//! - Links are dialled all at once and again, with growing pauses, whenever they are gone. A link
//!   counts once the replica's hello was read and fits (version, cluster, the number that the
//!   roster gives its key); what does not fit is kept as the link's error.
//! - Calls never fail because a link is down: they wait inside of their time. What is wrong with
//!   a link then stands in the error's [`Explanation`] beside the replica that said nothing.
//! - The cluster file's fault model picks the core: [`Caller`] where replicas vote,
//!   [`ChainCaller`] for a fail-stop chain, [`ChainsCaller`] for several. Links and handles are the
//!   same.
//! - [`Client::ready`] waits until `t + 1` links are up, and says at once if that is hopeless.
//!
//! ```no_run
//! use quorate::service::kv;
//! # async fn example(cluster: quorate::config::Cluster, key: quorate::crypto::SecretKey)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let client = quorate::Client::connect(&cluster, key, Default::default())?;
//! client.execute(kv::Command::put("name", "Ada").encode()).await?;
//! let output = client.query(kv::Command::get("name").encode()).await?;
//! assert_eq!(kv::Output::parse(&output)?, kv::Output::Value("Ada".into()));
//! # Ok(())
//! # }
//! ```
//!
//! | file | what lives there |
//! | --- | --- |
//! | `handle.rs` | [`Client`] |
//! | `driver.rs` | the task: events in, actions out |
//! | `links.rs` | one link a replica: up, down, dialled again |
//! | `dial.rs` | one attempt: host name, handshake, hello, greeting |
//! | `outcome.rs` | what became of a request |
//! | `state_file.rs` | which requests are open, on a disk |
//! | `options.rs`, `report.rs`, `error.rs` | what users set, and what they are told |
//!
//! [`Caller`]: crate::caller::Caller
//! [`ChainCaller`]: crate::caller::ChainCaller
//! [`ChainsCaller`]: crate::caller::ChainsCaller
//! [`Explanation`]: crate::voter::Explanation

mod dial;
mod driver;
mod error;
mod handle;
mod links;
mod options;
mod outcome;
mod report;
mod state_file;
#[cfg(test)]
mod tests;

pub use crate::caller::{
    Answer, CallError, Proven, ReceiptTrouble, ReplicaStats, RequestName, Stats,
};
pub use crate::service::TouchesOf;
pub use crate::transport::{MAX_ADDRESSES, resolve};
pub use crate::types::{CallId, CallIdError, CallPart};
pub use crate::voter::{Ballot, Explanation, Verdict, chain_text};
pub use crate::wire::{Command, CommandKind};
pub use dial::any_address;
pub(crate) use dial::{Target, dial};
pub use error::{ClientError, Misfit};
pub use handle::{Client, Numbered, Receipted};
pub use options::ClientOptions;
pub use outcome::{Fate, OutcomeError, Told, Which};
pub use report::LinkReport;
