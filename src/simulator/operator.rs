//! The operator as a node of the world: status changes over its own links (M2, M3).

use super::{Arrival, Effect, Node, NodeId, Note};
use crate::crypto::{Context, PublicKey, Scheme};
use crate::replica::Lane;
use crate::types::{GroupId, Instant, Now, ReplicaId};
use crate::wire::{Author, Change, Hello, Message, OperatorChange, SignedChange};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::Duration;

/// What was said while an epoch changed may be forgotten, so it is said again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often in all.
const TIMES: u32 = 20;

/// Gives commands, each from a time on.
pub struct OperatorNode<S: Scheme> {
    key: PublicKey,
    /// What to say and how often it was said; the next time of each.
    commands: Vec<(Instant, u32, Bytes)>,
    up: BTreeSet<ReplicaId>,
    scheme: PhantomData<S>,
}

impl<S: Scheme> OperatorNode<S> {
    /// An operator with this key, who gives these commands at these times.
    pub fn new(signer: &S::Signer, context: &Context, commands: &[(Duration, Change)]) -> Self {
        let key = S::public(signer);
        let author = Author::Operator(key);
        let frame = |(serial, (at, change)): (u64, &(Duration, Change))| {
            let signed = SignedChange::sign::<S>(*change, author, serial, context, signer);
            let frame = OperatorChange(signed).to_frame(GroupId::MAIN);
            (Instant(0) + *at, 0, frame.into())
        };
        let commands = (1..).zip(commands).map(frame).collect();
        Self { key, commands, up: BTreeSet::new(), scheme: PhantomData }
    }

    /// The key that replicas know.
    pub fn key(&self) -> PublicKey {
        self.key
    }
}

impl<S: Scheme> Node for OperatorNode<S> {
    type Note = Note;

    fn handle(&mut self, now: Now, arrival: Arrival, out: &mut Vec<Effect<Note>>) {
        match arrival {
            Arrival::Up { peer: NodeId::Replica(replica), .. } => {
                self.up.insert(replica);
            }
            Arrival::Down { peer: NodeId::Replica(replica), .. } => {
                self.up.remove(&replica);
            }
            _ => {}
        }
        for (at, times, frame) in &mut self.commands {
            while now.monotonic >= *at && *times < TIMES {
                (*at, *times) = (now.monotonic + AGAIN, *times + 1);
                for replica in &self.up {
                    let (to, lane) = (NodeId::Replica(*replica), Lane::Protocol);
                    out.push(Effect::Send { to, lane, frame: frame.clone() });
                }
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.commands.iter().filter(|(_, times, _)| *times < TIMES).map(|(at, ..)| *at).min()
    }

    fn hello(&self) -> Option<Hello> {
        None
    }
}
