//! Putting a daemon together, and holding a running one.

use super::chained;
use super::chains::Chains;
use super::disk::{Claim, Opening};
use super::initial::Initial;
use super::node::Node;
use super::parts::Parts;
use super::pins::{Pins, outdated};
use super::{DaemonError, admin, halted, initial, mark, node, open_files};
use crate::adversary::Lie;
use crate::chain::MakeService;
use crate::config::{Cluster, FaultModel, ReplicaEntry};
use crate::crypto::SecretKey;
use crate::replica::{Status, Stored, recorded_keys};
use crate::service::{self, Service};
use crate::transport::{Endpoint, Settings};
use crate::types::{DiskState, Durability, ReplicaId};
use crate::wire::Mark;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tracing::{info, warn};

/// A running replica. Dropping it stops it.
pub struct Daemon {
    address: SocketAddr,
    admin: SocketAddr,
    stop: mpsc::Sender<node::Request>,
    // Absent once its end was waited for.
    node: Option<JoinHandle<Result<(), DaemonError>>>,
    admin_server: JoinHandle<()>,
}

/// What a daemon is made from.
pub struct Builder {
    cluster: Cluster,
    id: ReplicaId,
    key: SecretKey,
    data: PathBuf,
    service: Option<Box<dyn Service>>,
    maker: Option<MakeService>,
    listen: Option<SocketAddr>,
    lie: Option<Lie>,
    replace_disk: bool,
    transport: Settings,
}

impl Builder {
    /// Where the replica keeps its files; `quorate-data/replica-N` below the working directory if
    /// this is not said.
    pub fn data_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.data = directory.into();
        self
    }

    /// The service to run; its name must be the one in the cluster file. Without this the
    /// built-in service of that name runs.
    pub fn service(mut self, service: Box<dyn Service>) -> Self {
        self.service = Some(service);
        self
    }

    /// How the service to run is made, again and again: a replica of a chain needs another one to
    /// take a state up into. Otherwise as [`Builder::service`], and does as well in the voting
    /// mode.
    pub fn make_service(
        mut self,
        make: impl Fn() -> Box<dyn Service> + Send + Sync + 'static,
    ) -> Self {
        self.maker = Some(MakeService(Arc::new(make)));
        self
    }

    /// Where to listen, if not on the address that the cluster file has for this replica: behind
    /// address translation, or on all interfaces.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// How the QUIC endpoint behaves.
    pub fn transport(mut self, settings: Settings) -> Self {
        self.transport = settings;
        self
    }

    /// Makes the replica a liar: for tests, where the cluster file allows it.
    pub fn lie(mut self, lie: Lie) -> Self {
        self.lie = Some(lie);
        self
    }

    /// Whether the data directory, which is empty, stands in for one that is lost. What the
    /// replica has signed before is not known then, and it signs nothing that could contradict it
    /// (docs/protocol.md §7). To be said once; a directory that the replica has signed on is
    /// refused.
    pub fn replace_disk(mut self, replaces: bool) -> Self {
        self.replace_disk = replaces;
        self
    }

    /// Binds the sockets, writes the mark, and starts the replica on the present tokio runtime,
    /// which should be a current-thread one.
    ///
    /// # Errors
    /// [`DaemonError`] says what is in the way and what to do.
    pub async fn start(mut self) -> Result<Daemon, DaemonError> {
        let id = self.id;
        let entry = self.own_entry()?;
        let (mut service, maker) = self.take_services()?;
        if self.lie.is_some() && !self.cluster.testing.allow_liars {
            return Err(DaemonError::LiarsNotAllowed);
        }
        open_files::raise(self.chains())?;
        let listen = match self.listen {
            Some(address) => address,
            None => resolve(&entry.address).await?,
        };
        let outbox = usize::try_from(self.cluster.quotas.link_bytes).unwrap_or(usize::MAX);
        self.transport.outbox_bytes = outbox;
        let pins = Pins::new(&self.cluster);
        let admit = Some(pins.admission(&self.cluster, id));
        let settings = self.transport.clone().on_paths_of(self.cluster.mtu);
        let endpoint = Endpoint::bind(listen, &self.key, admit, settings)?;
        let address = endpoint.local_addr();
        let failed = |source| DaemonError::Admin { address: entry.admin, source };
        let admin = admin::bind(entry.admin).await.map_err(failed)?;
        let admin_address = admin.local_addr().map_err(failed)?;
        let cluster = self.cluster.id();
        let (claim, mut before) = self.claim().await?;
        let initial = self.load_initial(claim.directory(), &mut *service)?;
        if self.replace_disk {
            before = Some(mark::replaced(claim.directory(), (cluster, id), before)?);
        }
        let opened = claim.open(self.opening(before.map(|mark| mark.disk)))?;
        let (disk, recovered) = ((opened.disk, opened.done), opened.records);
        let stored = opened.rounds.map(Stored::from).unwrap_or_default();
        let file_behind = self.check_keys(&recovered, &pins)?;
        // Before the mark says that it was there.
        let (chains, inherited) = match maker {
            None => (None, initial.and_then(|initial| initial.inherited)),
            Some(maker) => {
                service = Box::new(chained::master_of(&self.cluster));
                (Some(self.start_chains(maker, initial, before)?), None)
            }
        };
        let mark = mark::count(&self.data, cluster, id, before)?;
        info!(
            replica = %id, %address, admin = %admin_address, cluster = %self.cluster.id(),
            incarnation = mark.incarnation, service = self.runs(&*service), "started"
        );
        self.warn(mark);
        let (requests, inbox) = mpsc::channel(64);
        let admin_server = tokio::spawn(admin::serve(admin, requests.clone()));
        let (cluster, key, lie, directory) = (self.cluster, self.key, self.lie, self.data);
        let parts = Parts {
            cluster,
            id,
            key,
            service,
            lie,
            mark,
            directory,
            disk,
            recovered,
            stored,
            inherited,
            endpoint,
            inbox,
            pins,
            chains,
            file_behind,
        };
        let node = Some(tokio::spawn(Node::new(parts).run()));
        Ok(Daemon { address, admin: admin_address, stop: requests, node, admin_server })
    }

    /// What the cluster file says of this replica, whose key must be there, and which must not have
    /// halted for good: that is looked at before it takes an address.
    fn own_entry(&self) -> Result<ReplicaEntry, DaemonError> {
        let (id, n) = (self.id.number(), self.cluster.replicas.len());
        let entry = self.cluster.replica(self.id).cloned();
        let entry = entry.ok_or(DaemonError::NoSuchReplica { id, n })?;
        if self.key.public() != entry.public_key {
            let found = self.key.public().fingerprint();
            let listed = entry.public_key.fingerprint();
            return Err(DaemonError::WrongKey { id, found, listed });
        }
        halted::check(&self.data)?;
        Ok(entry)
    }

    /// In how many chains it may be, if the fault model has any.
    fn chains(&self) -> usize {
        let is_host = self.cluster.hosts().iter().any(|r| r.id == self.id);
        if is_host { self.cluster.each_chain().len() } else { 0 }
    }

    /// The service that it runs: who does not vote has no part in the master.
    fn runs<'a>(&'a self, service: &'a dyn Service) -> &'a str {
        match self.cluster.ensemble.contains(self.id) {
            true => service.name(),
            false => &self.cluster.service.name,
        }
    }

    /// The state that the service begins with, if it is to begin with one and runs here.
    fn load_initial(
        &self,
        directory: &Path,
        service: &mut dyn Service,
    ) -> Result<Option<Initial>, DaemonError> {
        match self.chains() {
            0 => Ok(None),
            _ => initial::load(directory, &self.cluster, service),
        }
    }

    /// Its parts in chains, in the fail-stop model.
    fn start_chains(
        &self,
        maker: MakeService,
        initial: Option<Initial>,
        before: Option<Mark>,
    ) -> Result<Chains, DaemonError> {
        let found = (self.data.as_path(), before.map(|mark| mark.disk));
        Chains::start((&self.cluster, self.id, &self.key), found, (maker, initial))
    }

    /// Its data directory, and the mark in it.
    async fn claim(&self) -> Result<(Claim, Option<Mark>), DaemonError> {
        // Whose it is says more than that somebody uses it.
        mark::look_for(&self.data, &self.cluster, self.id)?;
        let claim = claim(&self.data).await?;
        let before = mark::look_for(claim.directory(), &self.cluster, self.id)?;
        Ok((claim, before))
    }

    /// What people should not overlook.
    fn warn(&self, mark: Mark) {
        let id = self.id;
        // Its chains say what there is to say.
        if !self.cluster.ensemble.contains(id) {
            return;
        }
        if mark.disk == DiskState::Replaced {
            warn!(
                replica = %id,
                "this disk stands in for one that is lost: the replica takes up a state that t + 1 \
                 others attest, and reports nothing before it has joined them anew"
            );
        }
        if let Some(lie) = self.lie {
            warn!(replica = %id, lie = lie.name(), "THIS REPLICA LIES, as a test asked it to");
        }
    }

    /// How its disk is opened.
    fn opening(&self, disk: Option<DiskState>) -> Opening {
        let (cluster, members) = (self.cluster.id(), self.cluster.ensemble.n());
        let durable = self.cluster.durability != Durability::None;
        let snapshots = self.cluster.snapshots;
        Opening { disk, cluster, replica: self.id, members, durable, snapshots }
    }

    /// Whether the cluster file lacks a change of a key that is on the disk (M3).
    fn check_keys(&self, recovered: &[bytes::Bytes], pins: &Pins) -> Result<bool, DaemonError> {
        let disk = recorded_keys(recovered);
        let behind = outdated(&self.cluster, &disk)?;
        if behind.contains(&self.id) {
            return Err(DaemonError::KeyReplaced { id: self.id.number() });
        }
        for change in disk.iter().filter(|change| behind.contains(&change.replica)) {
            pins.set(change.replica, Some(change.key));
        }
        for replica in &behind {
            warn!(
                replica = %self.id,
                "the cluster file is out of date: the key of {replica} was replaced; write what \
                 `quorate admin replace-key` prints into the file"
            );
        }
        Ok(!behind.is_empty())
    }

    /// The service, and how more of it are made, if a chain runs it.
    fn take_services(&mut self) -> Result<(Box<dyn Service>, Option<MakeService>), DaemonError> {
        if self.chains() == 0 {
            // It never runs the cluster's service.
            return Ok((Box::new(chained::master_of(&self.cluster)), None));
        }
        let made = self.maker.as_ref().map(|maker| (maker.0)());
        let given = self.service.take().or(made);
        let is_given = given.is_some();
        let service = self.take_service(given)?;
        if self.cluster.fault_model == FaultModel::Byzantine {
            return Ok((service, None));
        }
        let name = service.name();
        let built_in = move || service::built_in(name).expect("it was found before");
        let maker = match self.maker.take() {
            Some(maker) => maker,
            None if is_given => return Err(DaemonError::NoMaker),
            None => MakeService(Arc::new(built_in)),
        };
        Ok((service, Some(maker)))
    }

    fn take_service(
        &self,
        given: Option<Box<dyn Service>>,
    ) -> Result<Box<dyn Service>, DaemonError> {
        let configured = self.cluster.service.name.clone();
        let offered =
            given.as_ref().map_or("the built-in ones".to_owned(), |s| format!("`{}`", s.name()));
        let found = given.or_else(|| service::built_in(&configured));
        let fits = found.filter(|s| s.name() == configured);
        fits.ok_or(DaemonError::WrongService { configured, offered })
    }
}

impl Daemon {
    /// Starts to put together the daemon of a replica.
    pub fn builder(cluster: Cluster, id: ReplicaId, key: SecretKey) -> Builder {
        let data = PathBuf::from(format!("quorate-data/replica-{}", id.number()));
        let transport = Settings::default();
        let (service, maker, listen, lie, replace_disk) = (None, None, None, None, false);
        Builder { cluster, id, key, data, service, maker, listen, lie, replace_disk, transport }
    }

    /// Where it speaks QUIC.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves status, health and metrics.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Its condition now.
    ///
    /// # Errors
    /// If its loop has ended.
    pub async fn status(&self) -> Result<Status, DaemonError> {
        let (answer, status) = oneshot::channel();
        let ended = || DaemonError::Ended("no status is to be had".to_owned());
        self.stop.send(node::Request::Status(answer)).await.map_err(|_| ended())?;
        status.await.map_err(|_| ended())
    }

    /// Stops it: links are closed after what was sent has left. Its addresses are free then.
    ///
    /// # Errors
    /// If its loop has panicked, or if its disk has failed.
    pub async fn stop(mut self) -> Result<(), DaemonError> {
        // An error here means that it has stopped already.
        let _ = self.stop.send(node::Request::Stop).await;
        let ended = self.end_of_loop().await;
        self.admin_server.abort();
        // It ends by being aborted, which is no news.
        let _ = (&mut self.admin_server).await;
        released(self.address).await;
        ended
    }

    /// Waits until it ends by itself, which a defect or a disk that fails brings about. May be
    /// dropped and called again: select it beside whatever else tells a program to stop.
    ///
    /// Gives [`DaemonError::StartAgain`] if it is to be stopped, built and started again at once,
    /// which may happen after a power cut; [`DaemonError::Data`] for a disk, else
    /// [`DaemonError::Ended`] with what is known.
    pub async fn wait(&mut self) -> DaemonError {
        match self.end_of_loop().await {
            Ok(()) => DaemonError::Ended("nobody asked it to".to_owned()),
            Err(why) => why,
        }
    }

    async fn end_of_loop(&mut self) -> Result<(), DaemonError> {
        let Some(node) = &mut self.node else {
            return Err(DaemonError::Ended("it was said before why".to_owned()));
        };
        let ended = node.await;
        self.node = None;
        ended.unwrap_or_else(|e| Err(DaemonError::Ended(why(e))))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(node) = &self.node {
            node.abort();
        }
        self.admin_server.abort();
    }
}

/// What a panic said.
fn why(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was aborted".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without words"))
}

/// Waits until the socket is closed, which the transport's own task does soon after its last
/// handle is gone.
async fn released(address: SocketAddr) {
    for _ in 0..100 {
        if std::net::UdpSocket::bind(address).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Claims the data directory. Whoever has it may just be about to end: a replica of this process
/// that was dropped does so soon after.
async fn claim(data: &std::path::Path) -> Result<Claim, DaemonError> {
    for _ in 0..100 {
        match Claim::take(data) {
            Err(DaemonError::InUse { .. }) => {}
            other => return other,
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Claim::take(data)
}

async fn resolve(address: &str) -> Result<SocketAddr, DaemonError> {
    let failed = |reason: String| DaemonError::Address { address: address.to_owned(), reason };
    let mut found = tokio::net::lookup_host(address).await.map_err(|e| failed(e.to_string()))?;
    found.next().ok_or_else(|| failed("the name has no address".to_owned()))
}
