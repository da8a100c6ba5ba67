//! A digest of all that decides what a replica does next, for searches that go through all states.

use super::Chain;
use crate::crypto::{Domain, Hasher};
use crate::types::Digest;

impl Chain {
    /// Equal for replicas that will do the same from now on, as long as no time passes: counters
    /// and the lease are left out. Queries are, too: no search asks any.
    pub fn fingerprint(&mut self) -> Digest {
        let state = self.executor.digest();
        let mut h = Hasher::new(Domain::State);
        h.put(&state.0).put_u64(self.config.number).put_u64(u64::from(self.open));
        h.put_u64(self.history.executed()).put_u64(self.history.grown());
        for entry in self.history.from(0) {
            h.put_var(&entry.to_record());
        }
        // Small things without hash maps in them: their debug output names every field.
        h.put_var(
            format!("{:?} {:?} {:?} {:?}", self.log, self.up, self.down, self.maker).as_bytes(),
        );
        h.put_var(format!("{:?}", self.links()).as_bytes());
        h.finish()
    }
}
