//! Cables between replicas that can be cut in one direction: a UDP proxy for each ordered pair.
//!
//! Of two replicas the one with the higher number dials. Its cluster file gives the other one's
//! address as one end of their cable; the other one sees it at the cable's other end. Addresses
//! are in neither the cluster id nor what replicas compare when they meet.

use crate::cluster::Cluster;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The cables between all replicas of a cluster; they go when this is dropped.
pub struct Cables {
    n: u8,
    directions: Vec<Arc<Direction>>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    files: Vec<PathBuf>,
}

#[derive(Default)]
struct Direction {
    cut: AtomicBool,
    // Datagrams that a cut has swallowed.
    swallowed: AtomicU64,
}

impl Cables {
    /// Lays them for a cluster of which no replica runs yet.
    pub fn lay(cluster: &Cluster) -> Self {
        let n = cluster.n();
        let mut cables = Self {
            n,
            directions: (0..u16::from(n) * u16::from(n)).map(|_| Arc::default()).collect(),
            over: Arc::default(),
            threads: Vec::new(),
            files: Vec::new(),
        };
        let address = |number: u8| -> SocketAddr {
            cluster.cluster().replicas[usize::from(number) - 1].address.parse().unwrap()
        };
        let text = fs::read_to_string(cluster.config()).unwrap();
        for dialler in 1..=n {
            let mut text = text.clone();
            for other in 1..dialler {
                let ends = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
                let at = ends[0].local_addr().unwrap().to_string();
                let changed = text.replace(&quoted(address(other)), &format!("\"{at}\""));
                assert_ne!(changed, text, "the file has no address of R{other}");
                text = changed;
                let [near, far] = ends.map(Arc::new);
                cables.carry((dialler, other), near.clone(), far.clone(), address(other));
                cables.carry((other, dialler), far, near, address(dialler));
            }
            let file = cluster.config().with_file_name(format!("quorate-{dialler}.toml"));
            fs::write(&file, text).unwrap();
            cables.files.push(file);
        }
        cables
    }

    /// The cluster file of a replica.
    pub fn file(&self, number: u8) -> PathBuf {
        self.files[usize::from(number) - 1].clone()
    }

    /// Nothing that one replica sends arrives at the other from now on.
    pub fn cut(&self, from: u8, to: u8) {
        self.direction(from, to).cut.store(true, Ordering::Relaxed);
    }

    /// It arrives again.
    pub fn mend(&self, from: u8, to: u8) {
        self.direction(from, to).cut.store(false, Ordering::Relaxed);
    }

    /// Datagrams that were sent and did not arrive.
    pub fn swallowed(&self, from: u8, to: u8) -> u64 {
        self.direction(from, to).swallowed.load(Ordering::Relaxed)
    }

    fn direction(&self, from: u8, to: u8) -> &Arc<Direction> {
        assert_ne!(from, to);
        &self.directions[usize::from(from - 1) * usize::from(self.n) + usize::from(to - 1)]
    }

    fn carry(
        &mut self,
        (from, to): (u8, u8),
        comes: Arc<UdpSocket>,
        goes: Arc<UdpSocket>,
        address: SocketAddr,
    ) {
        let (direction, over) = (self.direction(from, to).clone(), self.over.clone());
        // So that the thread sees when it is over.
        comes.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        self.threads.push(std::thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while !over.load(Ordering::Relaxed) {
                // An error is a timeout, or that nobody listens where something was sent before.
                let Ok(length) = comes.recv(&mut datagram) else { continue };
                if direction.cut.load(Ordering::Relaxed) {
                    direction.swallowed.fetch_add(1, Ordering::Relaxed);
                } else {
                    // What cannot be sent is lost, as anything may be that is sent by UDP.
                    let _ = goes.send_to(&datagram[..length], address);
                }
            }
        }));
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of it has been printed.
            let _ = thread.join();
        }
    }
}

fn quoted(address: SocketAddr) -> String {
    format!("\"{address}\"")
}
