//! What several disks of one group agree on: where their histories, executed again, are alike.

use super::Player;
use crate::crypto::Scheme;
use crate::types::{AgreedTime, Digest, Round};
use std::collections::BTreeMap;

/// The history on one disk, executed again to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The round of the snapshot that it began with.
    pub began: Round,
    /// The last step's round.
    pub end: Round,
    /// Its agreed time.
    pub time: AgreedTime,
    /// Whether nothing was under way at the end: no request that had not run.
    pub is_settled: bool,
    /// After each step: the running root, and how many requests had come since `began`.
    steps: BTreeMap<Round, (Digest, u64)>,
}

/// What was found out about several of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Whose end it is.
    pub of: usize,
    /// The round up to which they agree.
    pub round: Round,
    /// Who has that state, in order.
    pub by: Vec<usize>,
    /// Of these, who has more, and how many requests more.
    pub beyond: Vec<(usize, u64)>,
    /// Who has another state in a round that both have, and in which.
    pub differ: Vec<(usize, Round)>,
    /// Who ends earlier.
    pub behind: Vec<usize>,
}

impl Executed {
    /// Executes to the end of the log.
    ///
    /// # Errors
    /// Why the end cannot be reached; or that `t + 1` replicas attest something else than what is
    /// executed here.
    pub fn all<S: Scheme>(player: &mut Player<S>) -> Result<Self, String> {
        let (began, mut end) = (player.began(), player.began());
        let mut time = AgreedTime(0);
        let mut steps = BTreeMap::from([(began, (player.running(), 0))]);
        for step in player.by_ref() {
            (end, time) = (step.position.round, step.time);
            // Steps that were given up come again, with others in their rounds.
            let given_up = steps.split_off(&end);
            drop(given_up);
            let before = steps.last_key_value().map_or(0, |(_, (_, requests))| *requests);
            steps.insert(end, (step.running, before + step.requests.len() as u64));
        }
        if let Some(why) = player.failed() {
            return Err(why.to_owned());
        }
        if let Some((round, attested, here)) = player.attested().refuted {
            return Err(format!(
                "t + 1 replicas attest {attested} after round {round}, and here it is {here}"
            ));
        }
        Ok(Self { began, end, time, is_settled: player.is_settled(), steps })
    }

    fn root(&self, round: Round) -> Option<Digest> {
        self.steps.get(&round).map(|(root, _)| *root)
    }

    fn requests(&self, round: Round) -> u64 {
        self.steps.get(&round).map_or(0, |(_, requests)| *requests)
    }

    /// How this one stands to the end of another one.
    fn against(&self, other: &Self) -> Standing {
        let shared = self.end.min(other.end);
        match (self.root(shared), other.root(shared)) {
            (Some(ours), Some(theirs)) if ours != theirs => Standing::Differs(shared),
            _ if self.end < other.end => Standing::Behind,
            (Some(_), Some(_)) => Standing::Has(self.requests(self.end) - self.requests(other.end)),
            // It begins with a later state, or lacks the round.
            _ => Standing::Differs(shared),
        }
    }
}

enum Standing {
    Has(u64),
    Behind,
    Differs(Round),
}

/// The latest end that so many of the disks have, in a history that is alike up to it. `None` if
/// there is none.
pub fn agreed(wanted: usize, disks: &[Executed]) -> Option<Agreed> {
    let mut order: Vec<usize> = (0..disks.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(disks[*i].end), *i));
    order.into_iter().map(|i| seen_from(i, disks)).find(|found| found.by.len() >= wanted)
}

fn seen_from(of: usize, disks: &[Executed]) -> Agreed {
    let end = disks[of].end;
    let (by, beyond, differ, behind) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut found = Agreed { of, round: end, by, beyond, differ, behind };
    for (i, disk) in disks.iter().enumerate() {
        match disk.against(&disks[of]) {
            Standing::Has(more) => {
                found.by.push(i);
                found.beyond.extend((more > 0).then_some((i, more)));
            }
            Standing::Behind => found.behind.push(i),
            Standing::Differs(round) => found.differ.push((i, round)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rounds `began..=end`, with a request in each and roots that depend on the round and on
    // `other` from the round there.
    fn disk(began: u64, end: u64, other: Option<u64>) -> Executed {
        let root = |round| {
            let differs = other.is_some_and(|from| round >= from);
            Digest([round as u8 + if differs { 100 } else { 0 }; 32])
        };
        let steps = (began..=end).map(|r| (Round(r), (root(r), r)));
        let (time, is_settled) = (AgreedTime(end), true);
        Executed { began: Round(began), end: Round(end), time, is_settled, steps: steps.collect() }
    }

    #[test]
    fn the_latest_end_that_enough_have_is_agreed() {
        let disks = [disk(0, 9, None), disk(4, 12, None), disk(0, 12, None)];
        let found = agreed(2, &disks).unwrap();
        assert_eq!((found.of, found.round), (1, Round(12)));
        assert_eq!((found.by, found.behind), (vec![1, 2], vec![0]));
        assert!(found.beyond.is_empty() && found.differ.is_empty());
        let found = agreed(3, &disks).unwrap();
        assert_eq!((found.of, found.beyond), (0, vec![(1, 3), (2, 3)]));
        assert_eq!(agreed(4, &disks), None);
    }

    #[test]
    fn one_that_has_more_alone_does_not_count_and_is_told() {
        let disks = [disk(0, 9, None), disk(0, 12, None), disk(0, 9, None)];
        let found = agreed(2, &disks).unwrap();
        assert_eq!((found.round, found.by), (Round(9), vec![0, 1, 2]));
        assert_eq!(found.beyond, [(1, 3)]);
    }

    #[test]
    fn one_that_differs_is_told_with_the_round_wherever_it_ends() {
        for (end, by) in [(6, 6), (9, 9), (20, 9)] {
            let disks = [disk(0, 9, None), disk(0, end, Some(5)), disk(3, 9, None)];
            let found = agreed(2, &disks).unwrap();
            assert_eq!((found.round, found.by), (Round(9), vec![0, 2]));
            assert_eq!(found.differ, [(1, Round(by))]);
        }
        let disks = [disk(0, 9, None), disk(0, 9, Some(5))];
        assert_eq!(agreed(2, &disks), None);
    }

    #[test]
    fn what_is_behind_a_later_snapshot_cannot_be_compared() {
        // The first begins with a state that the second has not reached, and nobody else has it.
        let disks = [disk(8, 9, None), disk(0, 7, None), disk(0, 7, None)];
        let found = agreed(2, &disks).unwrap();
        assert_eq!((found.round, found.by), (Round(7), vec![1, 2]));
        assert_eq!(found.differ, [(0, Round(7))]);
    }
}
