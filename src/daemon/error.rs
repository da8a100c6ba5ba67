//! Why a daemon does not start or has stopped.

use crate::transport::TransportError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a daemon does not start or has stopped. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration has no such replica.
    #[error("the cluster file has no replica {id}; it lists the ids 1 to {n}")]
    NoSuchReplica {
        /// The id asked for.
        id: u8,
        /// How many there are.
        n: usize,
    },
    /// The key is not that replica's.
    #[error(
        "the key's fingerprint is {found}, but the cluster file lists {listed} for replica {id}; \
         give the key file of replica {id}, or the cluster file that has its new key"
    )]
    WrongKey {
        /// The replica.
        id: u8,
        /// Fingerprint of the key that was given.
        found: String,
        /// Fingerprint of the key that is listed.
        listed: String,
    },
    /// The key was that replica's, and has been replaced.
    #[error(
        "replica {id} has another key by now, as this data directory knows; start it with the \
         new key and the cluster file that `quorate admin replace-key` has changed"
    )]
    KeyReplaced {
        /// The replica.
        id: u8,
    },
    /// The cluster file says otherwise of replaced keys than the disk.
    #[error(
        "the `former_keys` of replica {id} in the cluster file are not those that this replica \
         has written down; write what `quorate admin replace-key` printed"
    )]
    KeysDiffer {
        /// Whose keys.
        id: u8,
    },
    /// It has given up what it had executed and the others had not gone on with (§7), and has to be
    /// built and started again: it goes on from what is on its disk.
    #[error("the replica has to start again from its disk: build it anew and start it")]
    StartAgain,
    /// The service is not the one that the cluster file names.
    #[error(
        "the cluster file names the service `{configured}`, but this program runs {offered}; \
         correct `name` under [service], or start the program that has the service"
    )]
    WrongService {
        /// What the file says.
        configured: String,
        /// What there is.
        offered: String,
    },
    /// It would end when it has to open one more, which can be long after its start.
    #[error(
        "this process may open {limit} files at a time, and the replica may need {needed}: start \
         it with a higher limit (`ulimit -n {needed}` in its shell, `LimitNOFILE={needed}` in its \
         unit)"
    )]
    OpenFiles {
        /// What the system allows.
        limit: u64,
        /// What it may come to.
        needed: u64,
    },
    /// A chain needs more than one service.
    #[error(
        "a replica of a chain has to make its service more than once: give the daemon's builder \
         `make_service` instead of `service`"
    )]
    NoMaker,
    /// A liar was asked for in a cluster that does not allow it.
    #[error(
        "this replica was asked to lie, which only test clusters allow: \
         set `allow_liars = true` under [testing] in the cluster file of a cluster made for tests"
    )]
    LiarsNotAllowed,
    /// The host name of the replica's own address cannot be resolved.
    #[error(
        "cannot listen on `{address}`: {reason}; correct the replica's address or give --listen"
    )]
    Address {
        /// As configured.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The QUIC socket cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The admin address cannot be used.
    #[error("cannot serve status on {address}: {source}; free the port or change `admin`")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("{}: {reason}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The data directory is used by another process.
    #[error(
        "{} is in use by another process; stop that one first, or give another directory with \
         --data", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory belongs to somebody else.
    #[error(
        "{} belongs to {found}, not to {wanted}; give another directory with --data, \
         or remove it if it is not needed any more", path.display()
    )]
    ForeignData {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        wanted: String,
    },
    /// The data directory is empty, and others have run rounds with the replica.
    #[error(
        "{}: replica {id} has signed nothing here, but the others have run rounds with it: what it \
         signed before is on another disk, or they began without it. If that disk is lost, or \
         there was none, start the replica once with --replace-disk; otherwise give that \
         directory with --data", path.display()
    )]
    DiskLost {
        /// The replica.
        id: u8,
        /// The directory.
        path: PathBuf,
    },
    /// The loop has ended by a defect.
    #[error(
        "the replica's loop has ended: {0}; this is a defect: report it with the log, and make a \
         new cluster with `quorate init`"
    )]
    Ended(String),
}
