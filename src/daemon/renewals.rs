//! Carries a replica's renewals for all chains to the master (CH-L1): as any client of that group
//! does, with the replica's own key. An answer counts only when `t + 1` replicas gave it.

use crate::client::{Client, ClientError, ClientOptions};
use crate::config::Cluster;
use crate::crypto::SecretKey;
use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::debug;

/// The way to the master and back.
pub(super) struct Renewals {
    client: Client,
    say: mpsc::UnboundedSender<(u32, u64, Bytes)>,
    answers: mpsc::UnboundedReceiver<(u32, u64, Bytes)>,
}

impl Renewals {
    /// Dials the replicas, this one among them.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(super) fn new(cluster: &Cluster, key: &SecretKey) -> Result<Self, ClientError> {
        // What comes after so long gives no lease any more. It is repeated soon: the group takes in
        // nothing while it leaves out a member that has stopped, and after that the others have a
        // quarter of a lease to say that they live (CH-L2).
        let lease = cluster.chains.lease;
        let repeat_after = Some(lease / 16);
        let options = ClientOptions { timeout: lease, repeat_after, ..ClientOptions::default() };
        let client = Client::connect_to_master(cluster, key.clone(), options)?;
        let (say, answers) = mpsc::unbounded_channel();
        Ok(Self { client, say, answers })
    }

    /// Has the master execute a renewal for a chain; those that wait at one time travel together.
    /// If no answer comes, the next one is due before long.
    pub(super) fn send(&self, chain: u32, serial: u64, command: Bytes) {
        let (client, say) = (self.client.clone(), self.say.clone());
        tokio::spawn(async move {
            match client.execute(command).await {
                // Who no longer listens has stopped.
                Ok(output) => drop(say.send((chain, serial, output))),
                Err(why) => debug!(chain, %why, "a renewal was not answered"),
            }
        });
    }

    /// The master's next answer, with the number of its chain and the serial number of its renewal.
    pub(super) async fn next(&mut self) -> (u32, u64, Bytes) {
        match self.answers.recv().await {
            Some(answer) => answer,
            // It has a sender itself.
            None => std::future::pending().await,
        }
    }
}
