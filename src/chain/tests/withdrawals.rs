//! What became of an update (rule C2), asked of a chain.

use super::*;
use crate::wire::{Look, Looked, Outcome, Refusal};

impl Line {
    fn withdraw(&mut self, at: usize, number: u64) {
        let request = Request { session: SessionId(1), number, low: 0, body: Bytes::new() };
        self.take(at, Input::Update { link: LINK, client: CLIENT, request });
    }

    fn look(&mut self, at: usize, number: u64) {
        let commands = vec![Look { session: SessionId(1), number }.to_command()];
        let query = ChainQuery { id: 5, body: RequestBody { commands }.to_bytes() };
        self.take(at, Input::Query { link: LINK, client: CLIENT, query });
    }

    /// What clients were told: of updates their number and outcome.
    fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let replies = std::mem::take(&mut self.out).into_iter().filter_map(|action| match action {
            Action::Reply { reply, .. } => {
                Some((reply.number, Outcome::parse(&reply.outcome).unwrap()))
            }
            _ => None,
        });
        replies.collect()
    }

    fn looked(&mut self) -> Vec<Looked> {
        let said = std::mem::take(&mut self.out).into_iter().filter_map(|action| match action {
            Action::Answer { answer: ChainAnswer::Answer { outcome, .. }, .. } => {
                let Ok(Outcome::Executed(outputs)) = Outcome::parse(&outcome) else {
                    panic!("{outcome:?}");
                };
                Some(Looked::parse(&outputs[0]).unwrap())
            }
            _ => None,
        });
        said.collect()
    }

    fn settle(&mut self) {
        self.deliver();
        self.sync_all();
    }
}

fn opened() -> Line {
    let mut line = Line::new(2);
    line.update(0, 0);
    line.settle();
    line.out.clear();
    line
}

#[test]
fn c2_a_withdrawn_update_never_runs_in_a_chain() {
    let mut line = opened();
    line.withdraw(0, 1);
    line.settle();
    assert_eq!(line.outcomes(), [(1, Outcome::Withdrawn)]);
    // Its late copy is told so at once, and takes no number in the history.
    let last = line.chains[0].last().number;
    line.update(0, 1);
    line.withdraw(0, 1);
    assert_eq!(line.outcomes(), [(1, Outcome::Withdrawn), (1, Outcome::Withdrawn)]);
    assert_eq!(line.chains[0].last().number, last);
    line.query(1, "key");
    let answer = line.out.pop();
    let Some(Action::Answer { answer: ChainAnswer::Answer { outcome, .. }, .. }) = answer else {
        panic!("{answer:?}");
    };
    let missing = crate::service::kv::Output::Missing.encode();
    assert_eq!(Outcome::parse(&outcome), Ok(Outcome::Executed(vec![missing.into()])));
}

#[test]
fn c2_an_update_that_is_under_way_or_ran_is_the_answer_to_its_withdrawal() {
    let mut line = opened();
    line.update(0, 1);
    line.withdraw(0, 1);
    line.settle();
    let [(1, Outcome::Executed(ran))] = &line.outcomes()[..] else { panic!("it runs once") };
    line.withdraw(0, 1);
    assert_eq!(line.outcomes(), [(1, Outcome::Executed(ran.clone()))]);
    // Whose answer is gone is said by the order, as its client said that it has it.
    let body = Bytes::from_static(b"none");
    let request = Request { session: SessionId(1), number: 2, low: 2, body };
    line.take(0, Input::Update { link: LINK, client: CLIENT, request });
    line.settle();
    line.out.clear();
    line.withdraw(0, 1);
    line.settle();
    assert_eq!(line.outcomes(), [(1, Outcome::Refused(Refusal::BelowLowWater))]);
}

#[test]
fn c2_a_look_waits_for_what_is_under_way() {
    let mut line = opened();
    line.look(1, 1);
    line.look(0, 1);
    assert_eq!(line.looked(), [Looked::NotYet, Looked::NotYet]);
    line.withdraw(0, 1);
    line.look(0, 1);
    assert_eq!(line.looked(), [], "the tail may have committed it");
    line.settle();
    assert_eq!(line.looked(), [Looked::NotYet], "it had not when it was asked");
    line.look(0, 1);
    let looked = line.looked();
    let [Looked::Stored { outcome, .. }] = &looked[..] else { panic!("{looked:?}") };
    assert_eq!(Outcome::parse(outcome), Ok(Outcome::Withdrawn));
}
