//! What all sections share: the binary, the directory, how often and how long.

use anyhow::bail;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ports of a cluster: its replicas, nine at most.
const PORTS: u16 = 10;
/// So many clusters have ports of their own before they come again; admin ports are 100 higher.
const CLUSTERS: u16 = 10;

/// See the module.
pub struct Lab {
    /// The binary that is measured.
    pub quorate: PathBuf,
    /// A directory for clusters, on the disk that is measured.
    pub scratch: PathBuf,
    /// How often what is compared is measured, in turns.
    pub rounds: usize,
    /// How long each time.
    pub seconds: u64,
    /// Whether only to see that it works.
    pub quick: bool,
    /// Whether to take the time for the largest states.
    pub full: bool,
    /// The first port.
    pub port: u16,
    /// Set by a signal.
    pub stop: Arc<AtomicBool>,
    clusters: Cell<u16>,
    remarks: RefCell<Vec<String>>,
}

impl Lab {
    /// With no cluster yet.
    pub fn new(quorate: PathBuf, scratch: PathBuf, port: u16, stop: Arc<AtomicBool>) -> Self {
        let (clusters, remarks) = (Cell::new(0), RefCell::default());
        let (rounds, seconds, quick, full) = (5, 4, false, false);
        Self { quorate, scratch, rounds, seconds, quick, full, port, stop, clusters, remarks }
    }

    /// # Errors
    /// If a signal has come.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted; what was started is stopped");
        }
        Ok(())
    }

    /// The number of a new cluster and its ports' base: not those of the ones just before.
    pub fn next_cluster(&self) -> (u16, u16) {
        let number = self.clusters.get();
        self.clusters.set(number + 1);
        (number, self.port + number % CLUSTERS * PORTS)
    }

    /// Something that whoever reads the section must know.
    pub fn remark(&self, remark: String) {
        eprintln!("  note: {remark}");
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    }

    /// All remarks since the last time.
    pub fn take_remarks(&self) -> Vec<String> {
        self.remarks.take()
    }
}
