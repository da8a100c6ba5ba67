//! Random runs with liars among the replicas (C1, B18, B19).

use super::*;
use proptest::prelude::*;

/// One step of a random run.
#[derive(Clone, Debug)]
enum Step {
    Call { commands: usize, coalesce: bool },
    Honest { replica: usize },
    Lie { replica: usize, number: u64, kind: u8 },
    Link { replica: usize, up: bool },
    Wait { ms: u64 },
    Drained,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1usize..4, any::<bool>())
            .prop_map(|(commands, coalesce)| Step::Call { commands, coalesce }),
        6 => (0usize..5).prop_map(|replica| Step::Honest { replica }),
        4 => (0usize..5, 0u64..12, 0u8..6)
            .prop_map(|(replica, number, kind)| Step::Lie { replica, number, kind }),
        1 => (0usize..5, any::<bool>()).prop_map(|(replica, up)| Step::Link { replica, up }),
        1 => (1u64..150).prop_map(|ms| Step::Wait { ms }),
        4 => Just(Step::Drained),
    ]
}

/// What good replicas answer: a function of the request.
fn truth(q: &Request) -> Outcome {
    match q.number {
        0 => Outcome::Opened,
        _ => {
            let outputs: Vec<String> = commands(q).iter().map(|c| format!("did {c}")).collect();
            executed(&outputs.iter().map(String::as_str).collect::<Vec<_>>())
        }
    }
}

fn lie(w: &mut World, i: u8, q: &Request, kind: u8) {
    match kind {
        0 => w.say(i, q, &executed(&["lie"])),
        1 => w.say(i, q, &Outcome::Refused(Refusal::UnknownSession)),
        2 => w.note(i, q, NoteKind::Forbidden),
        3 => w.say_bytes(i, q, 9, truth(q).to_bytes()),
        4 => w.say_bytes(i, q, 0, Bytes::from_static(b"\xff")),
        _ => w.frame(i, Kind::Replies, Bytes::from_static(b"garbage")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// B18, B19, K17: whatever two liars of five say and whichever links break, every answer is
    /// the true one, every request keeps its bytes, low-water marks never pass a number that is
    /// still wanted, and once the three good replicas are up and answer every call is answered.
    #[test]
    fn c1_liars_change_no_answer(steps in proptest::collection::vec(step(), 1..150)) {
        let timeout = Duration::from_secs(3600);
        let mut w = World::dark(Setup { timeout, ..setup(2) });
        let good = |i: usize| i >= 2;
        let mut seen: std::collections::BTreeMap<u64, Request> = Default::default();
        let mut wanted = std::collections::BTreeMap::new();
        let mut token = 0;
        (1..=5).for_each(|i| w.up(i));
        let wrap_up = [Step::Drained, Step::Wait { ms: 300 }].into_iter().cycle().take(120);
        for (at, step) in steps.iter().cloned().chain(wrap_up).enumerate() {
            match step {
                Step::Call { commands, coalesce } => {
                    token += 1;
                    let texts: Vec<_> = (0..commands).map(|c| format!("{token}.{c}")).collect();
                    w.queue(token, &texts.iter().map(String::as_str).collect::<Vec<_>>(), coalesce);
                    wanted.insert(token, texts);
                }
                Step::Honest { replica } if good(replica) => {
                    let known: Vec<Request> = seen.values().cloned().collect();
                    known.iter().for_each(|q| w.say(replica as u8 + 1, q, &truth(q)));
                }
                Step::Lie { replica, number, kind } if !good(replica) => {
                    let q = seen.get(&number).cloned().unwrap_or(Request {
                        session: SESSION,
                        number,
                        low: 1,
                        body: RequestBody { commands: vec![command("?")] }.to_bytes(),
                    });
                    lie(&mut w, replica as u8 + 1, &q, kind);
                }
                Step::Link { replica, up: true } => w.up(replica as u8 + 1),
                Step::Link { replica, up: false } => w.down(replica as u8 + 1),
                Step::Wait { ms } => w.at(w.now + ms),
                Step::Drained => w.drained(),
                Step::Honest { .. } | Step::Lie { .. } => {}
            }
            for (_, frame) in std::mem::take(&mut w.sends) {
                for q in requests(&frame) {
                    prop_assert_eq!(q.session, SESSION);
                    prop_assert!(q.low <= q.number);
                    let over = |c: &String| {
                        let token = c.split('.').next().unwrap().parse::<u64>().unwrap();
                        w.done.iter().any(|(t, _)| *t == token)
                    };
                    let passed = seen.range(1..q.low.max(1)).map(|(_, p)| p);
                    let answered = passed.clone().all(|p| commands(p).iter().all(over));
                    prop_assert!(seen.contains_key(&q.number) || answered);
                    let before = seen.entry(q.number).or_insert_with(|| q.clone());
                    prop_assert_eq!(&*before, &q);
                }
            }
            if at >= steps.len() {
                for i in 3..=5 {
                    if !w.caller.links.is_up(r(i)) {
                        w.up(i);
                    }
                    let known: Vec<Request> = seen.values().cloned().collect();
                    known.iter().for_each(|q| w.say(i, q, &truth(q)));
                }
            }
        }
        prop_assert_eq!(w.done.len(), wanted.len());
        for (token, texts) in wanted {
            let expected: Vec<String> = texts.iter().map(|c| format!("did {c}")).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|o| o.as_bytes()).collect();
            prop_assert_eq!(w.outputs(token), expected);
        }
        let stats = w.caller.stats();
        prop_assert!(stats.replicas[2..].iter().all(|s| s.dissent == 0 && s.closed == 0));
    }

    /// Any bytes as any frame: nothing panics, and nothing is accepted from one replica.
    #[test]
    fn arbitrary_frames_do_no_harm(frames in proptest::collection::vec(
        (0usize..3, proptest::collection::vec(any::<u8>(), 0..200)), 1..40,
    )) {
        let mut w = World::open(setup(1));
        w.call(1, "x");
        for (kind, body) in frames {
            w.frame(2, [Kind::Replies, Kind::Note, Kind::Hello][kind], body.into());
            w.up(2);
        }
        prop_assert!(w.done.is_empty());
    }
}
