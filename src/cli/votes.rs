//! Who said what, as tables for people and as JSON.

use crate::service::kv;
use crate::types::Assurance;
use crate::voter::{Ballot, Explanation, Verdict, chain_text};
use crate::wire::Outcome;
use bytes::Bytes;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Characters of one answer that a table shows at most.
const SHOWN: usize = 60;

/// A table with one line a replica: verdict, time, answer. Of a fail-stop chain the chain is shown
/// above it.
pub(super) fn table(explanation: &Explanation) -> String {
    let (chain, verdicts) = match &explanation.chain {
        Some(config) => (format!("{}\n", chain_text(explanation.of_chain, config)), "part"),
        None => (String::new(), "verdict"),
    };
    let mut out = format!("{chain}{:<8} {verdicts:<8} {:>9}  {}\n", "replica", "after", "answer");
    let accepted = explanation.agreeing().len() >= explanation.needed;
    let waited = (!accepted).then_some(explanation.waited);
    for ballot in &explanation.ballots {
        let after = ballot.after.map_or_else(|| "-".to_owned(), |d| format!("{d:.1?}"));
        let verdict = match (&ballot.verdict, &explanation.chain) {
            (Verdict::Note(_), Some(_)) => "refuses",
            (other, _) => verdict(other),
        };
        let replica = ballot.replica.to_string();
        let answer = said(ballot, waited);
        writeln!(out, "{replica:<8} {verdict:<8} {after:>9}  {answer}")
            .expect("a string takes all");
    }
    if let Some(assurance) = explanation.assurance() {
        let (name, agree) = (assurance.name(), explanation.agreeing().len());
        let of = explanation.ballots.len();
        writeln!(out, "assurance: {name} ({agree} of {of})").expect("a string takes all");
    }
    out
}

/// Writes the same for programs into a document: under `votes`, or under `chain` where nobody
/// votes.
pub(super) fn put_json(explanation: &Explanation, document: &mut Value) {
    let Some(config) = &explanation.chain else {
        document["votes"] = json(explanation);
        return;
    };
    let members: Vec<u8> = config.members.iter().map(|m| m.replica.number()).collect();
    document["chain"] = json!({
        "number": explanation.of_chain,
        "configuration": config.number,
        "members": members,
        "waited_us": micros(explanation.waited),
        "sends": explanation.sends,
        "replicas": explanation.ballots.iter().map(ballot_json).collect::<Vec<_>>(),
    });
}

fn json(explanation: &Explanation) -> Value {
    let replicas: Vec<Value> = explanation.ballots.iter().map(ballot_json).collect();
    json!({
        "needed": explanation.needed,
        "assurance": explanation.assurance().map(Assurance::name),
        "waited_us": micros(explanation.waited),
        "sends": explanation.sends,
        "replicas": replicas,
    })
}

/// Bytes for programs: `{"text": ..}` if they are UTF-8, else `{"hex": ..}`.
pub(super) fn bytes_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>() }),
    }
}

/// Bytes for people on one line: what is not printable is escaped, as is the backslash.
pub(super) fn escape(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text
            .chars()
            .map(|c| match c.is_control() || c == '\\' {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            })
            .collect(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// An output of the key-value service for people on one line.
pub(super) fn output_text(output: &kv::Output) -> String {
    let quoted = |bytes: &Bytes| format!("\"{}\"", escape(bytes));
    match output {
        kv::Output::Done => "done".to_owned(),
        kv::Output::Value(value) => quoted(value),
        kv::Output::Missing => "no such key".to_owned(),
        kv::Output::Mismatch { current: Some(value) } => {
            format!("mismatch, the value is {}", quoted(value))
        }
        kv::Output::Mismatch { current: None } => "mismatch, there is no such key".to_owned(),
        kv::Output::Number(n) => n.to_string(),
        kv::Output::Entries { entries, more } => {
            let entries = entries.iter().map(|(k, v)| format!(" {}={}", quoted(k), quoted(v)));
            let more = if *more { " and more" } else { "" };
            format!("{} entries:{}{more}", entries.len(), entries.collect::<String>())
        }
        kv::Output::Time(time) => format!("time {time}"),
        kv::Output::Error(why) => format!("error: {}", escape(why.as_bytes())),
    }
}

/// An output of the key-value service for programs.
pub(super) fn output_json(output: &kv::Output) -> Value {
    match output {
        kv::Output::Done => json!({ "kind": "done" }),
        kv::Output::Value(value) => json!({ "kind": "value", "value": bytes_json(value) }),
        kv::Output::Missing => json!({ "kind": "missing" }),
        kv::Output::Mismatch { current } => {
            json!({ "kind": "mismatch", "current": current.as_deref().map(bytes_json) })
        }
        kv::Output::Number(n) => json!({ "kind": "number", "number": n }),
        kv::Output::Entries { entries, more } => {
            let entry =
                |(k, v): &(Bytes, Bytes)| json!({ "key": bytes_json(k), "value": bytes_json(v) });
            let entries: Vec<Value> = entries.iter().map(entry).collect();
            json!({ "kind": "entries", "entries": entries, "more": more })
        }
        kv::Output::Time(time) => json!({ "kind": "time", "time": time.0 }),
        kv::Output::Error(why) => json!({ "kind": "error", "error": why }),
    }
}

fn verdict(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "differs",
        Verdict::Silent { .. } => "silent",
        Verdict::Note(_) => "no vote",
        Verdict::Answers => "answers",
        Verdict::Refuses(_) => "refuses",
        Verdict::Asked | Verdict::NotAsked => "-",
    }
}

// `waited` is how long, if nothing was accepted.
fn said(ballot: &Ballot, waited: Option<Duration>) -> String {
    let mut text = match (&ballot.verdict, &ballot.outcome) {
        (Verdict::Note(note), _) => note.to_string(),
        (Verdict::Refuses(why), _) => why.to_string(),
        (Verdict::Asked, _) => "was asked; another gave the answer".to_owned(),
        (Verdict::NotAsked, _) => "was not asked".to_owned(),
        (Verdict::Silent { down_for: Some(d) }, _) => format!("no link for {d:.1?}"),
        (Verdict::Silent { down_for: None }, _) => match waited {
            Some(waited) => format!("its link is up, nothing came for {waited:.1?}"),
            None => "its link is up, the others were faster".to_owned(),
        },
        (_, None) => match &ballot.digest {
            Some(digest) => digest.to_string(),
            None => "its answer came after the majority had agreed".to_owned(),
        },
        (_, outcome) => outcome_text(outcome.as_ref().unwrap_or(&Bytes::new())),
    };
    text.push_str(&ballot.place());
    if ballot.rolled {
        text.push_str(", gave up an answer once");
    }
    if let Some(error) = &ballot.link_error {
        let _ = write!(text, ": {error}");
    }
    text
}

// The bytes may be a liar's: they may be nothing at all.
fn outcome_text(bytes: &Bytes) -> String {
    let text = match Outcome::parse(bytes) {
        Ok(Outcome::Opened) => "session opened".to_owned(),
        Ok(Outcome::Withdrawn) => "withdrawn".to_owned(),
        Ok(Outcome::Refused(why)) => format!("refused: {why}"),
        Ok(Outcome::Executed(outputs)) => {
            outputs.iter().map(some_output_text).collect::<Vec<_>>().join(", ")
        }
        Err(_) => format!("no outcome: \"{}\"", bytes.escape_ascii()),
    };
    shorten(text)
}

fn some_output_text(bytes: &Bytes) -> String {
    match kv::Output::parse(bytes) {
        Ok(output) => output_text(&output),
        Err(_) => format!("no output of kv: \"{}\"", bytes.escape_ascii()),
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}... ({} bytes)", &text[..at], text.len()),
        None => text,
    }
}

fn ballot_json(ballot: &Ballot) -> Value {
    let mut out = json!({ "replica": ballot.replica.number() });
    let mut set = |key: &str, value: Value| out[key] = value;
    match &ballot.verdict {
        Verdict::Agrees => set("verdict", "agrees".into()),
        Verdict::Differs => set("verdict", "differs".into()),
        Verdict::Silent { down_for } => {
            set("verdict", "silent".into());
            set("down_for_us", down_for.map(micros).into());
        }
        Verdict::Note(note) => {
            set("verdict", "note".into());
            set("note", note.to_string().into());
        }
        Verdict::Answers => set("verdict", "answers".into()),
        Verdict::Refuses(why) => {
            set("verdict", "refuses".into());
            set("refusal", why.to_string().into());
        }
        Verdict::Asked => set("verdict", "asked".into()),
        Verdict::NotAsked => set("verdict", "not asked".into()),
    }
    set("after_us", ballot.after.map(micros).into());
    if let (Some(position), Verdict::Answers) = (ballot.position, &ballot.verdict) {
        set("number", position.round.0.into());
    } else if let Some(position) = ballot.position {
        set("round", position.round.0.into());
        set("vector", position.vector.to_hex().into());
        set("index", ballot.index.into());
    }
    if let Some(outcome) = &ballot.outcome {
        set("outcome", outcome_json(outcome));
    }
    if let Some(shown) = &ballot.digest {
        set("digest", shown.digest.output.to_hex().into());
        set("digest_of_bytes", shown.digest.bytes.into());
        set("digest_has_whole", shown.has_whole.into());
    }
    if let Some(error) = &ballot.link_error {
        set("link_error", (**error).into());
    }
    out
}

fn outcome_json(bytes: &Bytes) -> Value {
    match Outcome::parse(bytes) {
        Ok(Outcome::Opened) => json!({ "opened": true }),
        Ok(Outcome::Withdrawn) => json!({ "withdrawn": true }),
        Ok(Outcome::Refused(why)) => json!({ "refused": why.to_string() }),
        Ok(Outcome::Executed(outputs)) => {
            let output = |bytes: &Bytes| match kv::Output::parse(bytes) {
                Ok(output) => output_json(&output),
                Err(_) => json!({ "kind": "unreadable", "bytes": bytes_json(bytes) }),
            };
            json!({ "outputs": outputs.iter().map(output).collect::<Vec<_>>() })
        }
        Err(_) => json!({ "unreadable": bytes_json(bytes) }),
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Digest, ReplicaId, Round};
    use crate::wire::{ChainConfig, ChainMember, ChainRefusal, NoteKind, StepPosition};

    fn explanation() -> Explanation {
        let ballot = |n, verdict, outcome: Option<Bytes>| Ballot {
            rolled: false,
            replica: ReplicaId::new(n).unwrap(),
            verdict,
            after: outcome.as_ref().map(|_| Duration::from_micros(1500)),
            position: outcome
                .as_ref()
                .map(|_| StepPosition { round: Round(4), vector: Digest([0xab; 32]) }),
            index: outcome.as_ref().map(|_| 1),
            outcome,
            digest: None,
            link_error: None,
        };
        let value = |bytes: &'static [u8]| {
            let output = kv::Output::Value(Bytes::from_static(bytes)).encode();
            Some(Outcome::Executed(vec![output.into()]).to_bytes())
        };
        let down_for = Some(Duration::from_secs(3));
        let ballots = vec![
            ballot(1, Verdict::Agrees, value(b"41")),
            ballot(2, Verdict::Differs, value(b"\x1b[2J\xff")),
            ballot(3, Verdict::Differs, Some(Bytes::from_static(b"\x1b]junk"))),
            Ballot {
                link_error: Some("no answer".into()),
                ..ballot(4, Verdict::Silent { down_for }, None)
            },
            ballot(5, Verdict::Note(NoteKind::Busy), None),
        ];
        let waited = Duration::from_secs(9);
        Explanation { needed: 3, waited, sends: 2, ballots, ..Explanation::default() }
    }

    #[test]
    fn c2_people_get_a_table_without_control_characters() {
        let table = table(&explanation());
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("R1       agrees       1.5ms  \"41\" (round 4, vector abab"));
        assert!(lines[2].contains(r#"differs      1.5ms  "\x1b[2J\xff" (round"#), "{}", lines[2]);
        assert!(lines[3].contains(r#"no outcome: "\x1b]junk""#), "{}", lines[3]);
        assert!(lines[4].contains("silent           -  no link for 3.0s: no answer"));
        assert!(lines[5].contains("no vote          -  busy"), "{}", lines[5]);
        assert!(!table.replace('\n', "").contains(char::is_control));
    }

    #[test]
    fn who_is_only_slower_is_not_called_broken() {
        let mut explanation = explanation();
        explanation.ballots[3].verdict = Verdict::Silent { down_for: None };
        assert!(table(&explanation).contains("its link is up, nothing came for 9.0s"));
        explanation.needed = 1;
        assert!(table(&explanation).contains("its link is up, the others were faster"));
    }

    #[test]
    fn who_was_late_has_a_verdict_and_no_outcome() {
        let mut explanation = explanation();
        explanation.ballots[1] = Ballot {
            after: None,
            position: None,
            index: None,
            outcome: None,
            ..explanation.ballots[1].clone()
        };
        let table = table(&explanation);
        let late = "R2       differs          -  its answer came after the majority had agreed";
        assert!(table.contains(late), "{table}");
    }

    #[test]
    fn programs_get_all_of_it() {
        let json = json(&explanation());
        let replicas = &json["replicas"];
        assert_eq!(replicas[0]["outcome"]["outputs"][0]["value"]["text"], "41");
        assert_eq!(replicas[1]["outcome"]["outputs"][0]["value"]["hex"], "1b5b324aff");
        assert_eq!(replicas[2]["outcome"]["unreadable"]["text"], "\u{1b}]junk");
        assert_eq!(replicas[3]["down_for_us"], 3_000_000);
        assert_eq!(replicas[3]["link_error"], "no answer");
        assert_eq!(replicas[4]["verdict"], "note");
        assert_eq!((&json["needed"], &json["sends"]), (&json!(3), &json!(2)));
    }

    #[test]
    fn a_chain_is_explained_without_votes() {
        let member = |n| ChainMember { replica: ReplicaId::new(n).unwrap(), incarnation: 1 };
        let config = ChainConfig { number: 7, members: vec![member(2), member(1)], joining: None };
        let mut said = Explanation { needed: 1, chain: Some(config.into()), ..explanation() };
        said.ballots[0].verdict = Verdict::Answers;
        said.ballots[1] = Ballot::without_answer(said.ballots[1].replica, Verdict::Asked);
        let why = ChainRefusal::NotServing;
        said.ballots[2] = Ballot::without_answer(said.ballots[2].replica, Verdict::Refuses(why));
        let text = table(&said);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "chain of configuration 7: R2 (head), R1 (tail)");
        assert_eq!(lines[2], "R1       answers      1.5ms  \"41\" (update 4)");
        assert!(lines[3].ends_with("was asked; another gave the answer"), "{}", lines[3]);
        assert_eq!(lines[4], "R3       refuses          -  not serving at present");
        assert!(lines[6].contains("R5       refuses          -  busy"), "{}", lines[6]);
        assert!(!text.contains("vote") && !text.contains("equal"), "{text}");
        let mut document = json!({});
        put_json(&said, &mut document);
        let chain = &document["chain"];
        assert_eq!((&chain["configuration"], &chain["members"]), (&json!(7), &json!([2, 1])));
        assert_eq!(chain["replicas"][0]["number"], 4);
        assert_eq!(chain["replicas"][2]["refusal"], "not serving at present");
        assert_eq!(document.get("votes"), None);
    }

    #[test]
    fn long_answers_are_shortened_and_utf8_is_kept() {
        let long = shorten("ä".repeat(100));
        assert!(long.ends_with("... (200 bytes)") && long.chars().count() < 80);
        assert_eq!(escape("Zürich\n\\".as_bytes()), r"Zürich\n\\");
    }
}
