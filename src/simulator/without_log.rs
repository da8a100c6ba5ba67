//! What a group without a log may have lost: which of its replicas have crashed, and whether these
//! were ever more than promises are kept with.

use super::Options;
use super::check::Violation;
use crate::replica::Standing;
use crate::types::{Durability, Ensemble, Members, ReplicaId};

/// What is broken where a group stands still that need not go on.
pub const BEYOND: &str = "liveness, not promised since more than t were out at one time";

/// The replicas of a run that have crashed and kept nothing (`durability = "none"`). Of a run with
/// logs it has none.
#[derive(Debug)]
pub struct WithoutLog {
    counts: bool,
    t: usize,
    liars: Members,
    /// Who has no state.
    amnesiac: Members,
    /// Who is no member again: it may have a state by now, but not what it promised.
    unsworn: Members,
    forgot: bool,
    outnumbered: bool,
}

impl WithoutLog {
    /// Of a run that begins.
    pub fn new(options: &Options) -> Self {
        let ensemble = Ensemble::new(options.t).expect("the options name a t of 1 to 15");
        Self {
            counts: options.durability == Durability::None,
            t: ensemble.t(),
            liars: ensemble.all().minus(options.good()),
            amnesiac: Members::NONE,
            unsworn: Members::NONE,
            forgot: false,
            outnumbered: false,
        }
    }

    /// A replica has crashed.
    pub fn on_crashed(&mut self, id: ReplicaId) {
        if self.counts {
            self.amnesiac.insert(id);
            self.unsworn.insert(id);
            self.forgot |= self.amnesiac.union(self.liars).len() > self.t;
            self.outnumbered |= self.unsworn.union(self.liars).len() > self.t;
        }
    }

    /// What a replica that is up says of itself.
    pub fn on_standing(&mut self, id: ReplicaId, standing: Standing) {
        if standing != Standing::Restarted {
            self.amnesiac.remove(id);
        }
        if standing == Standing::Member {
            self.unsworn.remove(id);
        }
    }

    /// Whether more than t lied or had no state at one time: nothing keeps what was accepted then.
    pub fn forgot(&self) -> bool {
        self.forgot
    }

    /// Says of a group that does not go on whether it must. Once more than t lied or were no
    /// members again at one time nothing is lost by that, but what one of them had promised nobody
    /// can check. It is worth a look all the same: most of these groups go on.
    pub fn named(&self, violation: Violation) -> Violation {
        match violation.rule {
            "liveness" if self.outnumbered => Violation { rule: BEYOND, ..violation },
            _ => violation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [ReplicaId; 2] {
        [0, 1].map(ReplicaId::from_index)
    }

    fn of(durability: Durability) -> WithoutLog {
        WithoutLog::new(&Options { t: 1, durability, ..Options::named("losses") })
    }

    fn lost(w: &WithoutLog) -> (bool, bool) {
        let stuck = Violation { rule: "liveness", what: "it stands still".to_owned() };
        (w.forgot(), w.named(stuck).rule == BEYOND)
    }

    #[test]
    fn one_with_a_state_that_is_no_member_yet_keeps_no_promise() {
        let ([one, two], mut w) = (two(), of(Durability::None));
        w.on_crashed(one);
        w.on_standing(one, Standing::Restarted);
        w.on_standing(one, Standing::Follower);
        assert_eq!(lost(&w), (false, false));
        w.on_crashed(two);
        assert_eq!(lost(&w), (false, true), "and one that has none");
        w.on_crashed(one);
        assert_eq!(lost(&w), (true, true));
        let fork = Violation { rule: "agreement", what: String::new() };
        assert_eq!(w.named(fork.clone()), fork, "that is broken all the same");
    }

    #[test]
    fn a_member_again_counts_as_before_and_a_log_keeps_all() {
        let ([one, two], mut w) = (two(), of(Durability::None));
        for id in [one, two, one] {
            w.on_crashed(id);
            w.on_standing(id, Standing::Member);
        }
        assert_eq!(lost(&w), (false, false));
        let mut w = of(Durability::Reply);
        w.on_crashed(one);
        w.on_crashed(two);
        assert_eq!(lost(&w), (false, false));
    }
}
