//! Handshakes under way: how many, with whom, and who has to wait (B28, B29).

use super::Settings;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters of the accepting side of an endpoint, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Under way now.
    pub pending: usize,
    /// Finished, the peer admitted.
    pub admitted: u64,
    /// Failed or timed out; among them all peers that are not admitted.
    pub failed: u64,
    /// Turned away at once since too many were under way.
    pub refused: u64,
    /// Asked to show that they receive at their address.
    pub retried: u64,
}

/// What to do with a newcomer.
pub(super) enum Verdict {
    /// Shake hands; the ticket counts it until it is dropped.
    Enter(Ticket),
    /// It must show first that its address is not forged.
    Retry,
    /// Too many.
    Refuse,
}

/// Counts handshakes. A forged address must not use up the share of the host that has it, so
/// only peers that have shown to be at their address count against that share.
pub(super) struct Gate {
    max: usize,
    max_per_address: usize,
    retry_above: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counters: Handshakes,
    unvalidated: usize,
    // The standard map is safe against keys that a stranger chooses.
    by_address: HashMap<IpAddr, usize>,
}

impl Gate {
    pub fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            max: settings.max_handshakes,
            max_per_address: settings.max_handshakes_per_address,
            retry_above: settings.retry_above,
            state: Mutex::default(),
        })
    }

    pub fn counters(&self) -> Handshakes {
        self.lock().counters
    }

    pub fn enter(self: &Arc<Self>, address: IpAddr, validated: bool) -> Verdict {
        let mut state = self.lock();
        if !validated {
            if state.unvalidated >= self.retry_above {
                state.counters.retried += 1;
                return Verdict::Retry;
            }
            state.unvalidated += 1;
        } else {
            let held = state.by_address.get(&address).copied().unwrap_or(0);
            let all = state.counters.pending - state.unvalidated;
            if all >= self.max || held >= self.max_per_address {
                state.counters.refused += 1;
                return Verdict::Refuse;
            }
            state.by_address.insert(address, held + 1);
        }
        state.counters.pending += 1;
        Verdict::Enter(Ticket {
            gate: self.clone(),
            address: validated.then_some(address),
            admitted: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handshake under way. However it ends, also by being dropped, the counters know.
pub(super) struct Ticket {
    gate: Arc<Gate>,
    // None while its address may be forged.
    address: Option<IpAddr>,
    admitted: bool,
}

impl Ticket {
    /// The peer is admitted; consumes the ticket.
    pub fn admitted(mut self) {
        self.admitted = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.counters.pending -= 1;
        match self.admitted {
            true => state.counters.admitted += 1,
            false => state.counters.failed += 1,
        }
        let Some(address) = self.address else {
            state.unvalidated -= 1;
            return;
        };
        let held = state.by_address.get_mut(&address).expect("counted when the ticket was made");
        *held -= 1;
        if *held == 0 {
            state.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(max: usize, per_address: usize, retry_above: usize) -> Arc<Gate> {
        Gate::new(&Settings {
            max_handshakes: max,
            max_handshakes_per_address: per_address,
            retry_above,
            ..Settings::default()
        })
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn entered(verdict: Verdict) -> Ticket {
        match verdict {
            Verdict::Enter(ticket) => ticket,
            Verdict::Retry => panic!("retry"),
            Verdict::Refuse => panic!("refused"),
        }
    }

    /// B29: whatever became of the handshakes, nothing stays counted.
    #[test]
    fn counters_return_to_zero() {
        let gate = gate(4, 2, 2);
        let a = entered(gate.enter(ip(1), true));
        let b = entered(gate.enter(ip(1), true));
        assert!(matches!(gate.enter(ip(1), true), Verdict::Refuse));
        let c = entered(gate.enter(ip(2), false));
        assert_eq!(gate.counters().pending, 3);
        a.admitted();
        drop((b, c));
        let counters = gate.counters();
        assert_eq!((counters.pending, counters.admitted, counters.failed), (0, 1, 2));
        assert!(gate.lock().by_address.is_empty() && gate.lock().unvalidated == 0);
        for _ in 0..10 {
            entered(gate.enter(ip(1), true));
        }
    }

    /// B29: forged addresses neither use up the share of the host that they name, nor the places
    /// of those who have shown theirs.
    #[test]
    fn forged_addresses_take_nothing_from_others() {
        let gate = gate(2, 1, 3);
        let forged: Vec<_> = (0..3).map(|_| entered(gate.enter(ip(7), false))).collect();
        assert!(matches!(gate.enter(ip(7), false), Verdict::Retry));
        let _real = entered(gate.enter(ip(7), true));
        let _other = entered(gate.enter(ip(8), true));
        assert!(matches!(gate.enter(ip(9), true), Verdict::Refuse));
        drop(forged);
        entered(gate.enter(ip(7), false));
    }
}
