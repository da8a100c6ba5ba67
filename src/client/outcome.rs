//! What became of a request (rule C2).

use super::driver::{Core, What};
use super::handle::new_session;
use super::options::Begin;
use super::{Client, ClientError, ClientOptions, Explanation};
use crate::caller::{Answer, CallError, ChainCaller, RequestName, Start, VotingCaller};
use crate::config::{Cluster, FaultModel};
use crate::crypto::SecretKey;
use crate::types::{CallId, CallPart, ClientId, Instant};
use crate::wire::{Look, Looked, Outcome, Refusal, StepPosition};
use bytes::Bytes;

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It ran, and these are the outputs: of the call, if the id names one in a request.
    Executed {
        /// The outputs.
        outputs: Vec<Bytes>,
        /// The step that executed it, as in [`Answer`].
        position: StepPosition,
        /// Its index in the step.
        index: u32,
    },
    /// It had its turn, and came to this. [`Refusal::OutputTooLarge`] says that the commands ran;
    /// by any other they had no effect.
    Refused(Refusal),
    /// It has not run, and never will.
    NeverRuns,
    /// It has not run so far, and may yet: only from [`Client::peek`].
    NotYet,
    /// It ran, or was withdrawn, or its client said in some later request that it has the answer.
    /// Which of these is no longer known. It will not run any more.
    Gone,
    /// Its session is not open, and sessions of this client were evicted since the beginning: it
    /// may have run in one of these.
    Evicted,
}

/// A fate, and how it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What became of the request.
    pub fate: Fate,
    /// Who said so.
    pub explanation: Explanation,
}

/// Which request is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// One with an id.
    Id(CallId),
    /// One that was given a name.
    Name(RequestName),
}

/// Why nothing is known of a request.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No answer came.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The id names a chain that the cluster does not have.
    #[error("the id is of chain {0}, which the cluster file does not have")]
    NoChain(u32),
}

impl Client {
    /// Asks what became of a request of this client's key; if it has not run so far it is
    /// withdrawn, so that it never will. Somebody who still waits for it is told that. Takes links
    /// of its own, and an ordered request unless the reply is stored.
    ///
    /// What is found out is written into the state file, if there is one.
    ///
    /// # Errors
    /// If no answer comes in time: then nothing is known, and it may be asked again.
    pub async fn outcome(&self, id: CallId) -> Result<Told, OutcomeError> {
        let (cluster, key, options) = self.own();
        let told = Self::ask_outcome(cluster, key, options, &Which::Id(id)).await?;
        // Of a request whose session is lost nothing more will ever be known.
        self.settle(id.whole());
        Ok(told)
    }

    /// Looks at what became of a request so far, and changes nothing.
    ///
    /// # Errors
    /// As [`Client::outcome`].
    pub async fn peek(&self, id: CallId) -> Result<Told, OutcomeError> {
        let (cluster, key, options) = self.own();
        Self::look(cluster, key, options, &Which::Id(id)).await
    }

    /// As [`Client::outcome`], without a client that lives on.
    ///
    /// # Errors
    /// As [`Client::outcome`].
    pub async fn ask_outcome(
        cluster: &Cluster,
        key: &SecretKey,
        options: &ClientOptions,
        which: &Which,
    ) -> Result<Told, OutcomeError> {
        let mut last = None;
        for id in ids(cluster, &client_of(key), which) {
            let start = Start { first: id.number, cautious: true, ..Start::default() };
            let client = for_one(cluster, key, options, id, start)?;
            let answer = client.hand_over(What::Withdraw).await;
            client.close().await;
            // In which chain a name was used is not known: in the others it is withdrawn.
            if add(&mut last, withdrawn(answer, id.part)?) {
                break;
            }
        }
        last.ok_or(OutcomeError::NoChain(0))
    }

    /// As [`Client::peek`], without a client that lives on.
    ///
    /// # Errors
    /// As [`Client::peek`].
    pub async fn look(
        cluster: &Cluster,
        key: &SecretKey,
        options: &ClientOptions,
        which: &Which,
    ) -> Result<Told, OutcomeError> {
        let mut last = None;
        for id in ids(cluster, &client_of(key), which) {
            // If it has to be ordered, that must not take a number of the session looked at.
            let own = CallId { session: new_session()?, ..id };
            let client = for_one(cluster, key, options, own, Start::default())?;
            let look = Look { session: id.session, number: id.number };
            let answer = client.call(vec![look.to_command()]).await;
            client.close().await;
            if add(&mut last, looked(answer?, id.part)?) {
                break;
            }
        }
        last.ok_or(OutcomeError::NoChain(0))
    }
}

// Puts together what the chains say of one name; whether nothing more need be asked. That it cannot
// be known in one of them goes before that it did not run in another.
fn add(last: &mut Option<Told>, told: Told) -> bool {
    let runs = matches!(told.fate, Fate::Executed { .. } | Fate::Refused(_));
    let is_open = |told: &Told| matches!(told.fate, Fate::Gone | Fate::Evicted);
    if runs || !last.as_ref().is_some_and(is_open) {
        *last = Some(told);
    }
    runs
}

fn client_of(key: &SecretKey) -> ClientId {
    ClientId(key.public().0)
}

// Where a request may be: one with a name in any chain.
fn ids(cluster: &Cluster, client: &ClientId, which: &Which) -> Vec<CallId> {
    let name = match which {
        Which::Id(id) => return vec![*id],
        Which::Name(name) => name,
    };
    let chains = match cluster.fault_model {
        FaultModel::Byzantine => vec![0],
        FaultModel::FailStop => cluster.each_chain().iter().map(|c| c.number).collect(),
    };
    let begin = Begin::named(name, client);
    let id = |chain| CallId { chain, session: begin.of(chain).0, number: 1, part: None };
    chains.into_iter().map(id).collect()
}

// A client whose only session is that of a request.
fn for_one(
    cluster: &Cluster,
    key: &SecretKey,
    options: &ClientOptions,
    id: CallId,
    start: Start,
) -> Result<Client, OutcomeError> {
    let (client, begin) = (client_of(key), Instant(0));
    let core = match cluster.fault_model {
        FaultModel::Byzantine if id.chain > 0 => return Err(OutcomeError::NoChain(id.chain)),
        FaultModel::Byzantine => {
            let setup = options.setup(cluster, client, id.session);
            Core::Vote(VotingCaller::new(setup, begin).starting(start).into())
        }
        FaultModel::FailStop => {
            let chains = cluster.each_chain();
            let chain = chains.iter().find(|c| c.number == id.chain);
            let chain = chain.ok_or(OutcomeError::NoChain(id.chain))?;
            let setup = options.chain_setup(cluster, chain, client, id.session);
            Core::Chain(ChainCaller::new(setup, begin).starting(start).into())
        }
    };
    Ok(Client::start(cluster, key, options, core, None)?)
}

fn withdrawn(
    answer: Result<Answer, CallError>,
    part: Option<CallPart>,
) -> Result<Told, OutcomeError> {
    let (fate, explanation) = match answer {
        Ok(answer) => {
            let Answer { outputs, position, index, explanation, .. } = answer;
            let outputs = outputs_of(outputs, part, &explanation)?;
            (Fate::Executed { outputs, position, index }, explanation)
        }
        Err(CallError::Withdrawn { explanation }) => (Fate::NeverRuns, explanation),
        Err(CallError::Refused { why, explanation }) => (fate_of(why), explanation),
        Err(CallError::SessionLost { explanation }) => (Fate::Evicted, explanation),
        Err(other) => return Err(other.into()),
    };
    Ok(Told { fate, explanation })
}

fn fate_of(why: Refusal) -> Fate {
    match why {
        Refusal::UnknownSession => Fate::Evicted,
        // Asked for with the lowest mark that fits, the window does not end before a number that
        // was ever sent.
        Refusal::BeyondWindow => Fate::NotYet,
        Refusal::BelowLowWater | Refusal::ReplyGone => Fate::Gone,
        Refusal::Malformed | Refusal::OutputTooLarge | Refusal::ServicePanicked => {
            Fate::Refused(why)
        }
    }
}

fn looked(answer: Answer, part: Option<CallPart>) -> Result<Told, OutcomeError> {
    let explanation = answer.explanation;
    let unreadable =
        |explanation: &Explanation| CallError::Unreadable { explanation: explanation.clone() };
    let output = answer.outputs.first().map(|output| Looked::parse(output));
    let Some(Ok(looked)) = output else { return Err(unreadable(&explanation).into()) };
    let fate = match looked {
        Looked::NoSession { evicted: true } => Fate::Evicted,
        Looked::NoSession { evicted: false } | Looked::NotYet => Fate::NotYet,
        Looked::Gone => Fate::Gone,
        Looked::Stored { position, index, outcome } => match Outcome::parse(&outcome) {
            Ok(Outcome::Executed(outputs)) => {
                let outputs = outputs_of(outputs, part, &explanation)?;
                Fate::Executed { outputs, position, index }
            }
            Ok(Outcome::Withdrawn) => Fate::NeverRuns,
            Ok(Outcome::Refused(why)) => fate_of(why),
            Ok(Outcome::Opened) | Err(_) => return Err(unreadable(&explanation).into()),
        },
    };
    Ok(Told { fate, explanation })
}

// Those of one call.
fn outputs_of(
    outputs: Vec<Bytes>,
    part: Option<CallPart>,
    explanation: &Explanation,
) -> Result<Vec<Bytes>, CallError> {
    let Some(CallPart { first, count }) = part else { return Ok(outputs) };
    let (first, count) = (first as usize, count as usize);
    let own = outputs.get(first..first.saturating_add(count)).map(<[Bytes]>::to_vec);
    // The check of an id makes sure that it was this client's request.
    own.ok_or_else(|| CallError::Unreadable { explanation: explanation.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_names_its_outputs() {
        let outputs: Vec<Bytes> = ["a", "b", "c"].map(Bytes::from).to_vec();
        let part = |first, count| {
            let part = Some(CallPart { first, count });
            outputs_of(outputs.clone(), part, &Explanation::default()).ok()
        };
        assert_eq!(part(1, 2), Some(outputs[1..].to_vec()));
        assert_eq!(part(0, 1), Some(outputs[..1].to_vec()));
        assert_eq!((part(3, 1), part(2, 2), part(u32::MAX, u32::MAX)), (None, None, None));
    }

    #[test]
    fn of_several_chains_the_one_counts_in_which_it_ran_or_may_have() {
        let told = |fate: &Fate| Told { fate: fate.clone(), explanation: Explanation::default() };
        let refused = Fate::Refused(Refusal::Malformed);
        let (never, evicted) = (Fate::NeverRuns, Fate::Evicted);
        for (said, expected, asked) in [
            ([&never, &never, &never], &never, 3),
            ([&never, &evicted, &never], &evicted, 3),
            ([&evicted, &refused, &never], &refused, 2),
        ] {
            let (mut last, mut count) = (None, 0);
            for fate in said {
                count += 1;
                if add(&mut last, told(fate)) {
                    break;
                }
            }
            assert_eq!((last, count), (Some(told(expected)), asked));
        }
    }

    #[test]
    fn refusals_that_are_of_the_request_are_told_from_those_of_the_question() {
        for (why, fate) in [
            (Refusal::UnknownSession, Fate::Evicted),
            (Refusal::BelowLowWater, Fate::Gone),
            (Refusal::ReplyGone, Fate::Gone),
            (Refusal::BeyondWindow, Fate::NotYet),
            (Refusal::OutputTooLarge, Fate::Refused(Refusal::OutputTooLarge)),
        ] {
            let explanation = Explanation::default();
            let told = withdrawn(Err(CallError::Refused { why, explanation }), None).unwrap();
            assert_eq!(told.fate, fate);
        }
    }
}
