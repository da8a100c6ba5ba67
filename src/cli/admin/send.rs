//! Keeping a command of the operator on its way to every replica.

use crate::client::{Target, any_address, dial};
use crate::config::Cluster;
use crate::crypto::SecretKey;
use crate::transport::{Endpoint, Lane, LinkEvent, Settings};
use crate::types::{GroupId, ReplicaId};
use crate::wire::{Message as _, OperatorChange};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often the command is said again: what was said before an epoch changed may be forgotten.
const AGAIN: Duration = Duration::from_millis(500);

/// One link a replica, on which the command is said again and again.
pub(super) struct Sender {
    endpoint: Arc<Endpoint>,
    tasks: JoinSet<()>,
    troubles: Arc<Mutex<Vec<Option<String>>>>,
}

impl Sender {
    /// Begins to send.
    ///
    /// # Errors
    /// If this process gets no socket.
    pub(super) fn start(
        cluster: &Cluster,
        key: &SecretKey,
        change: OperatorChange,
    ) -> anyhow::Result<Self> {
        let settings = Settings::default().on_paths_of(cluster.mtu);
        let endpoint = Endpoint::bind(any_address(cluster), key, None, settings)?;
        let endpoint = Arc::new(endpoint);
        let not_yet = cluster.voters().iter().map(|_| Some("no link yet".to_owned()));
        let troubles = Arc::new(Mutex::new(not_yet.collect::<Vec<_>>()));
        let frame: Arc<[u8]> = change.to_frame(GroupId::MAIN).into();
        let mut tasks = JoinSet::new();
        for replica in cluster.voters() {
            let target = Target { cluster: cluster.id(), replica: replica.clone() };
            let (endpoint, target) = (endpoint.clone(), Arc::new(target));
            let (frame, troubles) = (frame.clone(), troubles.clone());
            tasks.spawn(async move {
                let id = target.replica.id;
                loop {
                    let ended = say(&endpoint, &target, &frame, &troubles).await;
                    note(&troubles, id, Some(ended));
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
        Ok(Self { endpoint, tasks, troubles })
    }

    /// What is wrong with each link that is not up, by replica.
    pub(super) fn troubles(&self) -> Vec<(ReplicaId, String)> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let all = troubles.iter().enumerate();
        all.filter_map(|(i, t)| Some((ReplicaId::from_index(i), t.clone()?))).collect()
    }

    /// Ends all links after delivering what was sent.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
        self.endpoint.close("done").await;
    }
}

/// Gets a link and says the command on it until it ends; gives why it ended.
async fn say(
    endpoint: &Arc<Endpoint>,
    target: &Arc<Target>,
    frame: &[u8],
    troubles: &Mutex<Vec<Option<String>>>,
) -> String {
    let mut link = match dial(endpoint, target).await {
        Ok((link, _)) => link,
        Err(failure) => return failure.text,
    };
    let (events, mut happened) = mpsc::channel(16);
    link.start(events, ());
    note(troubles, target.replica.id, None);
    let mut again = tokio::time::interval(AGAIN);
    loop {
        tokio::select! {
            _ = again.tick() => {
                link.send(Lane::Protocol, frame);
                link.flush();
            }
            event = happened.recv() => match event {
                // Nothing that a replica says here is an answer: its status is.
                Some(((), LinkEvent::Frames { .. })) => {}
                Some(((), LinkEvent::Closed { reason, .. })) => return reason,
                None => return "the link is gone".to_owned(),
            }
        }
    }
}

fn note(troubles: &Mutex<Vec<Option<String>>>, replica: ReplicaId, trouble: Option<String>) {
    let mut all = troubles.lock().unwrap_or_else(PoisonError::into_inner);
    all[replica.index()] = trouble;
}
