//! The map against the standard library's, and its copies against what they were copies of.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Act {
    Set(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// Keeps a copy, and lets go of the oldest if there are three.
    Copy,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few enough that keys are met again, enough for some branches; most begin like others for
    // longer than a lead, and some are others with zeros behind them.
    (0u16..300, 0usize..5).prop_map(|(n, form)| {
        let (n, same) = (n.to_be_bytes(), [b'k'; size_of::<Lead>()]);
        match form {
            0 => [&n[..]].concat(),
            1 => [&n[..], &[0; 3]].concat(),
            2 => [&same[..15], &n].concat(),
            _ => [&same[..], &n].concat(),
        }
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (key(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(k, v)| Act::Set(k, v)),
        6 => key().prop_map(Act::Remove),
        1 => Just(Act::Copy),
    ]
}

fn fill(pages: &mut Pages, keys: u16) {
    for n in 0..keys {
        assert!(pages.set(&n.to_be_bytes(), b"v").is_some());
    }
}

fn listed(pages: &Pages, from: Bound<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    pages.range(from).map(|e| (e.key().to_vec(), e.value().to_vec())).collect()
}

fn check(pages: &Pages, model: &Model) {
    let all: Vec<_> = model.clone().into_iter().collect();
    assert_eq!(listed(pages, Bound::Unbounded), all);
    let bytes: usize = model.iter().map(|(k, v)| k.len() + v.len()).sum();
    assert_eq!((pages.len(), pages.bytes()), (model.len(), bytes));
    let mut before: &[u8] = b"";
    for (branch, begins) in pages.branches.all().iter().zip(pages.branches.leads()) {
        assert!((1..=BRANCH).contains(&branch.len()));
        assert!(branch.all().iter().all(|page| (1..=PAGE).contains(&page.len())));
        assert!(lead(before) <= *begins && *begins <= branch.leads()[0]);
        for (page, begins) in branch.all().iter().zip(branch.leads()) {
            assert!(lead(before) <= *begins && *begins <= page.leads()[0]);
            assert!(page.all().iter().map(|e| lead(e.key())).eq(page.leads().iter().copied()));
            before = page.all().last().unwrap().key();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_an_ordered_map_and_its_copies_stay_as_they_were(
        acts in prop::collection::vec(act(), 1..800),
        probe in key(),
    ) {
        let (mut pages, mut model) = (Pages::default(), Model::new());
        let mut copies: Vec<(Pages, Model)> = Vec::new();
        for act in acts {
            match act {
                Act::Set(key, value) => {
                    pages.set(&key, &value);
                    model.insert(key, value);
                }
                Act::Remove(key) => {
                    prop_assert_eq!(pages.remove(&key).is_some(), model.remove(&key).is_some());
                }
                Act::Copy => {
                    copies.push((pages.clone(), model.clone()));
                    if copies.len() > 3 {
                        copies.remove(0);
                    }
                }
            }
        }
        check(&pages, &model);
        copies.iter().for_each(|(pages, model)| check(pages, model));
        for from in [Bound::Included(&probe[..]), Bound::Excluded(&probe[..])] {
            let range = model.range::<[u8], _>((from, Bound::Unbounded));
            let expected: Vec<_> = range.map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(listed(&pages, from), expected);
        }
        let value = pages.get(&probe).map(|e| e.value().to_vec());
        prop_assert_eq!(value.as_ref(), model.get(&probe));
    }
}

#[test]
fn what_comes_in_order_fills_its_pages() {
    let mut pages = Pages::default();
    fill(&mut pages, 200);
    let counts: Vec<usize> =
        pages.branches.all().iter().flat_map(|b| b.all().iter().map(|p| p.len())).collect();
    assert_eq!(counts, vec![PAGE; 200 / PAGE]);
}

#[test]
fn removing_most_entries_leaves_few_pages() {
    let mut pages = Pages::default();
    fill(&mut pages, 1000);
    (0u16..1000).filter(|n| n % PAGE as u16 != 0).for_each(|n| {
        assert!(pages.remove(&n.to_be_bytes()).is_some());
    });
    let (count, left) = (pages.branches.all().iter().map(|b| b.len()).sum::<usize>(), pages.len());
    assert!(left == 250 && count <= left, "{count} pages for {left} entries");
    (0u16..1000).for_each(|n| {
        pages.remove(&n.to_be_bytes());
    });
    assert!(pages.branches.all().is_empty() && pages.bytes() == 0);
}

/// What is remembered of where an entry was set may be outdated, and is no more than a hint.
#[test]
fn an_entry_is_found_near_any_spot() {
    let mut pages = Pages::default();
    let key = |n: u16| n.to_be_bytes();
    let spots: Vec<(u16, Spot)> =
        (0..300).map(|n| 7 * n).map(|n| (n, pages.set(&key(n), b"v").unwrap())).collect();
    for n in 0..2000 {
        pages.set(&key(n), b"w");
    }
    for n in 0..500 {
        pages.remove(&key(4 * n));
    }
    let mut moved = 0;
    for (n, spot) in spots.iter().chain(&[(9, Spot::new(99, 0, 0)), (9, Spot::new(0, 99, 99))]) {
        moved += u32::from(!pages.is_at(*spot, &key(*n)));
        let found = pages.get_mut_near(*spot, &key(*n)).map(|e| e.key().to_vec());
        assert_eq!(found, (n % 4 != 0 || *n >= 2000).then(|| key(*n).to_vec()));
    }
    assert!(moved > 2, "some are elsewhere now");
    let spot = pages.set(&key(5), b"x");
    assert!(spot.is_none(), "it is dirty already");
}

/// A write copies one page and one branch, and nothing else.
#[test]
fn a_copy_shares_all_but_what_was_written_since() {
    let mut pages = Pages::default();
    fill(&mut pages, 1000);
    let copy = pages.clone();
    pages.set(&500u16.to_be_bytes(), b"other");
    pages.get_mut_near(Spot::new(9, 9, 9), &500u16.to_be_bytes()).unwrap().digest = Digest([1; 32]);
    let shared = |a: &Pages| {
        let of_copy: Vec<_> = copy.branches.all().iter().flat_map(|b| b.all()).collect();
        let all = a.branches.all().iter().flat_map(|b| b.all());
        all.filter(|p| !of_copy.iter().any(|q| Arc::ptr_eq(p, q))).count()
    };
    assert_eq!(shared(&pages), 1);
    assert_eq!(copy.get(&500u16.to_be_bytes()).unwrap().value(), b"v");
}
