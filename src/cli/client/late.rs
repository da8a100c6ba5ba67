//! `--explain`: who answered after the majority had agreed, and whether they differ.
//!
//! A majority ends the wait for an answer. Whoever wants to see the votes waits a little for the
//! rest of them: the client goes on counting replies and dissent.

use crate::client::{Client, Explanation, Stats, Verdict};
use std::time::Duration;

/// How long the others are waited for: an answer is at hand already.
const PATIENCE: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(5);

/// Waits for the replies that have not come, and writes into the explanation what they were.
pub(super) async fn hear_the_rest(client: &Client, explanation: &mut Explanation) {
    let hearing = async {
        while is_open(explanation) {
            tokio::time::sleep(POLL).await;
            settle(explanation, &client.stats().await);
        }
    };
    // Who is slower than that is silent.
    let _ = tokio::time::timeout(PATIENCE, hearing).await;
}

// Whether somebody whose link is up has not answered.
fn is_open(explanation: &Explanation) -> bool {
    explanation.ballots.iter().any(|b| b.verdict == Verdict::Silent { down_for: None })
}

// The client has sent nothing but this command, so who has answered as often as something was
// accepted has answered all of it. With repeats the counts do not tell.
fn settle(explanation: &mut Explanation, stats: &Stats) {
    if stats.repeats > 0 {
        return;
    }
    let answers = stats.accepted;
    for ballot in &mut explanation.ballots {
        let open = ballot.verdict == Verdict::Silent { down_for: None };
        let Some(counts) = stats.replicas.get(ballot.replica.index()).filter(|_| open) else {
            continue;
        };
        if counts.replies >= answers {
            ballot.verdict = match counts.dissent + counts.differed {
                0 => Verdict::Agrees,
                _ => Verdict::Differs,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Ballot, ReplicaStats};
    use crate::types::ReplicaId;

    fn after(replies: [u64; 3], dissent: u64, repeats: u64) -> Vec<Verdict> {
        let silent = |down_for| Verdict::Silent { down_for };
        let verdicts = [silent(None), silent(None), silent(Some(Duration::from_secs(1)))];
        let ballots = (0..)
            .zip(verdicts)
            .map(|(index, verdict)| Ballot::without_answer(ReplicaId::from_index(index), verdict));
        let mut explanation = Explanation { ballots: ballots.collect(), ..Explanation::default() };
        let counts = replies.map(|replies| ReplicaStats { replies, dissent, ..Default::default() });
        let stats = Stats { accepted: 2, repeats, replicas: counts.into(), ..Stats::default() };
        assert!(is_open(&explanation));
        settle(&mut explanation, &stats);
        explanation.ballots.into_iter().map(|b| b.verdict).collect()
    }

    #[test]
    fn only_who_has_answered_everything_over_a_link_has_a_late_vote() {
        let silent = Verdict::Silent { down_for: None };
        let down = Verdict::Silent { down_for: Some(Duration::from_secs(1)) };
        let (agrees, differs) = (Verdict::Agrees, Verdict::Differs);
        assert_eq!(after([2, 1, 2], 0, 0), [agrees, silent.clone(), down.clone()]);
        assert_eq!(after([2, 1, 2], 1, 0), [differs, silent.clone(), down.clone()]);
        assert_eq!(after([2, 2, 2], 1, 1), [silent.clone(), silent, down]);
    }
}
