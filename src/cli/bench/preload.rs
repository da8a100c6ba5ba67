//! Writing all keys once before anything is measured, so that there is a state of a known size.

use super::Bench;
use super::load::Load;
use super::workers::describe;
use crate::client::Client;
use crate::wire::RequestBody;
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
        max_request: u32,
        max_commands: u32,
    ) -> Result<(), String> {
        let command = load.first_put(0).bytes.len() + RequestBody::COMMAND_OVERHEAD;
        let room = REQUEST.min(max_request as usize) / command;
        let step = room.clamp(1, max_commands as usize) as u64;
        let limit = clients.len() * OUTSTANDING.min(self.outstanding) as usize;
        let mut under_way = JoinSet::new();
        for (first, client) in (0..self.keys).step_by(step as usize).zip(clients.iter().cycle()) {
            if under_way.len() >= limit
                && let Some(done) = under_way.join_next().await
            {
                done.map_err(|e| e.to_string())??;
            }
            let last = self.keys.min(first + step);
            let (client, commands) =
                (client.clone(), (first..last).map(|n| load.first_put(n)).collect());
            under_way.spawn(async move {
                client.call(commands).await.map(drop).map_err(|e| describe(&e))
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}
