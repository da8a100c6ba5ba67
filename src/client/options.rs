//! What a client's user may set.

use super::ClientError;
use crate::caller::notebook::Notebook;
use crate::caller::{self, ReceiptKeys, RequestName, Start};
use crate::config::{ChainEntry, Cluster, Reads};
use crate::crypto::Ed25519;
use crate::service::TouchesOf;
use crate::transport::Settings;
use crate::types::{Assurance, ClientId, GroupId, SessionId};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// While eight requests or more are outstanding, others leave together, at least so far
    /// apart: at many calls a second that takes less of everybody's processors than each call on
    /// its own, and so is faster. Fewer wait for nothing. Timers have a grain of a millisecond.
    /// Zero: never. Default 500 µs.
    pub gather: Duration,
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
    /// A file in which the client writes down which requests are open, before they leave: one sync
    /// for all that leave together. A client that is made with it later goes on with its numbers,
    /// and [`super::Client::open_requests`] has those of which it is not known what became of them.
    /// For one process, key and cluster. Default: none.
    pub state_file: Option<PathBuf>,
    /// The name of the first ordered request of this client. Made again with this name, after
    /// whatever happened, it does not run twice: the same commands get the first answer, others are
    /// refused. Make one call with it. Not with a state file. Default: none.
    pub request_name: Option<RequestName>,
    /// Whether it is known that the name was not used before. Otherwise a name is refused whose
    /// session may have been evicted. Default: false.
    pub first_use: bool,
    /// The socket and the links.
    pub transport: Settings,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            repeat_after: None,
            pipeline: 64,
            gather: Duration::from_micros(500),
            ordered: false,
            assurance: None,
            max_calls: 65_536,
            touches: None,
            state_file: None,
            request_name: None,
            first_use: false,
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
            roster: cluster.replicas.len(),
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
            gather: self.gather,
        }
    }

    /// What the core of a client of several chains is told; `None` if nothing says what commands
    /// touch.
    pub(super) fn chains_setup(
        &self,
        cluster: &Cluster,
        client: ClientId,
        begin: &Begin,
    ) -> Option<caller::ChainsSetup> {
        let touches = self.touches.clone();
        let touches = touches.or_else(|| TouchesOf::built_in(&cluster.service.name))?;
        let of =
            |chain: &ChainEntry| self.chain_setup(cluster, chain, client, begin.of(chain.number).0);
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

/// Which sessions a client begins with, and how.
pub(super) struct Begin {
    session: SessionId,
    start: Start,
    known: BTreeMap<u32, (SessionId, Start)>,
}

impl Begin {
    /// With new sessions, or those of a state file.
    pub fn new(session: SessionId, notebook: Option<&Notebook>, chains: &[u32]) -> Self {
        let start = Start { numbers: true, remembers: notebook.is_some(), ..Start::default() };
        let of = |chain: &u32| {
            let (session, known) = notebook?.start(*chain)?;
            let Start { numbers, remembers, .. } = start;
            Some((*chain, (session, Start { numbers, remembers, ..known })))
        };
        Self { session, start, known: chains.iter().filter_map(of).collect() }
    }

    /// With that of a name.
    pub fn named(name: &RequestName, client: &ClientId) -> Self {
        let start = Start { numbers: true, cautious: true, ..Start::default() };
        Self { session: name.session(client), start, known: BTreeMap::new() }
    }

    /// What the options ask for.
    ///
    /// # Errors
    /// If they contradict each other.
    pub fn of_options(
        options: &ClientOptions,
        client: &ClientId,
        session: SessionId,
        notebook: Option<&Notebook>,
        chains: &[u32],
    ) -> Result<Self, ClientError> {
        match (&options.request_name, &options.state_file) {
            (Some(_), Some(path)) => {
                let why = "a request with a name needs none: give one of them";
                Err(ClientError::State { path: path.clone(), why: why.to_owned() })
            }
            (Some(name), None) => {
                let mut begin = Self::named(name, client);
                begin.start.cautious = !options.first_use;
                Ok(begin)
            }
            (None, _) => Ok(Self::new(session, notebook, chains)),
        }
    }

    /// The session of a chain, 0 where replicas vote. No two have the same.
    pub fn of(&self, chain: u32) -> (SessionId, Start) {
        let new = || SessionId(self.session.0.wrapping_add(u64::from(chain)));
        self.known.get(&chain).copied().unwrap_or_else(|| (new(), self.start))
    }
}
