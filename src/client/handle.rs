//! The handle.

use super::dial::any_address;
use super::driver::{Call, Core, Driver, Inbox, Order, Outcome, What};
use super::links::Links;
use super::options::Begin;
use super::state_file::StateFile;
use super::{ClientError, ClientOptions, Explanation, LinkReport};
use crate::caller::{
    Answer, CallError, ChainCaller, ChainsCaller, Proven, ReceiptTrouble, Setup, Stats, Token,
    VotingCaller,
};
use crate::config::{Cluster, FaultModel};
use crate::crypto::SecretKey;
use crate::transport::Endpoint;
use crate::types::SessionId;
use crate::types::{Assurance, CallId, CallIdError, ClientId, Digest, Ensemble, GroupId, Instant};
use crate::wire::{Command, CommandKind, Refusal};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Calls between handles and the driver at most.
const ON_THE_WAY: usize = 1024;

const ONE_OUTPUT: &str = "the core gives one output a command";

/// A client of a cluster: sends commands to all replicas and believes what `t + 1` of them say.
///
/// With `fault_model = "fail-stop"` in the cluster file it asks the head or tail of the chain
/// instead, and believes the one that answers; see [`crate::caller::ChainCaller`]. A query may then
/// overtake an update of the same client that is not answered yet. Where the file lists several
/// chains, a call goes to the one whose keys it touches and is refused if there are two; see
/// [`crate::caller::ChainsCaller`].
///
/// Cheap to clone; all clones share one session, its links and its limits. Any number of calls
/// may be made at once, from any thread. When the last clone and the last call are gone, the
/// links are closed; [`Client::close`] does that at once and waits for it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    calls: mpsc::Sender<Call>,
    orders: mpsc::UnboundedSender<Order>,
    links: watch::Receiver<Vec<LinkReport>>,
    next: AtomicU64,
    ensemble: Ensemble,
    // The counters at the end, once the driver has ended.
    last: Arc<OnceLock<Stats>>,
    // For asking what became of a request, over other links.
    own: Box<(Cluster, SecretKey, ClientOptions)>,
}

// One that nobody has used before.
pub(super) fn new_session() -> Result<SessionId, ClientError> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(ClientError::Random)?;
    Ok(SessionId(u64::from_le_bytes(nonce)))
}

impl Client {
    /// Makes a client and begins to dial all replicas, in a task on the tokio runtime that this
    /// is called on. Returns at once: calls wait for links inside of their time, and
    /// [`Client::ready`] waits for them alone.
    ///
    /// # Errors
    /// If the socket cannot be opened, the options contradict each other, there is no runtime,
    /// the system has no random numbers, the cluster has several chains and nothing says what
    /// commands touch ([`ClientOptions::touches`]), or the state file cannot be used.
    pub fn connect(
        cluster: &Cluster,
        key: SecretKey,
        options: ClientOptions,
    ) -> Result<Client, ClientError> {
        let (client, now) = (ClientId(key.public().0), Instant(0));
        let state = options.state_file.as_deref();
        let state = state.map(|path| StateFile::open(path, cluster_id(cluster), client));
        let state = state.transpose()?;
        let notebook = state.as_ref().map(StateFile::notebook);
        let numbers: Vec<u32> = match cluster.fault_model {
            FaultModel::Byzantine => vec![0],
            FaultModel::FailStop => cluster.each_chain().iter().map(|c| c.number).collect(),
        };
        let begin = Begin::of_options(&options, &client, new_session()?, notebook, &numbers)?;
        let core = match cluster.fault_model {
            FaultModel::Byzantine => {
                let (session, start) = begin.of(0);
                let setup = options.setup(cluster, client, session);
                Core::Vote(VotingCaller::new(setup, now).starting(start).into())
            }
            FaultModel::FailStop => match cluster.each_chain().as_slice() {
                [chain] => {
                    let (session, start) = begin.of(chain.number);
                    let setup = options.chain_setup(cluster, chain, client, session);
                    Core::Chain(ChainCaller::new(setup, now).starting(start).into())
                }
                _ => {
                    let setup = options.chains_setup(cluster, client, &begin);
                    let service = || cluster.service.name.clone();
                    let setup = setup.ok_or_else(|| ClientError::NoTouches(service()))?;
                    let caller = ChainsCaller::new(setup, now).starting(|chain| begin.of(chain).1);
                    Core::Chains(caller.into())
                }
            },
        };
        Self::start(cluster, &key, &options, core, state)
    }

    /// A client of the group that is the master of a cluster's chains, and not of its service
    /// (docs/chain.md). Otherwise as [`Client::connect`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_to_master(
        cluster: &Cluster,
        key: SecretKey,
        options: ClientOptions,
    ) -> Result<Client, ClientError> {
        let setup = options.setup(cluster, ClientId(key.public().0), new_session()?);
        // The chain counts on its master as long as a majority of that runs.
        let setup = Setup { assurance: Assurance::Majority, ..setup };
        let core = Core::Vote(VotingCaller::new(setup, Instant(0)).into());
        Self::start(cluster, &key, &options, core, None)
    }

    pub(super) fn start(
        cluster: &Cluster,
        key: &SecretKey,
        options: &ClientOptions,
        core: Core,
        state: Option<StateFile>,
    ) -> Result<Client, ClientError> {
        let transport = options.transport.clone().on_paths_of(cluster.mtu);
        let endpoint = Endpoint::bind(any_address(cluster), key, None, transport)?;
        // Who only asks those that vote has nothing to say to the others.
        let replicas = match core {
            Core::Vote(_) => cluster.voters(),
            Core::Chain(_) | Core::Chains(_) => cluster.replicas.as_slice(),
        };
        let (links, events, watching) = Links::new((cluster, replicas), endpoint);
        let (calls, coming) = mpsc::channel(ON_THE_WAY.min(options.max_calls.max(1)));
        let (orders, ordered) = mpsc::unbounded_channel();
        let last = Arc::new(OnceLock::new());
        let driver = Driver::new(core, links, options.max_calls, last.clone(), state);
        tokio::spawn(driver.run(Inbox { calls: coming, orders: ordered, events }));
        let ensemble = cluster.ensemble;
        let next = AtomicU64::new(0);
        let own = Box::new((cluster.clone(), key.clone(), options.clone()));
        let inner = Inner { calls, orders, links: watching, next, ensemble, last, own };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// Waits until links to `t + 1` replicas are up, so that calls can be answered, or in a
    /// fail-stop cluster the master be asked.
    ///
    /// # Errors
    /// [`ClientError::NotReady`] with what is wrong with each link: after `within`, or at once if
    /// so many have an error that waiting does not mend that `t + 1` cannot come about.
    pub async fn ready(&self, within: Duration) -> Result<(), ClientError> {
        let (ensemble, needed) = (self.inner.ensemble, self.inner.ensemble.majority());
        // Those of chains alone say nothing about who is in a chain.
        let votes = |l: &&LinkReport| ensemble.contains(l.replica);
        let up = |links: &[LinkReport]| links.iter().filter(votes).filter(|l| l.up).count();
        let hopeless = |links: &[LinkReport]| {
            let hopeless = links.iter().filter(votes).filter(|l| !l.up && l.hopeless);
            hopeless.count() > ensemble.n() - needed
        };
        let mut watching = self.inner.links.clone();
        let decided = watching.wait_for(|links| up(links) >= needed || hopeless(links));
        if let Ok(Err(_)) = timeout(within, decided).await {
            return Err(ClientError::Closed);
        }
        let links = self.links();
        match up(&links) >= needed {
            true => Ok(()),
            false => {
                let hopeless = hopeless(&links);
                let links = links.into_iter().filter(|l| votes(&l)).collect();
                Err(ClientError::NotReady { needed, links, hopeless })
            }
        }
    }

    /// Runs a command that may change the service's state; gives the output that `t + 1` replicas
    /// agree on. May travel in one request with other calls.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::may_have_run`] says whether the command may have run.
    pub async fn execute(&self, command: impl Into<Bytes>) -> Result<Bytes, CallError> {
        self.one(CommandKind::Execute, command.into()).await
    }

    /// Runs a command that changes nothing, at a position in the order; otherwise as
    /// [`Client::execute`]. Keys that may only read are allowed this. A chain answers it from the
    /// state of one replica, and it has no place in the order of this client's updates. If the
    /// outputs of all calls in its request are too large together, it is asked again in a request
    /// of its own.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn query(&self, command: impl Into<Bytes>) -> Result<Bytes, CallError> {
        let bytes = command.into();
        match self.one(CommandKind::Query, bytes.clone()).await {
            Err(CallError::Refused { why: Refusal::OutputTooLarge, .. }) => {
                let mut answer =
                    self.call(vec![Command { kind: CommandKind::Query, bytes }]).await?;
                Ok(answer.outputs.pop().expect(ONE_OUTPUT))
            }
            other => other,
        }
    }

    /// Runs commands one after the other with nothing in between, in a request of their own. The
    /// answer has their outputs, the position and who said what.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn call(&self, commands: Vec<Command>) -> Result<Answer, CallError> {
        self.submit(commands, false).await
    }

    /// Hands a call over now and gives a future of its answer; what is handed over first is sent
    /// first, if [`ClientOptions::max_calls`] has room. With `coalesce` it may travel in one
    /// request with others. Dropping the future takes the call back if it was not sent yet.
    pub fn submit(
        &self,
        commands: Vec<Command>,
        coalesce: bool,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        self.hand_over(What::Commands(commands, coalesce))
    }

    pub(super) fn hand_over(&self, what: What) -> impl Future<Output = Outcome> + Send + use<> {
        self.hand_over_numbered(what, None)
    }

    fn hand_over_numbered(
        &self,
        what: What,
        number: Option<oneshot::Sender<CallId>>,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let inner = self.inner.clone();
        let token = Token(inner.next.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        let call = Call { token, what, reply, number };
        let left = match inner.calls.try_send(call) {
            Ok(()) => None,
            Err(TrySendError::Full(call) | TrySendError::Closed(call)) => Some(call),
        };
        let call = Pending { inner, token, answer: Some(answer) };
        async move { call.finish(left).await }
    }

    /// As [`Client::call`], and then gathers from the replicas what shows the answer to anybody
    /// who has the replicas' keys ([`crate::proof::receipt`]). Commands that only read are ordered,
    /// so that their receipt shows what was so at a position.
    ///
    /// Answer and receipt share the time that a call may take. The answer is never lost when only
    /// the receipt fails, and a refusal by the order has a receipt, too.
    pub fn call_for_receipt(
        &self,
        commands: Vec<Command>,
    ) -> impl Future<Output = Receipted> + Send + use<> {
        let (receipt, proven) = oneshot::channel();
        let answer = self.hand_over(What::Proven(commands, receipt));
        async move {
            let result = answer.await;
            let receipt = proven.await.unwrap_or(Err(ReceiptTrouble::NoAnswer));
            Receipted { result, receipt: receipt.map(|proven| *proven) }
        }
    }

    /// As [`Client::call`], and gives the call's id as soon as it has one: before the request
    /// leaves, and durable by then if there is a state file. Commands that only read have none
    /// unless they are ordered ([`ClientOptions::ordered`]).
    ///
    /// # Errors
    /// If the call ends before it has an id.
    pub async fn call_with_id(&self, commands: Vec<Command>) -> Result<Numbered, CallError> {
        let (number, id) = oneshot::channel();
        let what = What::Commands(commands, false);
        let mut answer = Box::pin(self.hand_over_numbered(what, Some(number)));
        tokio::select! {
            biased;
            Ok(id) = id => Ok(Numbered { id, answer }),
            ended = &mut answer => match ended {
                Err(error) => Err(error),
                Ok(_) => Err(CallError::Unacceptable(
                    "commands that only read are not ordered, and have no id: set \
                     ClientOptions::ordered".to_owned(),
                )),
            },
        }
    }

    /// The calls of which the state file does not say what became of them, the oldest first: those
    /// under way, those that were given up, and those that a client before this one left. Ask
    /// [`Client::outcome`]. Empty without a state file.
    pub async fn open_requests(&self) -> Vec<CallId> {
        let (reply, open) = oneshot::channel();
        // Fails only if the driver has ended.
        let _ = self.inner.orders.send(Order::Open(reply));
        open.await.unwrap_or_default()
    }

    /// An id as people copy it; [`Client::parse_id`] reads it.
    pub fn print_id(&self, id: &CallId) -> String {
        let (cluster, key, _) = &*self.inner.own;
        id.text(&cluster_id(cluster), &ClientId(key.public().0))
    }

    /// Reads an id.
    ///
    /// # Errors
    /// If it is none of this cluster and key.
    pub fn parse_id(&self, text: &str) -> Result<CallId, CallIdError> {
        let (cluster, key, _) = &*self.inner.own;
        CallId::parse(text, &cluster_id(cluster), &ClientId(key.public().0))
    }

    pub(super) fn own(&self) -> (&Cluster, &SecretKey, &ClientOptions) {
        let (cluster, key, options) = &*self.inner.own;
        (cluster, key, options)
    }

    pub(super) fn settle(&self, id: CallId) {
        // Without a driver there is no state file any more.
        let _ = self.inner.orders.send(Order::Settle(id));
    }

    /// What the client counts; its last counters once it is closed.
    pub async fn stats(&self) -> Stats {
        let (reply, stats) = oneshot::channel();
        // Fails only if the driver has ended.
        let _ = self.inner.orders.send(Order::Stats(reply));
        match stats.await {
            Ok(stats) => stats,
            Err(_) => self.inner.last.get().cloned().unwrap_or_default(),
        }
    }

    /// How the links stand, in the roster's order.
    pub fn links(&self) -> Vec<LinkReport> {
        self.inner.links.borrow().clone()
    }

    /// Ends the client and all its clones: calls under way fail with [`CallError::Closed`], what
    /// was sent before is delivered, links are closed. Returns when that is done.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.orders.send(Order::Close(done)).is_ok() {
            // Nothing is ever sent: the driver drops its end when it has ended.
            let _ = closed.await;
        }
    }

    async fn one(&self, kind: CommandKind, bytes: Bytes) -> Result<Bytes, CallError> {
        let mut answer = self.submit(vec![Command { kind, bytes }], true).await?;
        Ok(answer.outputs.pop().expect(ONE_OUTPUT))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("links", &self.links()).finish_non_exhaustive()
    }
}

/// What came of a call whose receipt was wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipted {
    /// The answer.
    pub result: Result<Answer, CallError>,
    /// The receipt, or why there is none.
    pub receipt: Result<Proven, ReceiptTrouble>,
}

/// A call that has an id. Dropping it gives up the answer.
pub struct Numbered {
    /// The id.
    pub id: CallId,
    answer: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Numbered {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn answer(self) -> Result<Answer, CallError> {
        self.answer.await
    }
}

impl fmt::Debug for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbered").field("id", &self.id).finish_non_exhaustive()
    }
}

fn cluster_id(cluster: &Cluster) -> Digest {
    cluster.context(GroupId::MAIN).cluster
}

/// A call under way; dropping it takes it back.
struct Pending {
    inner: Arc<Inner>,
    token: Token,
    // Taken once it is answered.
    answer: Option<oneshot::Receiver<Outcome>>,
}

impl Pending {
    // Hands over what found no room before, and waits for the answer.
    async fn finish(mut self, left: Option<Call>) -> Outcome {
        let closed = || CallError::Closed { explanation: Explanation::default() };
        if let Some(call) = left
            && self.inner.calls.send(call).await.is_err()
        {
            self.answer = None;
            return Err(closed());
        }
        let answer = self.answer.as_mut().expect("it is taken only below");
        let outcome = answer.await.unwrap_or_else(|_| Err(closed()));
        self.answer = None;
        outcome
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.answer.is_some() {
            let _ = self.inner.orders.send(Order::Forget(self.token));
        }
    }
}
