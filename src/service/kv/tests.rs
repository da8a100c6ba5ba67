use super::*;

const CLIENT: ClientId = ClientId([7; 32]);

fn run(kv: &mut Kv, command: Command<'_>) -> Output {
    Output::parse(&kv.execute(AgreedTime(9), &CLIENT, &command.encode()).into()).unwrap()
}

fn ask(kv: &Kv, command: Command<'_>) -> Output {
    Output::parse(&kv.query(AgreedTime(9), &CLIENT, &command.encode()).into()).unwrap()
}

fn value(bytes: &'static [u8]) -> Output {
    Output::Value(Bytes::from_static(bytes))
}

#[test]
fn put_get_delete() {
    let mut kv = Kv::new();
    assert_eq!(run(&mut kv, Command::get("a")), Output::Missing);
    assert_eq!(run(&mut kv, Command::put("a", "1")), Output::Done);
    assert_eq!(run(&mut kv, Command::get("a")), value(b"1"));
    assert_eq!(run(&mut kv, Command::delete("a")), Output::Done);
    assert_eq!(run(&mut kv, Command::delete("a")), Output::Missing);
    assert!(kv.is_empty());
}

#[test]
fn cas_sets_only_over_the_expected_value() {
    let mut kv = Kv::new();
    let mismatch = |current| Output::Mismatch { current };
    assert_eq!(run(&mut kv, Command::cas("a", Some(b"x"), "1")), mismatch(None));
    assert_eq!(run(&mut kv, Command::cas("a", None, "1")), Output::Done);
    let one = Some(Bytes::from_static(b"1"));
    assert_eq!(run(&mut kv, Command::cas("a", None, "2")), mismatch(one.clone()));
    assert_eq!(run(&mut kv, Command::cas("a", Some(b"2"), "3")), mismatch(one));
    assert_eq!(run(&mut kv, Command::cas("a", Some(b"1"), "2")), Output::Done);
    assert_eq!(kv.get(b"a"), Some(&b"2"[..]));
}

#[test]
fn incr_counts_in_decimal_and_refuses_what_is_no_number_or_does_not_fit() {
    let mut kv = Kv::new();
    assert_eq!(run(&mut kv, Command::incr("n", -5)), Output::Number(-5));
    assert_eq!(run(&mut kv, Command::incr("n", 7)), Output::Number(2));
    assert_eq!(kv.get(b"n"), Some(&b"2"[..]));
    run(&mut kv, Command::put("n", i64::MAX.to_string().as_str()));
    assert!(matches!(run(&mut kv, Command::incr("n", 1)), Output::Error(w) if w.contains("fit")));
    run(&mut kv, Command::put("n", "twelve"));
    assert!(matches!(run(&mut kv, Command::incr("n", 1)), Output::Error(w) if w.contains("whole")));
    assert_eq!(kv.get(b"n"), Some(&b"twelve"[..]));
}

#[test]
fn a_scan_stops_at_its_limit_and_goes_on_after_a_key() {
    let mut kv = Kv::new();
    for key in ["a", "b1", "b2", "b3", "c"] {
        run(&mut kv, Command::put(key, key));
    }
    let keys = |output| match output {
        Output::Entries { entries, more } => {
            let keys = entries.iter().map(|(k, _)| String::from_utf8_lossy(k).into_owned());
            (keys.collect::<Vec<_>>().join(" "), more)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(keys(ask(&kv, Command::scan("b", 2))), ("b1 b2".into(), true));
    assert_eq!(keys(ask(&kv, Command::scan("b", 3))), ("b1 b2 b3".into(), false));
    assert_eq!(keys(ask(&kv, Command::scan_after("b", "b2", 2))), ("b3".into(), false));
    assert_eq!(keys(ask(&kv, Command::scan_after("b", "a", 9))), ("b1 b2 b3".into(), false));
    assert_eq!(keys(ask(&kv, Command::scan("", 9))), ("a b1 b2 b3 c".into(), false));
    assert_eq!(keys(ask(&kv, Command::scan("x", 9))), (String::new(), false));
}

#[test]
fn a_scan_stops_before_it_gets_too_large_but_always_gets_on() {
    let mut kv = Kv::new();
    let (key, large) = (vec![b'k'; MAX_KEY - 1], vec![0; MAX_VALUE]);
    for last in [1, 2] {
        let key = [&key[..], &[last]].concat();
        assert_eq!(run(&mut kv, Command::put(&key, &large)), Output::Done);
    }
    let bytes = kv.query(AgreedTime(0), &CLIENT, &Command::scan("", 9).encode());
    assert!(bytes.len() <= MAX_SCAN_BYTES + 16);
    let Output::Entries { entries, more } = Output::parse(&bytes.into()).unwrap() else { panic!() };
    assert_eq!((entries.len(), more), (1, true));
    let rest = ask(&kv, Command::scan_after("", &entries[0].0, 9));
    assert!(matches!(rest, Output::Entries { entries, more: false } if entries.len() == 1));
}

#[test]
fn a_query_never_writes() {
    let mut kv = Kv::new();
    run(&mut kv, Command::put("a", "1"));
    let before = kv.snapshot();
    for command in [
        Command::put("a", "2"),
        Command::delete("a"),
        Command::cas("a", Some(b"1"), "2"),
        Command::incr("a", 1),
    ] {
        assert!(!command.is_read_only());
        assert!(matches!(ask(&kv, command), Output::Error(w) if w.contains("command")));
    }
    assert_eq!(kv.snapshot(), before);
    assert_eq!(ask(&kv, Command::ping("x")), Output::Time(AgreedTime(9)));
}

#[test]
fn limits_are_named_in_the_answer() {
    let mut kv = Kv::new();
    let (long, large) = (vec![b'k'; MAX_KEY + 1], vec![0; MAX_VALUE + 1]);
    for (command, part) in [
        (Command::get(""), "key (1 to 4096"),
        (Command::put(&long, "v"), "key (1 to 4096"),
        (Command::put("k", &large), "192 KiB"),
        (Command::ping(&large), "192 KiB"),
        (Command::scan("", 0), "1 to 10000"),
        (Command::scan("", MAX_SCAN + 1), "1 to 10000"),
        (Command::scan(&long, 1), "prefix"),
    ] {
        assert!(command.check().is_err());
        assert!(matches!(run(&mut kv, command), Output::Error(w) if w.contains(part)), "{part}");
    }
    assert!(Command::put(&long[1..], &large[1..]).check().is_ok());
    assert!(kv.is_empty());
}

#[test]
fn commands_have_frozen_bytes() {
    assert_eq!(Command::put("k", "vw").encode(), b"\x01\x01\0\0\0k\x02\0\0\0vw");
    assert_eq!(Command::cas("k", None, "v").encode(), b"\x04\x01\0\0\0k\0\x01\0\0\0v");
    assert_eq!(Command::incr("k", -2).encode(), b"\x05\x01\0\0\0k\xfe\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!(Command::scan("p", 5).encode(), b"\x06\x01\0\0\0p\0\0\0\0\x05\0\0\0");
    assert_eq!(Output::Number(3).encode(), b"\x04\x03\0\0\0\0\0\0\0");
}

#[test]
fn the_digest_is_that_of_the_state_and_not_of_its_history() {
    let (mut a, mut b) = (Kv::new(), Kv::new());
    let empty = a.digest();
    run(&mut a, Command::put("x", "1"));
    let one = a.digest();
    run(&mut a, Command::put("y", "1"));
    run(&mut a, Command::put("x", "2"));
    assert_ne!(a.digest(), one);
    run(&mut a, Command::delete("y"));
    run(&mut a, Command::put("x", "1"));
    assert_eq!(a.digest(), one);
    run(&mut b, Command::put("x", "1"));
    assert_eq!(b.digest(), one);
    run(&mut b, Command::delete("x"));
    assert_eq!(b.digest(), empty);
}

/// Whenever keys are settled, the digest is that of a store which was read from the snapshot.
#[test]
fn settling_in_parts_changes_no_digest_and_leaves_nothing_for_it() {
    let mut kv = Kv::new();
    run(&mut kv, Command::put("z", "before anybody asks"));
    assert!(kv.dirty.is_empty());
    kv.digest();
    for n in 0u8..200 {
        let key = [b'a' + n % 7];
        match n % 5 {
            0 => run(&mut kv, Command::delete(&key)),
            _ => run(&mut kv, Command::put(&key, &[n; 3])),
        };
        let waiting = kv.dirty.len();
        kv.settle(u64::from(n % 3));
        let left = waiting - waiting.div_ceil(usize::from(n % 3).max(1));
        assert_eq!(kv.dirty.len(), left);
        if n % 11 == 0 {
            let mut fresh = Kv::new();
            fresh.restore(&kv.snapshot()).unwrap();
            assert_eq!(kv.digest(), fresh.digest());
        }
    }
    kv.settle(1);
    let settled = kv.set.digest();
    assert_eq!(kv.digest(), settled, "nothing was left");
}

#[test]
fn a_snapshot_with_keys_twice_or_out_of_order_is_refused_and_changes_nothing() {
    let mut kv = Kv::new();
    run(&mut kv, Command::put("a", "1"));
    let before = kv.snapshot();
    for keys in [["a", "a"], ["b", "a"], ["", "a"]] {
        let mut out = Writer::new();
        out.raw(MAGIC).count(2);
        keys.iter().for_each(|k| {
            out.var(k.as_bytes()).var(b"v");
        });
        let refused = kv.restore(&out.into_bytes()).unwrap_err();
        assert!(refused.to_string().contains("keys out of order"), "{refused}");
    }
    let mut lying = Writer::new();
    lying.raw(MAGIC).u32(u32::MAX);
    assert!(kv.restore(&lying.into_bytes()).is_err());
    assert_eq!(kv.snapshot(), before);
}
