//! The explorer itself: it finds what is planted, and nothing else.

use super::*;

#[test]
fn nothing_goes_wrong_in_a_friendly_world() {
    for options in [Options::one_liar(0), Options::one_crash(0), Options::no_delta(0)] {
        let searched = search(&options, 10_000, 1);
        assert!(searched.found.is_none(), "{}", searched.found.unwrap().trace);
        assert!(searched.whole && searched.probes == 1, "{searched:?}");
    }
}

#[test]
fn hunt() {
    let get = |n: &str, d: u64| std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let dev = get("DEV", 1) as u8;
    let mode = std::env::var("MODE").unwrap_or_default();
    let mut options = match &*mode {
        "crash" => Options::one_crash(dev),
        "nodelta" => Options::no_delta(dev),
        _ => Options::one_liar(dev),
    };
    options.t = get("T", 1) as u8;
    options.slow_disks = get("DISK", 0) == 1;
    options.leaves = get("LEAVE", 0) == 1;
    options.horizon = get("HORIZON", u64::from(options.horizon)) as u32;
    if get("WALKS", 0) > 0 {
        if options.t > 1 && mode.is_empty() {
            let n = 2 * options.t as usize + 1;
            options.liars =
                (n - options.t as usize..n).map(crate::types::ReplicaId::from_index).collect();
        }
        let walked = walk(&options, get("SEED", 1), get("WALKS", 0));
        println!("walks {} moves {} {:?}", walked.walks, walked.moves, walked.counts);
        if let Some((n, f)) = walked.found {
            println!("WALK {n}\n{}\n{}", f.trace, f.violation);
        }
        return;
    }
    let s = search(&options, get("LIMIT", 1_000_000), get("PROBE", 1));
    println!(
        "states {} moves {} probes {} whole {} {:?}",
        s.states, s.moves, s.probes, s.whole, s.counts
    );
    if let Some(f) = s.found {
        println!("{}\n{}", f.trace, f.violation);
    }
}
