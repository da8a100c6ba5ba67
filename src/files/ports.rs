//! Ports for a cluster on this machine that nobody has to choose.

use super::FileError;
use super::init::ports;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that systems hand out by themselves, which somebody else could be given between
/// looking and binding.
const FIRST: u16 = 20_000;
/// A region has the ports of replicas, and a hundred above them those of admin addresses.
const REGION: u16 = 200;
const REGIONS: u16 = 55;
/// Clusters that share a region, and ports of each: one for every replica of the largest cluster,
/// and the base itself.
const SHARES: u16 = 3;
const SHARE: u16 = 32;

/// A base port as in [`super::init::InitOptions`] above which all ports that `n` replicas need are
/// free on loopback now. Calls of one process give different ones; other processes begin the
/// search elsewhere. Whoever binds them must still be prepared for one that was taken meanwhile.
///
/// # Errors
/// If there is none.
pub fn free_base_port(n: u8) -> Result<u16, FileError> {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let all = REGIONS * SHARES;
    let process = u16::try_from(std::process::id() % u32::from(all)).unwrap_or(0);
    for _ in 0..all {
        let call = CALLS.fetch_add(1, Ordering::Relaxed) % all;
        // Processes that were started one after the other begin far from each other.
        let base = base((process * 31 % all + call) % all);
        if (1..=n).all(|number| is_free(base, number)) {
            return Ok(base);
        }
    }
    Err(FileError::Request(format!("found no ports for {n} replicas that are free on 127.0.0.1")))
}

fn base(share: u16) -> u16 {
    FIRST + share % REGIONS * REGION + share / REGIONS * SHARE
}

fn is_free(base: u16, number: u8) -> bool {
    let (quic, admin) = ports(base, number);
    let host = Ipv4Addr::LOCALHOST;
    UdpSocket::bind((host, quic)).is_ok() && TcpListener::bind((host, admin)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MAX_T;
    use std::collections::BTreeSet;

    #[test]
    fn shares_do_not_overlap_and_lie_below_the_ports_that_systems_hand_out() {
        let mut seen = BTreeSet::new();
        for share in 0..REGIONS * SHARES {
            for number in 1..=2 * MAX_T + 1 {
                let (quic, admin) = ports(base(share), number);
                assert!(quic > FIRST && admin < 32_000, "{quic} {admin}");
                assert!(seen.insert(quic) && seen.insert(admin), "{quic} {admin}");
            }
        }
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let base = free_base_port(3).unwrap();
        assert_ne!(free_base_port(3).unwrap(), base);
        let (quic, admin) = ports(base, 2);
        assert!(is_free(base, 2));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, quic)).unwrap();
        assert!(!is_free(base, 2));
        drop(udp);
        let _tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, admin)).unwrap();
        assert!(!is_free(base, 2));
    }
}
