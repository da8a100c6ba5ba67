//! A replica's parts in the chains of its cluster, and its one way to their master.
//!
//! Each chain has a thread of its own for its disk: a sync of one, or a large state, is nothing
//! that another has to wait for. Renewals of all of them go by one client of the master.

use super::DaemonError;
use super::chained::{Chained, Own, beginning_with};
use super::initial::Initial;
use super::renewals::Renewals;
use crate::caller::is_for;
use crate::chain::{Actions, Input, MakeService};
use crate::config::{Cluster, KeyMap};
use crate::crypto::SecretKey;
use crate::replica::ChainStatus;
use crate::service::Service;
use crate::types::{ClientId, DiskState, GroupId, Instant, LinkId, Now, ReplicaId, Role};
use crate::wire::{
    ChainAnswer, ChainAsked, ChainQuery, ChainRefusal, Frame, Kind, Message, NoReceipt, Note,
    NoteKind, ReceiptAnswer, Request, RequestBody, WantReceipt,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::task::Poll;
use tracing::warn;

/// What has come from outside of the loop, and for which chain.
pub(super) enum News {
    Own(u32, Own),
    Master(u32, u64, Bytes),
}

pub(super) struct Chains {
    each: BTreeMap<u32, Chained>,
    renewals: Renewals,
    /// Where there are several.
    sorter: Option<Sorter>,
}

/// Knows commands of other chains (CH-K3).
struct Sorter {
    map: KeyMap,
    /// One that nothing is executed by.
    service: Box<dyn Service>,
    /// Requests that were refused.
    misplaced: u64,
}

impl Chains {
    /// Takes up what the disk has.
    ///
    /// # Errors
    /// If it cannot be read, or no link to the master can be made.
    pub(super) fn start(
        (cluster, me, key): (&Cluster, ReplicaId, &SecretKey),
        (data, disk): (&Path, Option<DiskState>),
        (make, initial): (MakeService, Option<Initial>),
    ) -> Result<Self, DaemonError> {
        let (map, service) = (cluster.key_map(), (make.0)());
        let sorter = (map.chains() > 1).then(|| Sorter { map, service, misplaced: 0 });
        let make = beginning_with(make, initial);
        let mut each = BTreeMap::new();
        for entry in cluster.each_chain() {
            let number = entry.number;
            let chained = Chained::start((cluster, me, number), (data, disk), make.clone())?;
            each.insert(number, chained);
        }
        let no_way = |e| {
            let reason = format!("no way to the master: {e}");
            DaemonError::Data { path: data.to_owned(), reason }
        };
        let renewals = Renewals::new(cluster, key).map_err(no_way)?;
        warn!(
            replica = %me,
            "FAIL-STOP: one member that lies, or whose memory fails, can make clients believe \
             anything; fault_model = \"byzantine\" survives that"
        );
        Ok(Self { each, renewals, sorter })
    }

    /// Waits for the disks and the master; for ever if there is no chain.
    pub(super) async fn next(chains: &mut Option<Chains>) -> News {
        let Some(Self { each, renewals, .. }) = chains else {
            return std::future::pending().await;
        };
        let own = std::future::poll_fn(|cx| {
            let ready = each.iter_mut().find_map(|(number, chained)| match chained.poll(cx) {
                Poll::Ready(own) => Some(News::Own(*number, own)),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        tokio::select! {
            news = own => news,
            (chain, serial, output) = renewals.next() => News::Master(chain, serial, output),
        }
    }

    /// Takes what came.
    ///
    /// # Errors
    /// What is wrong with a disk.
    pub(super) fn news(&mut self, now: Now, news: News) -> Result<(), DaemonError> {
        let (chain, input) = match news {
            News::Own(chain, Own::Disk(done)) => (chain, Input::Synced { sequence: done? }),
            News::Own(chain, Own::State(id, state)) => (chain, Input::Encoded { id, state }),
            News::Master(chain, serial, output) => (chain, Input::Renewed { serial, output }),
        };
        if let Some(chained) = self.each.get_mut(&chain) {
            chained.input(now, input);
        }
        Ok(())
    }

    /// Something that concerns every chain.
    pub(super) fn input(&mut self, now: Now, input: &Input) {
        self.each.values_mut().for_each(|chained| chained.input(now, input.clone()));
    }

    pub(super) fn next_wake(&self) -> Instant {
        let wakes = self.each.values().map(Chained::next_wake);
        wakes.min().unwrap_or(Instant(u64::MAX))
    }

    /// How many actions wait.
    pub(super) fn waiting(&self) -> usize {
        self.each.values().map(Chained::waiting).sum()
    }

    /// What is to be done for a chain that has something to do; `None` once none has.
    pub(super) fn take(&mut self) -> Option<(u32, Actions)> {
        let (number, chained) = self.each.iter_mut().find(|(_, c)| c.waiting() > 0)?;
        Some((*number, chained.take()))
    }

    pub(super) fn get(&self, chain: u32) -> Option<&Chained> {
        self.each.get(&chain)
    }

    pub(super) fn renew(&self, chain: u32, serial: u64, command: Bytes) {
        self.renewals.send(chain, serial, command);
    }

    /// A frame of another replica; `None` if it is for no chain.
    ///
    /// # Errors
    /// Why its link is to be closed.
    pub(super) fn peer_frame(
        &mut self,
        now: Now,
        peer: ReplicaId,
        frame: &Frame,
    ) -> Option<Result<(), String>> {
        let chained = self.each.get_mut(&frame.group.chain()?)?;
        Some(chained.peer_frame(now, peer, frame))
    }

    pub(super) fn client_up(&mut self, link: LinkId, client: ClientId, role: Role) {
        self.each.values_mut().for_each(|chained| chained.client_up(link, client, role));
    }

    pub(super) fn client_down(&mut self, link: LinkId) {
        self.each.values_mut().for_each(|chained| chained.client_down(link));
    }

    /// A client's frame: what it is told at once, if anything; `None` if it is for no chain.
    ///
    /// # Errors
    /// Why its link is to be closed.
    pub(super) fn client_frame(
        &mut self,
        now: Now,
        link: LinkId,
        frame: &Frame,
    ) -> Option<Result<Option<Vec<u8>>, String>> {
        let chained = self.each.get_mut(&frame.group.chain()?)?;
        let refused = self.sorter.as_mut().and_then(|sorter| sorter.refuse(chained, frame));
        let refused = refused.or_else(|| no_receipt(frame));
        if refused.is_some() {
            return Some(Ok(refused));
        }
        let told = chained.client_frame(now, link, frame);
        Some(told.map(|note| note.map(|note| note.to_frame(frame.group))))
    }

    // --- for people ----------------------------------------------------------------------------

    /// Of each chain, by their numbers.
    pub(super) fn status(&self, now: Now) -> Vec<ChainStatus> {
        self.each.values().map(|chained| chained.status(now)).collect()
    }

    /// All counters by name, those of all chains together.
    pub(super) fn counters(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (name, value) in self.each.values().flat_map(Chained::counters) {
            *sums.entry(name).or_default() += value;
        }
        let misplaced = self.sorter.as_ref().map_or(0, |sorter| sorter.misplaced);
        sums.insert("chain_misplaced", misplaced);
        sums
    }
}

impl Sorter {
    /// What a client is told that asks a chain for what is another's. What cannot be read is for
    /// the chain to judge.
    fn refuse(&mut self, chained: &Chained, frame: &Frame) -> Option<Vec<u8>> {
        let chain = chained.number();
        let group = GroupId::of_chain(chain);
        match frame.kind {
            Kind::Request => {
                let Request { session, number, body, .. } = Request::from_body(&frame.body).ok()?;
                let kind = NoteKind::Unacceptable;
                let is_misplaced = number > 0 && self.is_misplaced(chain, &body);
                is_misplaced.then(|| Note { session, number, kind }.to_frame(group))
            }
            Kind::ChainQuery => {
                let ChainQuery { id, body } = ChainQuery::from_body(&frame.body).ok()?;
                let (asked, why) = (ChainAsked::Query { id }, ChainRefusal::Unacceptable);
                self.is_misplaced(chain, &body).then(|| {
                    let config = chained.config().clone();
                    ChainAnswer::Refused { asked, why, config }.to_frame(group)
                })
            }
            _ => None,
        }
    }

    fn is_misplaced(&mut self, chain: u32, body: &Bytes) -> bool {
        let Ok(body) = RequestBody::parse(body) else { return false };
        let touched = body.commands.iter().map(|c| self.service.touches(&c.bytes));
        let is_misplaced = !is_for(&self.map, chain, touched);
        self.misplaced += u64::from(is_misplaced);
        is_misplaced
    }
}

/// §6: what a client is told that asks a chain for a receipt.
fn no_receipt(frame: &Frame) -> Option<Vec<u8>> {
    if frame.kind != Kind::WantReceipt {
        return None;
    }
    let WantReceipt { session, number, .. } = WantReceipt::from_body(&frame.body).ok()?;
    let result = Err(NoReceipt::NotKept);
    Some(ReceiptAnswer { session, number, result }.to_frame(frame.group))
}
