//! The cluster file as it is written: which sections and keys there are, nothing checked yet.

use serde::Deserialize;
use toml::{Spanned, Value};

/// The value of a key with its place in the file. Its type is checked by [`super::field`], whose
/// messages can say what to write.
pub(super) type Field = Option<Spanned<Value>>;

/// A section with its place.
pub(super) type Placed<T> = Option<Spanned<T>>;

macro_rules! section {
    ($(#[$doc:meta])* $name:ident, $expecting:literal, { $($key:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, expecting = $expecting)]
        pub(super) struct $name {
            $(pub(super) $key: Field,)*
        }
    };
}

/// The whole file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    pub(super) cluster: Placed<RawCluster>,
    pub(super) timers: Placed<RawTimers>,
    pub(super) chains: Placed<RawChains>,
    pub(super) master: Placed<RawMaster>,
    pub(super) order: Placed<RawOrder>,
    pub(super) limits: Placed<RawLimits>,
    pub(super) quotas: Placed<RawQuotas>,
    pub(super) disk: Placed<RawDisk>,
    pub(super) voter: Placed<RawVoter>,
    pub(super) network: Placed<RawNetwork>,
    pub(super) service: Placed<RawService>,
    pub(super) testing: Placed<RawTesting>,
    #[serde(default)]
    pub(super) replica: Vec<Spanned<RawReplica>>,
    #[serde(default)]
    pub(super) client: Vec<Spanned<RawClient>>,
    #[serde(default)]
    pub(super) chain: Vec<Spanned<RawChain>>,
}

/// The settings file of one process.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSettings {
    pub(super) quotas: Placed<RawQuotas>,
}

section!(
    /// What the cluster is.
    RawCluster, "a section [cluster]", { nonce, fault_model, t, delta }
);
section!(
    /// Timers that differ from what Δ gives.
    RawTimers, "a section [timers]",
    { patience, join_delay, gather, heartbeat, ping_every, lag_delta, lag_budget }
);
section!(
    /// What a chain does besides.
    RawChains, "a section [chains]", { lease, margin, reads, length }
);
section!(
    /// Who is the master of chains.
    RawMaster, "a section [master]", { replicas }
);
section!(
    /// How requests are ordered.
    RawOrder, "a section [order]", { clock }
);
section!(
    /// Limits that all replicas share.
    RawLimits, "a section [limits]", {
        max_request,
        max_output,
        max_commands,
        max_candidates,
        sole_quota,
        forget_after,
        forget_time,
        max_sessions,
        window,
        checkpoint_every,
        max_unexecuted,
        join_wait,
        join_wait_cap,
        good_service,
        join_lag,
    }
);
section!(
    /// Limits of each process.
    RawQuotas, "a section [quotas]", {
        per_client, global, body_bytes, link_bytes, links_per_client, kept_bytes,
        snapshot_bytes, transfer_bytes, transfer_rate, log_bytes, peer_signatures,
    }
);
section!(
    /// What is on disk before something is said.
    RawDisk, "a section [disk]", { durability, snapshots }
);
section!(
    /// What clients believe.
    RawVoter, "a section [voter]", { assurance }
);
section!(
    /// What the paths between hosts carry.
    RawNetwork, "a section [network]", { mtu }
);
section!(
    /// Which service runs.
    RawService, "a section [service]", { name, initial_state }
);
section!(
    /// What only test clusters allow.
    RawTesting, "a section [testing]", { allow_liars }
);
section!(
    /// A replica.
    RawReplica, "a section [[replica]]", { id, address, admin, public_key, former_keys }
);
section!(
    /// A client.
    RawClient, "a section [[client]]", { name, public_key, role }
);
section!(
    /// One of several chains.
    RawChain, "a section [[chain]]", { number, slots, from, length, members }
);
