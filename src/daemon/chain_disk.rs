//! Stand-in.
use super::DaemonError;
use super::disk::Done;
use crate::chain::Found;
use crate::types::{Digest, DiskState, ReplicaId};
use bytes::Bytes;
use std::path::Path;
use tokio::sync::mpsc;
pub(super) struct ChainDisk {
    say: mpsc::UnboundedSender<Done>,
}
pub(super) struct ChainOpening {
    pub(super) cluster: Digest,
    pub(super) replica: ReplicaId,
    pub(super) chain: u32,
    pub(super) disk: Option<DiskState>,
    pub(super) durable: bool,
}
pub(super) struct ChainOpened {
    pub(super) disk: ChainDisk,
    pub(super) found: Found,
    pub(super) life: u64,
    pub(super) blank: bool,
    pub(super) done: mpsc::UnboundedReceiver<Done>,
}
impl ChainDisk {
    pub(super) fn open(_data: &Path, _opening: ChainOpening) -> Result<ChainOpened, DaemonError> {
        let (say, done) = mpsc::unbounded_channel();
        let life =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
                as u64;
        Ok(ChainOpened {
            disk: ChainDisk { say },
            found: Found::default(),
            life,
            blank: false,
            done,
        })
    }
    pub(super) fn append(&self, sequence: u64, _entries: Vec<Bytes>) {
        let _ = self.say.send(Ok(sequence));
    }
    pub(super) fn save(&self, sequence: u64, _number: u64, _state: Bytes, _anew: bool) {
        let _ = self.say.send(Ok(sequence));
    }
}
