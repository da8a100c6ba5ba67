//! Who answered what and when (rule C2).

use crate::types::{Assurance, CallId, Digest, Ensemble, Members, ReplicaId, Round};
use crate::wire::{ChainConfig, ChainRefusal, NoteKind, Outcome, OutcomeDigest, StepPosition};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one output that a line shows at most.
const SHOWN: usize = 40;

/// What one replica's answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal to what was accepted.
    Agrees,
    /// Not equal to what was accepted (or, while nothing is accepted, to the largest bucket).
    Differs,
    /// Nothing came; the link has been down for so long, if it is down.
    Silent {
        /// How long the link has been down.
        down_for: Option<Duration>,
    },
    /// A note outside of the order, which is no vote.
    Note(NoteKind),
    /// In a fail-stop chain: its answer is the one that was taken. The round of its position is
    /// the number of the update, or how many the state had executed that a query was asked of.
    Answers,
    /// In a fail-stop chain: it would not do it, and nothing was done there.
    Refuses(ChainRefusal),
    /// In a fail-stop chain: it was asked, and another gave the answer, as when the head passes an
    /// update on.
    Asked,
    /// In a fail-stop chain: it was not asked, and nothing was to come from it.
    NotAsked,
}

/// The digest of a large outcome, of which another replica was to send the whole (C3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestShown {
    /// The digest, and how many bytes it stands for.
    pub digest: OutcomeDigest,
    /// Whether somebody sent what it stands for.
    pub has_whole: bool,
}

impl fmt::Display for DigestShown {
    /// As in `digest 0a1b2c3d4e5f6071 of 65541 bytes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutcomeDigest { output, bytes } = self.digest;
        write!(f, "digest {output} of {bytes} bytes")?;
        match self.has_whole {
            true => Ok(()),
            false => write!(f, ", of which nobody sent the whole"),
        }
    }
}

/// One replica's part in an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Which replica.
    pub replica: ReplicaId,
    /// What its answer is worth.
    pub verdict: Verdict,
    /// When it came, counted from when the request was first sent.
    pub after: Option<Duration>,
    /// The position it named.
    pub position: Option<StepPosition>,
    /// The index in the step it named.
    pub index: Option<u32>,
    /// The outcome's bytes it gave ([`crate::wire::Outcome`]).
    pub outcome: Option<Bytes>,
    /// What it gave in place of them (C3).
    pub digest: Option<DigestShown>,
    /// Whether it says that it gave up, at some time, something that it had answered (§7).
    pub rolled: bool,
    /// Why there is no link to the replica, as far as the driver knows; the cores leave it empty.
    pub link_error: Option<Arc<str>>,
}

impl Ballot {
    /// The ballot of a replica whose answer is not known.
    pub fn without_answer(replica: ReplicaId, verdict: Verdict) -> Self {
        Self {
            replica,
            verdict,
            after: None,
            position: None,
            index: None,
            outcome: None,
            digest: None,
            rolled: false,
            link_error: None,
        }
    }
}

/// Why an answer was accepted, or was not: one ballot a replica, in the roster's order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Explanation {
    /// Equal replies needed.
    pub needed: usize,
    /// How long the caller waited.
    pub waited: Duration,
    /// How often the request was sent. 0: never, it waited for requests before it; the ballots
    /// are those of the first of these.
    pub sends: u32,
    /// The ballots.
    pub ballots: Vec<Ballot>,
    /// In a fail-stop chain: the newest configuration that the client knew, with number 0 if none.
    /// `None` where replicas vote.
    pub chain: Option<Box<ChainConfig>>,
    /// The number of that chain, where a cluster has several.
    pub of_chain: Option<u32>,
    /// The id of the call, by which can be asked later what became of it; `None` if it never was
    /// in a request with a number, as queries that are not ordered.
    pub id: Option<CallId>,
}

impl Explanation {
    /// Whose replies equal what was accepted (or the largest bucket, while nothing is). In a
    /// fail-stop chain: whose answer was taken.
    pub fn agreeing(&self) -> Members {
        self.members(|v| matches!(v, Verdict::Agrees | Verdict::Answers))
    }

    /// Whose replies differ from that.
    pub fn dissenting(&self) -> Members {
        self.members(|v| matches!(v, Verdict::Differs))
    }

    /// Who has said nothing at all.
    pub fn silent(&self) -> Members {
        self.members(|v| matches!(v, Verdict::Silent { .. }))
    }

    /// How sure what was accepted is, whatever was asked for; `None` if no majority says the same,
    /// and in a fail-stop chain. A reply that came after the answer was accepted is not counted.
    pub fn assurance(&self) -> Option<Assurance> {
        if self.chain.is_some() {
            return None;
        }
        let t = u8::try_from(self.ballots.len().saturating_sub(1) / 2).ok()?;
        let ensemble = Ensemble::new(t)?;
        let agrees = |b: &&Ballot| {
            b.verdict == Verdict::Agrees && (b.outcome.is_some() || b.digest.is_some())
        };
        let agreeing = self.ballots.iter().filter(agrees);
        let strong = agreeing.clone().filter(|b| !b.rolled).count() >= ensemble.strong();
        match strong {
            true => Some(Assurance::Strong),
            false if agreeing.count() >= ensemble.majority() => Some(Assurance::Majority),
            false => None,
        }
    }

    fn members(&self, which: impl Fn(&Verdict) -> bool) -> Members {
        self.ballots.iter().filter(|b| which(&b.verdict)).map(|b| b.replica).collect()
    }
}

impl fmt::Display for Explanation {
    /// One line a replica, for people. What replicas sent is shortened and escaped. Before them,
    /// in a fail-stop chain, a line with the chain as the client knows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.chain.iter().map(|config| chain_text(self.of_chain, config));
        let votes = self.chain.is_none();
        let ballots = self.ballots.iter().map(|ballot| Line { ballot, votes }.to_string());
        for (i, line) in chain.chain(ballots).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Ballot {
    /// As in `R2 differs after 1.2ms: "41" (round 17, vector 0a1b2c3d4e5f6071, index 0)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line { ballot: self, votes: true }.fmt(f)
    }
}

// A ballot, in a group that votes or in a chain, where nobody does.
struct Line<'a> {
    ballot: &'a Ballot,
    votes: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ballot, votes } = self;
        write!(f, "{} ", ballot.replica)?;
        match &ballot.verdict {
            Verdict::Agrees => write!(f, "agrees")?,
            Verdict::Differs => write!(f, "differs")?,
            Verdict::Silent { down_for: None } => write!(f, "silent, its link is up")?,
            Verdict::Silent { down_for: Some(d) } => write!(f, "silent, no link for {d:.1?}")?,
            Verdict::Note(kind) if *votes => write!(f, "does not vote ({kind})")?,
            Verdict::Note(kind) => write!(f, "refuses ({kind})")?,
            Verdict::Answers => write!(f, "answers")?,
            Verdict::Refuses(why) => write!(f, "refuses ({why})")?,
            Verdict::Asked => write!(f, "was asked")?,
            Verdict::NotAsked => write!(f, "was not asked")?,
        }
        if let Some(after) = ballot.after {
            write!(f, " after {after:.1?}")?;
        }
        if let Some(error) = &ballot.link_error {
            write!(f, ": {error}")?;
        }
        if let Some(outcome) = &ballot.outcome {
            write!(f, ": ")?;
            write_outcome(f, outcome)?;
        }
        if let Some(digest) = &ballot.digest {
            write!(f, ": {digest}")?;
        }
        write!(f, "{}", ballot.place())
    }
}

impl Ballot {
    /// Where in the order the answer stands, in brackets behind a space; empty if it gave none.
    pub fn place(&self) -> String {
        match (self.position, self.index) {
            (Some(p), _) if self.verdict == Verdict::Answers => format!(" (update {})", p.round),
            (Some(p), _) if p.round == Round(0) && p.vector == Digest::ZERO => {
                " (answered before the cluster was converted)".to_owned()
            }
            // Q1: the answer to a query names its opening and no round.
            (Some(p), _) if p.round == Round(0) => format!(" (not ordered, opening {})", p.vector),
            (Some(p), Some(index)) => {
                format!(" (round {}, vector {}, index {index})", p.round, p.vector)
            }
            _ => String::new(),
        }
    }
}

/// A chain for people: `chain of configuration 3: R2 (head), R3, R1 (tail)`, or `chain 1 of ...`
/// where there are several.
pub fn chain_text(number: Option<u32>, config: &ChainConfig) -> String {
    let chain = number.map_or_else(|| "chain".to_owned(), |number| format!("chain {number}"));
    if config.number == 0 {
        return format!("the master has not said yet who is in the {chain}");
    }
    let last = config.members.len().saturating_sub(1);
    let place = |i: usize| match (i == 0, i == last) {
        (true, true) => " (head and tail)",
        (true, false) => " (head)",
        (false, true) => " (tail)",
        (false, false) => "",
    };
    let members = config.members.iter().enumerate();
    let members: Vec<String> = members.map(|(i, m)| format!("{}{}", m.replica, place(i))).collect();
    format!("{chain} of configuration {}: {}", config.number, members.join(", "))
}

// The bytes may be a liar's: they may be no outcome at all.
fn write_outcome(f: &mut fmt::Formatter<'_>, bytes: &Bytes) -> fmt::Result {
    match Outcome::parse(bytes) {
        Ok(Outcome::Opened) => write!(f, "session opened"),
        Ok(Outcome::Withdrawn) => write!(f, "withdrawn"),
        Ok(Outcome::Refused(why)) => write!(f, "refused: {why}"),
        Ok(Outcome::Executed(outputs)) => match outputs.as_slice() {
            [one] => write_bytes(f, one),
            [first, rest @ ..] => {
                write_bytes(f, first)?;
                write!(f, " and {} more", rest.len())
            }
            [] => write!(f, "no output"),
        },
        Err(_) => {
            write!(f, "no outcome: ")?;
            write_bytes(f, bytes)
        }
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    write!(f, "\"{}\"", shown.escape_ascii())?;
    if shown.len() < bytes.len() {
        write!(f, "... ({} bytes)", bytes.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Digest, Round};

    fn ballot(number: u8, verdict: Verdict, outcome: Option<Bytes>) -> Ballot {
        let position = StepPosition { round: Round(17), vector: Digest([0xab; 32]) };
        let voted = outcome.is_some();
        Ballot {
            rolled: false,
            replica: ReplicaId::new(number).unwrap(),
            verdict,
            after: voted.then_some(Duration::from_micros(1250)),
            position: voted.then_some(position),
            index: voted.then_some(3),
            outcome,
            digest: None,
            link_error: None,
        }
    }

    #[test]
    fn c2_people_get_one_line_a_replica() {
        let out = |b: &[u8]| Outcome::Executed(vec![Bytes::copy_from_slice(b)]).to_bytes();
        let long = "x".repeat(1000);
        let down_for = Some(Duration::from_millis(3200));
        let ballots = vec![
            ballot(1, Verdict::Agrees, Some(out(b"41"))),
            ballot(2, Verdict::Differs, Some(Bytes::from_static(b"\x1b[2J\n"))),
            ballot(3, Verdict::Silent { down_for }, None),
            ballot(4, Verdict::Silent { down_for: None }, None),
            ballot(5, Verdict::Note(NoteKind::Busy), None),
            ballot(6, Verdict::Differs, Some(out(long.as_bytes()))),
            Ballot {
                link_error: Some("no answer from 127.0.0.1:7101".into()),
                ..ballot(7, Verdict::Silent { down_for }, None)
            },
        ];
        let text = Explanation { ballots, ..Explanation::default() }.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let place = "(round 17, vector abababababababab, index 3)";
        assert_eq!(lines[0], format!("R1 agrees after 1.2ms: \"41\" {place}"));
        let no_outcome = r#"no outcome: "\x1b[2J\n""#;
        assert_eq!(lines[1], format!("R2 differs after 1.2ms: {no_outcome} {place}"));
        assert_eq!(lines[2], "R3 silent, no link for 3.2s");
        assert_eq!(lines[3], "R4 silent, its link is up");
        assert!(lines[4].starts_with("R5 does not vote (busy: "), "{}", lines[4]);
        assert!(lines[5].contains("... (1000 bytes)") && lines[5].len() < 160, "{}", lines[5]);
        assert_eq!(lines[6], "R7 silent, no link for 3.2s: no answer from 127.0.0.1:7101");
        assert_eq!(lines.len(), 7);
    }
}
