//! What a client's user may set.

use crate::caller::{self, ReceiptKeys};
use crate::config::{ChainEntry, Cluster, Reads};
use crate::crypto::Ed25519;
use crate::service::TouchesOf;
use crate::transport::Settings;
use crate::types::{Assurance, ClientId, GroupId, SessionId};
use std::time::Duration;

/// How a client behaves; the defaults suit a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a call may take, links that are not up yet included. Default 10 s.
    pub timeout: Duration,
    /// A request is repeated so long after it was first sent, then after twice that, and so on.
    /// `None`, the default: the cluster's patience, at least 100 ms.
    pub repeat_after: Option<Duration>,
    /// Requests outstanding at most, inside of the cluster's window. What waits longer travels
    /// together: fewer of them mean larger ones. Default 64.
    pub pipeline: usize,
    /// Whether calls that only read are ordered like all others. Otherwise they are answered from
    /// the replicas' states in one round trip, and ordered only if these do not agree; what they
    /// show is as recent either way. In the fail-stop model nothing changes. Default: false.
    pub ordered: bool,
    /// How many replicas have to say the same, where they vote. Default: what the cluster file
    /// says.
    pub assurance: Option<Assurance>,
    /// Calls outstanding at most; more wait for room before their time begins. Default 65,536.
    pub max_calls: usize,
    /// What a command touches, as [`crate::Service::touches`] of the cluster's service says: where
    /// a cluster has several chains it tells to which one a command goes. `None`, the default,
    /// does for the built-in services.
    pub touches: Option<TouchesOf>,
    /// The socket and the links.
    pub transport: Settings,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            repeat_after: None,
            pipeline: 64,
            ordered: false,
            assurance: None,
            max_calls: 65_536,
            touches: None,
            transport: Settings::default(),
        }
    }
}

/// Repeats are at most so far apart.
const REPEAT_CAP: Duration = Duration::from_secs(5);

impl ClientOptions {
    /// What the core is told.
    pub(super) fn setup(
        &self,
        cluster: &Cluster,
        client: ClientId,
        session: SessionId,
    ) -> caller::Setup {
        let patience = cluster.timing.patience.max(Duration::from_millis(100));
        caller::Setup {
            mode: caller::Mode::Vote,
            ordered: self.ordered,
            assurance: self.assurance.unwrap_or(cluster.assurance),
            ensemble: cluster.ensemble,
            context: cluster.context(GroupId::MAIN),
            client,
            session,
            limits: cluster.limits,
            repeat_after: self.repeat_after.unwrap_or(patience),
            repeat_cap: REPEAT_CAP,
            timeout: self.timeout,
            // Without usable keys no link comes up either.
            receipts: cluster.keyring::<Ed25519>(GroupId::MAIN).ok().map(ReceiptKeys::new),
            pipeline: self.pipeline,
        }
    }

    /// What the core of a client of several chains is told; `None` if nothing says what commands
    /// touch.
    pub(super) fn chains_setup(
        &self,
        cluster: &Cluster,
        client: ClientId,
        session: SessionId,
    ) -> Option<caller::ChainsSetup> {
        let touches = self.touches.clone();
        let touches = touches.or_else(|| TouchesOf::built_in(&cluster.service.name))?;
        let of = |chain: &ChainEntry| {
            // No two requests of a client have one name.
            let session = SessionId(session.0.wrapping_add(u64::from(chain.number)));
            self.chain_setup(cluster, chain, client, session)
        };
        let chains = cluster.each_chain().iter().map(of).collect();
        Some(caller::ChainsSetup { chains, map: cluster.key_map(), touches })
    }

    /// What the core of one chain is told.
    pub(super) fn chain_setup(
        &self,
        cluster: &Cluster,
        chain: &ChainEntry,
        client: ClientId,
        session: SessionId,
    ) -> caller::ChainSetup {
        let setup = self.setup(cluster, client, session);
        let context = cluster.context(GroupId::of_chain(chain.number));
        caller::ChainSetup {
            setup: caller::Setup { context, ..setup },
            master: GroupId::MAIN,
            chain: chain.number,
            reads_any: cluster.chains.reads == Reads::Any,
            ask_every: cluster.chains.lease / 2,
        }
    }
}
