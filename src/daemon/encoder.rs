//! Makes the bytes of snapshots on threads of their own, so that the loop need not wait for them.

use crate::replica::{FrozenState, Input};
use bytes::Bytes;
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// What makes them. At most two are made at a time: the core asks for one for others and for one
/// for the disk.
pub(super) struct Encoder {
    say: mpsc::UnboundedSender<(u64, Bytes)>,
    done: mpsc::UnboundedReceiver<(u64, Bytes)>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        let (say, done) = mpsc::unbounded_channel();
        Self { say, done }
    }

    /// Begins to make these bytes.
    pub(super) fn make(&self, number: u64, state: FrozenState) {
        let (say, same) = (self.say.clone(), state.clone());
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        // Who no longer listens does not need them.
        let started = thread.spawn(move || {
            yield_to_others();
            drop(say.send((number, encode(state))));
        });
        if let Err(why) = started {
            warn!(%why, "no thread can be started for a snapshot: everything waits for its bytes");
            let _ = self.say.send((number, encode(same)));
        }
    }

    /// The next that are made, for the core.
    pub(super) async fn next(&mut self) -> Option<Input> {
        self.done.recv().await.map(|(number, bytes)| Input::Encoded { number, bytes })
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

fn encode(state: FrozenState) -> Bytes {
    let begun = Instant::now();
    let bytes = state.to_bytes();
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    info!(round = state.round().0, bytes = bytes.len(), ms, "made the bytes of a snapshot");
    bytes
}
