//! Services: the deterministic state machines that a group runs, and what makes each request run
//! at most once.
//!
//! - [`Service`] is what one writes to have one's own replicated.
//! - [`kv`] and [`counter`] are built in; [`built_in`] finds them by the name in a configuration.
//! - [`sessions`] is the table of rule O6. It stands beside the service, not around it: a replica
//!   asks it before it executes a request and tells it the reply.
//!
//! All of it is pure: equal commands in equal order give equal outputs, digests and snapshots.

mod carried;
pub mod counter;
pub mod kv;
mod run;
pub mod sessions;
pub mod words;

pub use carried::{Carried, CarriedError, Inherited};
pub use run::{run_commands, run_queries};

use crate::types::{AgreedTime, ClientId, Digest};
use crate::wire::Writer;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A deterministic state machine.
///
/// Replicas run the same commands in the same order, and clients accept what `t + 1` of them
/// answer; so a service must give **the same outputs and the same state everywhere**. It must not
/// read a clock (agreed time comes with each command), draw random numbers, iterate over a hash
/// map with a random seed, read files, sockets or the environment, depend on addresses or on how
/// threads interleave, nor compute with floating point whose result the platform decides. A
/// service that breaks this is stopped when replicas find their attestations differ.
pub trait Service: Send {
    /// The service's name, part of the cluster's identity.
    fn name(&self) -> &'static str;

    /// Runs a command that may change the state and gives its output. `time` never goes back.
    ///
    /// Any bytes may come as `command`; what it cannot read it answers with an output that says so.
    fn execute(&mut self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8>;

    /// Runs a command that only reads. `time` is that of the last step; where the query is not
    /// ordered (rule Q1) it may be behind that of an earlier one, since steps that change nothing
    /// are not waited for.
    fn query(&self, time: AgreedTime, client: &ClientId, command: &[u8]) -> Vec<u8>;

    /// The whole state as bytes: equal states give equal bytes.
    fn snapshot(&self) -> Vec<u8>;

    /// The state as it is now, to be made into the bytes of [`Service::snapshot`] later, on another
    /// thread, while further commands run. Called at checkpoints by the thread that executes, so
    /// with a large state it should cost little: share what is not written later, as [`kv::Kv`]
    /// does. Without this the bytes are made at once, and everything waits for that.
    fn freeze(&self) -> Box<dyn Frozen> {
        Box::new(self.snapshot())
    }

    /// Replaces the state by one that [`Service::snapshot`] gave.
    ///
    /// # Errors
    /// If the bytes are no snapshot; the state is unchanged then.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;

    /// A digest of the state: equal states give equal digests, others never do. A replica that
    /// votes calls it at its start and at every checkpoint, so it should cost what changed since
    /// the last call and not the whole state; [`crate::crypto::MultisetHash`] helps.
    fn digest(&mut self) -> Digest;

    /// Does a part of what [`Service::digest`] would otherwise do at once, where that is put off.
    /// Called after each of the last few steps before a checkpoint, `left` of which are to come
    /// with this one: so a `left`-th of what waits is due. Nobody may see any effect of it. The
    /// default does nothing.
    fn settle(&mut self, left: u64) {
        let _ = left;
    }

    /// What a command reads or writes. A replica of a chain answers a query at once if no update on
    /// its way touches what the query does (CH-Q2 of docs/chain.md); so to name too little gives
    /// wrong answers, and to name too much only costs a message. The default is always right.
    ///
    /// Where a cluster has several chains it also says to which one a command goes (CH-K1), so it
    /// must depend on the command alone, and what touches everything is refused there.
    fn touches(&self, _command: &[u8]) -> Touches {
        Touches::All
    }

    /// Whether a command that panicked has left the state as it was. If so the command gets a
    /// deterministic refusal; if not (the default) the replica halts before it answers.
    fn unchanged_after_panic(&self) -> bool {
        false
    }
}

/// The part of a state that a command reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touches {
    /// Any of it.
    All,
    /// Only what belongs to these keys, in the service's own terms; none: nothing at all.
    Keys(Vec<Bytes>),
    /// Only what belongs to keys that begin so.
    Prefix(Bytes),
}

/// What commands of a service touch, as its [`Service::touches`] says: for clients, which have no
/// service.
#[derive(Clone)]
pub struct TouchesOf(Arc<Function>);

type Function = dyn Fn(&[u8]) -> Touches + Send + Sync;

impl TouchesOf {
    /// From a function of the command.
    pub fn new(touches: impl Fn(&[u8]) -> Touches + Send + Sync + 'static) -> Self {
        Self(Arc::new(touches))
    }

    /// That of a built-in service; `None` if there is none of that name.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            kv::Kv::NAME => Some(Self::new(kv::touches)),
            counter::Counter::NAME => Some(Self::new(|_| Touches::All)),
            _ => None,
        }
    }

    /// What a command touches.
    pub fn command(&self, command: &[u8]) -> Touches {
        (self.0)(command)
    }
}

impl PartialEq for TouchesOf {
    /// Whether it is the same function.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TouchesOf {}

impl fmt::Debug for TouchesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TouchesOf")
    }
}

impl Touches {
    /// Whether there can be something that both touch.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keys(a), Self::Keys(b)) => a.iter().any(|key| b.contains(key)),
            (Self::Keys(keys), Self::All) | (Self::All, Self::Keys(keys)) => !keys.is_empty(),
            (Self::Keys(keys), Self::Prefix(p)) | (Self::Prefix(p), Self::Keys(keys)) => {
                keys.iter().any(|key| key.starts_with(p))
            }
            (Self::Prefix(a), Self::Prefix(b)) => a.starts_with(b) || b.starts_with(a),
            (Self::All, Self::All | Self::Prefix(_)) | (Self::Prefix(_), Self::All) => true,
        }
    }
}

/// The state of a service as it was when [`Service::freeze`] was called, whatever became of the
/// service since.
pub trait Frozen: Send + Sync {
    /// About how many bytes [`Frozen::write`] gives; costs little.
    fn size_hint(&self) -> usize;

    /// Appends the bytes that [`Service::snapshot`] would have given at that time. Nothing of them
    /// may depend on when or how often this is called.
    fn write(&self, out: &mut Writer);
}

impl Frozen for Vec<u8> {
    fn size_hint(&self) -> usize {
        self.len()
    }

    fn write(&self, out: &mut Writer) {
        out.raw(self);
    }
}

/// Why bytes are no snapshot of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of this service: {0}")]
pub struct RestoreError(pub String);

/// The names that [`built_in`] knows.
pub const BUILT_IN: [&str; 2] = [kv::Kv::NAME, counter::Counter::NAME];

/// A new built-in service by its name; `None` if there is none of that name.
pub fn built_in(name: &str) -> Option<Box<dyn Service>> {
    match name {
        kv::Kv::NAME => Some(Box::new(kv::Kv::new())),
        counter::Counter::NAME => Some(Box::new(counter::Counter::new())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CH-Q2.
    #[test]
    fn what_touches_a_common_key_or_everything_meets() {
        let keys = |names: &[&'static str]| {
            Touches::Keys(names.iter().map(|n| Bytes::from_static(n.as_bytes())).collect())
        };
        assert!(keys(&["a", "b"]).meets(&keys(&["b"])));
        assert!(!keys(&["a"]).meets(&keys(&["b"])));
        assert!(Touches::All.meets(&Touches::All) && Touches::All.meets(&keys(&["a"])));
        assert!(!Touches::All.meets(&keys(&[])) && !keys(&[]).meets(&Touches::All));
        let kv = kv::Kv::new();
        assert_eq!(kv.touches(&kv::Command::incr("a", 1).encode()), keys(&["a"]));
        assert_eq!(kv.touches(&kv::Command::scan("", 5).encode()), Touches::All);
        let prefix = |p: &'static str| Touches::Prefix(Bytes::from_static(p.as_bytes()));
        assert_eq!(kv.touches(&kv::Command::scan("ab", 5).encode()), prefix("ab"));
        assert!(prefix("a").meets(&keys(&["b", "ab"])) && keys(&["a"]).meets(&prefix("a")));
        assert!(!prefix("ab").meets(&keys(&["a"])) && !keys(&["ba"]).meets(&prefix("a")));
        assert!(prefix("a").meets(&prefix("ab")) && prefix("ab").meets(&prefix("a")));
        assert!(!prefix("ab").meets(&prefix("ac")));
        assert!(Touches::All.meets(&prefix("a")) && prefix("a").meets(&Touches::All));
        assert_eq!(kv.touches(&kv::Command::ping("x").encode()), keys(&[]));
        assert_eq!(counter::Counter::new().touches(b""), Touches::All);
    }

    #[test]
    fn built_in_services_are_found_by_the_names_they_give() {
        for name in BUILT_IN {
            assert_eq!(built_in(name).map(|s| s.name()), Some(name));
        }
        assert!(built_in("no such service").is_none());
    }

    /// A client must find a command where the replica's service says that it belongs.
    #[test]
    fn what_clients_are_told_that_commands_touch_is_what_services_say() {
        let commands = [
            kv::Command::put("a", "1").encode(),
            kv::Command::get("b").encode(),
            kv::Command::scan("ab", 5).encode(),
            kv::Command::scan("", 5).encode(),
            kv::Command::ping("x").encode(),
            b"no command".to_vec(),
        ];
        for name in BUILT_IN {
            let (service, told) = (built_in(name).unwrap(), TouchesOf::built_in(name).unwrap());
            for command in &commands {
                assert_eq!(told.command(command), service.touches(command), "{name}");
            }
        }
        assert_eq!(TouchesOf::built_in("no such service"), None);
    }
}
