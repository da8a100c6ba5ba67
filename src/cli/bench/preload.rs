//! Writing all keys once before anything is measured, so that there is a state of a known size.

use super::Bench;
use super::load::Load;
use super::workers::describe;
use crate::client::Client;
use crate::config::{Cluster, KeyMap};
use crate::service::{Touches, kv};
use crate::wire::{Command, RequestBody};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Bytes of a request, about: large enough for little to be spent on rounds.
const REQUEST: usize = 64 << 10;
/// Requests under way on each session.
const OUTSTANDING: u32 = 4;

impl Bench {
    /// Puts every key once.
    pub(super) async fn preload(
        &self,
        clients: &[Client],
        load: &Load,
        cluster: &Cluster,
    ) -> Result<(), String> {
        let (max_request, max_commands) = (cluster.limits.max_request, cluster.limits.max_commands);
        let map = cluster.key_map();
        let command = load.first_put(0).bytes.len() + RequestBody::COMMAND_OVERHEAD;
        let room = REQUEST.min(max_request as usize) / command;
        let step = room.clamp(1, max_commands as usize) as u64;
        let limit = clients.len() * OUTSTANDING.min(self.outstanding) as usize;
        let mut under_way = JoinSet::new();
        for (first, client) in (0..self.keys).step_by(step as usize).zip(clients.iter().cycle()) {
            let last = self.keys.min(first + step);
            for commands in by_chain(&map, (first..last).map(|n| load.first_put(n))) {
                if under_way.len() >= limit
                    && let Some(done) = under_way.join_next().await
                {
                    done.map_err(|e| e.to_string())??;
                }
                let client = client.clone();
                under_way.spawn(async move {
                    client.call(commands).await.map(drop).map_err(|e| describe(&e))
                });
            }
        }
        while let Some(done) = under_way.join_next().await {
            done.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}

/// A call runs on one chain.
fn by_chain(map: &KeyMap, commands: impl Iterator<Item = Command>) -> Vec<Vec<Command>> {
    let mut chains: BTreeMap<u32, Vec<Command>> = BTreeMap::new();
    for command in commands {
        let chain = match kv::touches(&command.bytes) {
            Touches::Keys(keys) => keys.first().map(|key| map.chain_of(key)),
            Touches::All | Touches::Prefix(_) => None,
        };
        chains.entry(chain.unwrap_or_else(|| map.chain_of_none())).or_default().push(command);
    }
    chains.into_values().collect()
}
