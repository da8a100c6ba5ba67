//! What a client's user may set.

use crate::caller;
use crate::config::{Cluster, Reads};
use crate::transport::Settings;
use crate::types::{ClientId, GroupId, SessionId};
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
    /// Calls outstanding at most; more wait for room before their time begins. Default 65,536.
    pub max_calls: usize,
    /// The socket and the links.
    pub transport: Settings,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            repeat_after: None,
            pipeline: 64,
            max_calls: 65_536,
            transport: Settings::default(),
        }
    }
}

/// The number at the master of the chain that a cluster runs.
const CHAIN: u32 = 0;

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
            ensemble: cluster.ensemble,
            context: cluster.context(GroupId::MAIN),
            client,
            session,
            limits: cluster.limits,
            repeat_after: self.repeat_after.unwrap_or(patience),
            repeat_cap: REPEAT_CAP,
            timeout: self.timeout,
            pipeline: self.pipeline,
        }
    }

    /// What the core of a fail-stop cluster's client is told.
    pub(super) fn chain_setup(
        &self,
        cluster: &Cluster,
        client: ClientId,
        session: SessionId,
    ) -> caller::ChainSetup {
        let setup = self.setup(cluster, client, session);
        let context = cluster.context(cluster.service_group());
        caller::ChainSetup {
            setup: caller::Setup { context, ..setup },
            master: GroupId::MAIN,
            chain: CHAIN,
            reads_any: cluster.chains.reads == Reads::Any,
            ask_every: cluster.chains.lease / 2,
        }
    }
}
