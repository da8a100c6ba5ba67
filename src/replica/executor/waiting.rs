//! Steps that are committed and not executed: what they lack, and what becomes of them (O7).

use super::Executor;
use crate::crypto::{Domain, hash};
use crate::ordering::Ordered;
use crate::replica::bodies::Bodies;
use crate::replica::fetch::AT_ONCE;
use crate::types::Digest;
use crate::types::plant::planted;
use std::collections::BTreeSet;

impl Executor {
    /// The requests of all steps that wait.
    pub(in crate::replica) fn waiting(&self) -> BTreeSet<Digest> {
        self.queue.iter().flat_map(|step| step.requests.iter().map(|o| o.digest)).collect()
    }

    /// Those of them that need a body: a void one runs without.
    pub(in crate::replica) fn in_need(&self) -> BTreeSet<Digest> {
        let all = self.queue.iter().flat_map(|step| &step.requests);
        all.filter(|o| !o.void || planted("o7-void-in-need")).map(|o| o.digest).collect()
    }

    /// A body came that the next step may lack: whether it does.
    pub(in crate::replica) fn lacks(&self, digest: &Digest) -> bool {
        self.missing.contains(digest)
    }

    pub(in crate::replica) fn found(&mut self, digest: &Digest) {
        self.missing.remove(digest);
    }

    /// O7: these requests have no effect, wherever they stand among what waits. From the first of
    /// them on nothing that waits is a checkpoint, as in `ordering`'s building of an opening.
    pub(in crate::replica) fn void(&mut self, void: &BTreeSet<Digest>) {
        if void.is_empty() {
            return;
        }
        let mut begun = false;
        for step in &mut self.queue {
            for ordered in step.requests.iter_mut().filter(|o| void.contains(&o.digest)) {
                (ordered.void, begun) = (true, true);
            }
            if begun && !planted("o7-checkpoint-before-void") {
                step.checkpoint = None;
            }
        }
        self.missing.retain(|digest| !void.contains(digest));
    }

    /// What is here belongs to another history: it is of no use any more.
    pub(in crate::replica) fn lose(&mut self) {
        self.lost = true;
        self.missing.clear();
    }

    /// The running root, as it is attested.
    pub(in crate::replica) fn attested(&self) -> Digest {
        match planted("s6-attests-garbage") {
            true => hash(Domain::Running, &self.running.0),
            false => self.running,
        }
    }

    /// More is known of why nothing is executed any more.
    pub(in crate::replica) fn halt_for(&mut self, words: String) {
        self.halted = Some(words);
    }

    /// What the next steps lack, with the replicas that gave candidates and so hold it (O7).
    pub(in crate::replica) fn missing(&self, bodies: &Bodies) -> Vec<Ordered> {
        if self.missing.is_empty() {
            return Vec::new();
        }
        let requests = self.queue.iter().flat_map(|step| &step.requests);
        let lacks = requests.filter(|o| !o.void && bodies.get(&o.digest).is_none());
        lacks.take(AT_ONCE).copied().collect()
    }

    /// Whether so much waits that nothing older should be asked for: half of what is too much.
    pub(in crate::replica) fn is_far_behind(&self) -> bool {
        self.backlog > self.limits.max_unexecuted as usize
    }

    pub(in crate::replica) fn is_waiting_for_bodies(&self) -> bool {
        !self.missing.is_empty()
    }
}
