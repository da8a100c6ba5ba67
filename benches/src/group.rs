//! Three whole replicas without sockets: from the bytes of a client's stream to the bytes of the
//! replies.

use crate::samples::{CLIENT, N, SESSION, at, context, keyring, request, secret};
use bytes::Bytes;
use quorate::crypto::Scheme;
use quorate::replica::{Action, Actions, ENCODE_AT_ONCE, Input, Replica, Setup, Stored};
use quorate::service::kv::Kv;
use quorate::types::{
    ClockKind, Digest, DiskState, Durability, GroupId, LinkId, OrderLimits, Quotas, ReplicaId,
    Role, Timing,
};
use quorate::wire::{Frame, FrameDecoder, Hello, Kind, Message, Replies};
use std::time::Duration;

const LINK: LinkId = LinkId(1);
/// Microseconds from one message delay to the next.
const STEP: u64 = 1_000;
/// Message delays within which the last requests are answered.
const PATIENCE: u64 = 1_000;

/// Three replicas with the kv service.
pub struct Group<S: Scheme> {
    replicas: Vec<Replica<S>>,
    decoders: Vec<FrameDecoder>,
    /// What comes to each with the next message delay.
    inboxes: Vec<Vec<Input>>,
    micros: u64,
    /// Replies of each replica.
    replies: [u64; N],
}

/// Requests as the bytes that one read of a client's stream gives, made before the measurement.
pub struct Prepared {
    reads: Vec<(u64, Bytes)>,
}

impl Prepared {
    /// So many requests of one put, numbered from 1, `batch` in one read.
    pub fn new(requests: u64, batch: u64) -> Self {
        let batch = batch.max(1);
        let read = |first: u64| {
            let last = requests.min(first + batch - 1);
            let mut bytes = Vec::new();
            for number in first..=last {
                // What was sent more than three reads ago is answered.
                let low = first.saturating_sub(4 * batch).max(1);
                bytes.extend(request(number, low).to_frame(GroupId::MAIN));
            }
            (last - first + 1, Bytes::from(bytes))
        };
        let firsts = (1..=requests).step_by(usize::try_from(batch).expect("a batch fits memory"));
        Self { reads: firsts.map(read).collect() }
    }
}

impl<S: Scheme> Group<S> {
    /// A group with an open session. What is written to a disk is durable with the next message
    /// delay.
    ///
    /// # Panics
    /// If the session does not open.
    pub fn new(durability: Durability) -> Self {
        let mut group = Self {
            replicas: (0..N).map(|i| replica::<S>(i, durability)).collect(),
            decoders: (0..N).map(|_| FrameDecoder::default()).collect(),
            inboxes: (0..N).map(|_| Vec::new()).collect(),
            micros: STEP,
            replies: [0; N],
        };
        let hellos: Vec<Hello> = group.replicas.iter().map(Replica::hello).collect();
        for (i, inbox) in group.inboxes.iter_mut().enumerate() {
            for j in (0..N).filter(|j| *j != i) {
                let (peer, hello) = (ReplicaId::from_index(j), hellos[j].clone());
                inbox.push(Input::PeerUp { peer, hello });
            }
            inbox.push(Input::ClientUp { link: LINK, client: CLIENT, role: Role::Write });
        }
        group.step(None);
        group.step(Some(&request(0, 1).to_frame(GroupId::MAIN).into()));
        group.finish(1);
        group.replies = [0; N];
        group
    }

    /// Handles so many of the requests, one read with each message delay, until all are answered.
    ///
    /// # Panics
    /// If one of them is not answered by all replicas, or there are fewer.
    pub fn run(&mut self, prepared: &Prepared, requests: u64) {
        let (mut sent, mut reads) = (0, prepared.reads.iter());
        while sent < requests {
            let (count, read) = reads.next().expect("so many were prepared");
            self.step(Some(read));
            sent += count;
        }
        self.finish(sent);
        let now = at(self.micros);
        for replica in &self.replicas {
            assert_eq!(replica.status(now).executed, sent + 1, "with the opening of the session");
        }
    }

    /// Lets the group go on until each replica has answered so many requests.
    fn finish(&mut self, sent: u64) {
        for _ in 0..PATIENCE {
            if self.replies.iter().all(|replies| *replies >= sent) {
                return;
            }
            self.step(None);
        }
        panic!("{sent} requests have {:?} replies", self.replies);
    }

    /// One message delay: each replica handles what has come to it.
    fn step(&mut self, read: Option<&Bytes>) {
        self.micros += STEP;
        let now = at(self.micros);
        let mut next: Vec<Vec<Input>> = (0..N).map(|_| Vec::new()).collect();
        for i in 0..N {
            let mut out = Actions::new();
            for input in std::mem::take(&mut self.inboxes[i]) {
                self.replicas[i].handle(now, input, &mut out);
            }
            if let Some(read) = read {
                let frames = self.frames(i, read);
                self.replicas[i].handle(now, Input::ClientFrames { link: LINK, frames }, &mut out);
            }
            self.replicas[i].handle(now, Input::Drained, &mut out);
            for action in out {
                self.act(i, action, &mut next);
            }
        }
        self.inboxes = next;
    }

    fn frames(&mut self, i: usize, read: &Bytes) -> Vec<Frame> {
        let decoder = &mut self.decoders[i];
        decoder.push(read.clone());
        let next = || decoder.next_frame().expect("the client sends frames");
        std::iter::from_fn(next).collect()
    }

    fn act(&mut self, i: usize, action: Action, next: &mut [Vec<Input>]) {
        match action {
            Action::ToPeer { peer, frame, .. } => {
                let frame = Frame::parse(frame).expect("replicas send frames");
                let from = ReplicaId::from_index(i);
                next[peer.index()].push(Input::PeerFrame { peer: from, frame });
            }
            Action::ToClient { frame, .. } => self.replies[i] += replies_in(&frame),
            Action::Append { sequence, .. }
            | Action::Persist { sequence, .. }
            | Action::Save { sequence, .. } => next[i].push(Input::Synced { sequence }),
            Action::Encode { number, work } => {
                next[i].push(Input::Encoded { number, made: work.run() });
            }
            Action::Event(_) | Action::MarkKnown => {}
            other => panic!("an orderly run asks for {other:?}"),
        }
    }
}

/// The count of a message of replies, which stands behind position and mark.
fn replies_in(frame: &Bytes) -> u64 {
    let frame = Frame::parse(frame.clone()).expect("replicas send frames");
    assert_eq!(frame.kind, Kind::Replies, "every request is answered");
    assert_eq!(Replies::first_session(&frame.body), Some(SESSION));
    let count = frame.body.get(8 + 32 + 1..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(*count.expect("a message of replies has a count")).into()
}

fn replica<S: Scheme>(i: usize, durability: Durability) -> Replica<S> {
    let keyring = keyring::<S>(1);
    assert_eq!(keyring.context(), context());
    let setup = Setup {
        id: ReplicaId::from_index(i),
        keyring,
        signer: S::signer(&secret(i)),
        genesis: Digest([1; 32]),
        timing: Timing::from_delta(Duration::from_millis(100)),
        clock: ClockKind::Hybrid,
        limits: OrderLimits::default(),
        quotas: Quotas::default(),
        seed: 5,
        incarnation: 1,
        disk: DiskState::New,
        recovered: Vec::new(),
        durability,
        inherited: None,
        stored: Stored::default(),
        fields: Vec::new(),
        encode_at_once: ENCODE_AT_ONCE,
        trace: false,
    };
    Replica::new(setup, Box::new(Kv::new()), at(0))
}
