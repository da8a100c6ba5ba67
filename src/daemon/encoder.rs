//! Makes the bytes of snapshots on threads of their own, so that the loop need not wait for them.

use crate::replica::{Encoded, Encoding, Input};
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// What makes them. At most two are made at a time: the core asks for one for others and for one
/// for the disk.
pub(super) struct Encoder {
    say: mpsc::UnboundedSender<(u64, Encoded)>,
    done: mpsc::UnboundedReceiver<(u64, Encoded)>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        let (say, done) = mpsc::unbounded_channel();
        Self { say, done }
    }

    /// Begins this work.
    pub(super) fn make(&self, number: u64, work: Encoding) {
        let say = self.say.clone();
        // Who no longer listens does not need them.
        beside(move || drop(say.send((number, encode(&work)))));
    }

    /// The next that are made, for the core.
    pub(super) async fn next(&mut self) -> Option<Input> {
        self.done.recv().await.map(|(number, made)| Input::Encoded { number, made })
    }
}

/// Does this on a thread of its own that makes room for others, or at once if there can be none.
pub(super) fn beside(work: impl FnOnce() + Clone + Send + 'static) {
    let same = work.clone();
    let thread = std::thread::Builder::new().name("snapshot".to_owned());
    let started = thread.spawn(move || {
        yield_to_others();
        work();
    });
    if let Err(why) = started {
        warn!(%why, "no thread can be started for a snapshot: everything waits for its bytes");
        same();
    }
}

/// Nobody waits for a snapshot as clients wait for their answers. On Linux this is about the
/// calling thread; that it is refused is no harm.
#[cfg(target_os = "linux")]
fn yield_to_others() {
    let _ = rustix::process::setpriority_process(None, 10);
}

#[cfg(not(target_os = "linux"))]
fn yield_to_others() {}

fn encode(work: &Encoding) -> Encoded {
    let begun = Instant::now();
    let made = work.run();
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    info!(round = work.round().0, bytes = made.bytes.len(), ms, "made the bytes of a snapshot");
    made
}
