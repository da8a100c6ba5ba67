use super::*;
use crate::simulator::Dice;

/// A register of small numbers that starts as 0.
#[derive(Clone, Debug)]
struct Register;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Read,
    Write(u8),
    Add,
}

impl Model for Register {
    type Op = Op;
    type Out = u8;
    type State = u8;

    fn apply(state: &mut u8, op: &Op) -> u8 {
        match op {
            Op::Read => *state,
            Op::Write(n) => std::mem::replace(state, *n),
            Op::Add => {
                *state += 1;
                *state
            }
        }
    }

    fn keys(_: &Op) -> Option<Vec<Vec<u8>>> {
        Some(vec![b"r".to_vec()])
    }
}

type History = Vec<Operation<Register>>;

/// Tries every order of every choice of unanswered operations, by the definition.
fn brute_force(history: &History, placed: &mut Vec<usize>, state: u8) -> bool {
    let left = |i: &usize| !placed.contains(i);
    let rest: Vec<usize> = (0..history.len()).filter(left).collect();
    if rest.iter().all(|&i| history[i].answered.is_none()) {
        return true;
    }
    rest.iter().any(|&i| {
        let precedes =
            |j: usize| history[j].answered.as_ref().is_some_and(|(at, _)| *at < history[i].invoked);
        if rest.iter().any(|&j| precedes(j)) {
            return false;
        }
        let mut state = state;
        let out = Register::apply(&mut state, &history[i].op);
        if history[i].answered.as_ref().is_some_and(|(_, said)| *said != out) {
            return false;
        }
        placed.push(i);
        let found = brute_force(history, placed, state);
        placed.pop();
        found
    })
}

/// Every way in which `n` intervals can lie: operation `i` is the `i`-th invoked.
fn shapes(n: usize) -> Vec<Vec<(u64, u64)>> {
    fn extend(
        open: Vec<usize>,
        at: u64,
        n: usize,
        cut: Vec<(u64, u64)>,
        out: &mut Vec<Vec<(u64, u64)>>,
    ) {
        if cut.len() == n && open.is_empty() {
            out.push(cut);
            return;
        }
        if cut.len() < n {
            let (mut open, mut longer) = (open.clone(), cut.clone());
            open.push(cut.len());
            longer.push((at, 0));
            extend(open, at + 1, n, longer, out);
        }
        for k in 0..open.len() {
            let (mut open, mut cut) = (open.clone(), cut.clone());
            cut[open.remove(k)].1 = at;
            extend(open, at + 1, n, cut, out);
        }
    }
    let mut out = Vec::new();
    extend(Vec::new(), 1, n, Vec::new(), &mut out);
    out
}

/// The kinds of operations histories are made of: (op, answer); `None` is never answered.
const KINDS: [(Op, Option<u8>); 7] = [
    (Op::Read, Some(0)),
    (Op::Read, Some(1)),
    (Op::Write(1), Some(0)),
    (Op::Add, Some(1)),
    (Op::Add, Some(2)),
    (Op::Write(1), None),
    (Op::Add, None),
];

fn history(shape: &[(u64, u64)], kinds: &[usize]) -> History {
    let both = shape.iter().zip(kinds);
    both.map(|(&(invoked, until), &k)| Operation {
        invoked,
        answered: KINDS[k].1.map(|out| (until, out)),
        op: KINDS[k].0,
    })
    .collect()
}

fn compare(h: &History) -> bool {
    let expected = brute_force(h, &mut Vec::new(), 0);
    match search(h, 1_000_000) {
        Verdict::Linearizable => assert!(expected, "{h:?}"),
        Verdict::NotLinearizable(_) => assert!(!expected, "{h:?}"),
        Verdict::Unknown => panic!("so few operations need no million steps"),
    }
    expected
}

#[test]
fn the_search_agrees_with_brute_force_on_all_histories_of_up_to_four_operations() {
    let (mut good, mut bad) = (0, 0);
    for n in 1..=4u32 {
        for shape in shapes(n as usize) {
            for number in 0..KINDS.len().pow(n) {
                let digit = |i| number / KINDS.len().pow(i) % KINDS.len();
                let kinds: Vec<usize> = (0..n).map(digit).collect();
                *(if compare(&history(&shape, &kinds)) { &mut good } else { &mut bad }) += 1;
            }
        }
    }
    assert!(good > 10_000 && bad > 10_000, "{good} {bad}");
}

#[test]
fn the_search_agrees_with_brute_force_on_every_shape_of_five_and_six_operations() {
    let mut dice = Dice::new(1, 0);
    for (n, each) in [(5, 40), (6, 4)] {
        for shape in shapes(n) {
            for _ in 0..each {
                let kinds: Vec<usize> = (0..n).map(|_| dice.below(7) as usize).collect();
                compare(&history(&shape, &kinds));
            }
        }
    }
}

#[test]
fn there_are_as_many_shapes_as_ways_to_pair_two_n_points() {
    assert_eq!([1, 2, 3, 4, 5].map(|n| shapes(n).len()), [1, 3, 15, 105, 945]);
}

fn op(invoked: u64, answered: u64, op: Op, out: u8) -> Operation<Register> {
    Operation { invoked, answered: Some((answered, out)), op }
}

#[test]
fn a_stale_read_is_found() {
    let h = vec![op(1, 2, Op::Write(1), 0), op(3, 4, Op::Read, 0)];
    assert_eq!(search(&h, 1000), Verdict::NotLinearizable(vec![0, 1]));
    let overlapping = vec![op(1, 4, Op::Write(1), 0), op(2, 3, Op::Read, 0)];
    assert_eq!(search(&overlapping, 1000), Verdict::Linearizable);
}

#[test]
fn a_search_that_is_too_long_is_unknown_and_not_good() {
    let open = |n| Operation { invoked: 1, answered: None, op: Op::Write(n) };
    let mut h: History = (1..12).map(open).collect();
    h.push(op(2, 9, Op::Read, 99));
    assert_eq!(search(&h, 50), Verdict::Unknown);
    assert!(matches!(search(&h, 1_000_000), Verdict::NotLinearizable(_)));
}

#[test]
fn long_histories_of_few_clients_are_searched_quickly() {
    let mut dice = Dice::new(5, 0);
    let (mut state, mut h) = (0u8, History::new());
    for i in 0..3000u64 {
        let what = if dice.chance(500) { Op::Read } else { Op::Write(dice.below(5) as u8) };
        let out = Register::apply(&mut state, &what);
        // Operation i takes effect at 10 i + 10 and overlaps its neighbours.
        h.push(op(10 * i + 10 - dice.below(10), 10 * i + 11 + dice.below(25), what, out));
    }
    assert_eq!(search(&h, 1_000_000), Verdict::Linearizable);
    h[2000].answered = Some((20_030, 77));
    assert!(matches!(search(&h, 10_000_000), Verdict::NotLinearizable(_)));
}

fn placed(request: u32, what: Op, out: u8) -> Placed<u32, Register> {
    Placed { request, ops: vec![what], effect: Effected::Answered(vec![out]) }
}

fn call(invoked: u64, answered: u64, out: u8) -> Call<u8> {
    Call { invoked, answered: Some((answered, Effected::Answered(vec![out]))) }
}

#[test]
fn a_witness_is_checked_for_outputs_real_time_and_presence() {
    let order = [placed(1, Op::Write(3), 0), placed(2, Op::Read, 3)];
    let calls = BTreeMap::from([(1, call(1, 5, 0)), (2, call(2, 6, 3))]);
    assert_eq!(witness(&order, &calls), Ok(()));

    let wrong = [placed(1, Op::Write(3), 0), placed(2, Op::Read, 0)];
    assert!(witness(&wrong, &BTreeMap::new()).unwrap_err().contains("a correct machine"));

    let lied = BTreeMap::from([(2, call(2, 6, 4))]);
    assert!(witness(&order, &lied).unwrap_err().contains("was answered"));

    // Request 2 was answered before request 1 was invoked, but stands after it.
    let late = BTreeMap::from([(1, call(7, 9, 0)), (2, call(2, 6, 3))]);
    assert!(witness(&order, &late).unwrap_err().contains("stands before"));

    let lost = BTreeMap::from([(9, call(1, 2, 0))]);
    assert!(witness(&order, &lost).unwrap_err().contains("stands nowhere"));

    let twice = [placed(1, Op::Write(3), 0), placed(1, Op::Write(3), 3)];
    assert!(witness(&twice, &BTreeMap::new()).unwrap_err().contains("twice"));
}

#[test]
fn what_had_no_effect_changes_nothing_and_withheld_outputs_do() {
    let order = [
        Placed { request: 1, ops: vec![Op::Write(3)], effect: Effected::Nothing },
        Placed { request: 2, ops: vec![Op::Write(4)], effect: Effected::Ran },
        placed(3, Op::Read, 4),
    ];
    assert_eq!(witness::<_, Register>(&order, &BTreeMap::new()), Ok(()));
}

/// Whatever a sound witness accepts, the search accepts.
#[test]
fn the_witness_and_the_search_agree_on_random_histories() {
    let mut dice = Dice::new(2, 0);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..2000 {
        let (mut state, mut order, mut calls, mut h) = (0, vec![], BTreeMap::new(), vec![]);
        for i in 0..6u64 {
            let what = *dice.pick(&[Op::Read, Op::Write(1), Op::Write(2), Op::Add]);
            let mut out = Register::apply(&mut state, &what);
            if dice.chance(20) {
                out = 9;
            }
            let invoked = 10 * i + dice.below(15);
            let answered = 10 * i + 15 + dice.below(20);
            order.push(placed(i as u32, what, out));
            calls.insert(i as u32, call(invoked, answered, out));
            h.push(op(invoked, answered, what, out));
        }
        match witness(&order, &calls) {
            Ok(()) => {
                good += 1;
                assert_eq!(search(&h, 1_000_000), Verdict::Linearizable, "{h:?}");
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 100 && bad > 100, "{good} {bad}");
}

/// Reads that stand in no order: what they show has to be a state that real time allows.
#[test]
fn reads_show_a_state_that_real_time_allows() {
    let order = [1, 2, 3].map(|n| placed(u32::from(n), Op::Write(n), n - 1));
    let done = |n: u8, invoked, at| Call {
        invoked,
        answered: Some((at, Effected::Answered(vec![n - 1]))),
    };
    let calls = BTreeMap::from([(1, done(1, 0, 10)), (2, done(2, 20, 30)), (3, done(3, 40, 50))]);
    let read = |invoked, answered, value| {
        let told = vec![(Op::Read, value)];
        super::Read::<Register> { invoked, answered, told }
    };
    let check = |list| reads(&order, &calls, list);
    for good in [
        vec![read(11, 12, 1)],
        vec![read(25, 26, 1), read(25, 27, 2)],
        vec![read(25, 26, 2), read(27, 28, 2), read(31, 45, 3)],
        vec![read(5, 100, 1), read(5, 100, 3)],
    ] {
        check(good.clone()).unwrap_or_else(|why| panic!("{good:?}: {why}"));
    }
    for bad in [
        // What is over.
        vec![read(31, 32, 1)],
        // What is to come.
        vec![read(11, 12, 2)],
        // Back in time, in two reads.
        vec![read(25, 26, 2), read(27, 28, 1)],
        // What never was.
        vec![read(0, 100, 4)],
    ] {
        assert!(check(bad.clone()).is_err(), "{bad:?}");
    }
}
