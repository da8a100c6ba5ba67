//! `[[chain]]`: what good lists give, and one row for each refusal.

use super::*;
use crate::config::{Cluster, ReplicaEntry};
use crate::crypto::SecretKey;

/// A cluster of so many replicas, and what is said of its chains.
fn text_of(replicas: u8, more: &str) -> String {
    let mut text = format!(
        "[cluster]\nnonce = \"{}\"\nfault_model = \"fail-stop\"\nt = 1\ndelta = \"100ms\"\n",
        "07".repeat(32)
    );
    for id in 1..=replicas {
        let key = SecretKey::from_seed([id; 32]).public().to_inline();
        text.push_str(&format!(
            "[[replica]]\nid = {id}\naddress = \"127.0.0.1:710{id}\"\n\
             admin = \"127.0.0.1:720{id}\"\npublic_key = \"{key}\"\n"
        ));
    }
    text + more
}

fn read(text: &str) -> Result<Cluster, ConfigError> {
    Cluster::parse(text, "q.toml", &mut |_| Err("no files".to_owned()))
}

/// A cluster of three whose chains are listed from line 21 on.
fn parse(chains: &str) -> Result<Cluster, ConfigError> {
    assert_eq!(text_of(3, "").lines().count(), 20);
    read(&text_of(3, chains))
}

fn ids(entry: &ChainEntry) -> Vec<u8> {
    entry.members.iter().map(|m| m.number()).collect()
}

#[test]
fn without_a_list_there_is_one_chain_of_everything() {
    let c = parse("").unwrap();
    assert!(c.chain.is_empty());
    let all = c.each_chain();
    let [one] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((one.number, &one.share, one.length, ids(one)), (0, &Share::All, 2, vec![1, 2]));
    // Frozen: files of clusters that run have no list, and their ids must stay.
    let id = "12284c3d4c7fb722";
    assert_eq!(&c.id().to_hex()[..16], id);
}

#[test]
fn chains_are_ordered_and_spread_and_may_have_lengths_and_members_of_their_own() {
    let c = parse(
        "[[chain]]\nnumber = 7\nslots = \"1000-1023, 0-9,500\"\n\
         [[chain]]\nnumber = 0\nslots = \"10 - 499\"\nlength = 3\n\
         [[chain]]\nnumber = 31\nslots = \"501-999\"\nmembers = [3, 1]\n\
         [chains]\nlength = 1\n",
    );
    let c = c.unwrap();
    let rows: Vec<_> = c.chain.iter().map(|e| (e.number, e.length, ids(e))).collect();
    assert_eq!(rows, [(0, 3, vec![1, 2, 3]), (7, 1, vec![2]), (31, 2, vec![3, 1])]);
    assert_eq!(c.chain[1].share, Share::Slots(vec![(0, 9), (500, 500), (1000, 1023)]));
    assert_eq!(c.chain[1].share.to_string(), "slots 0-9, 500, 1000-1023");
    let map = c.key_map();
    assert_eq!((map.chains(), map.slot(b"colour"), map.chain_of(b"colour")), (3, Some(976), 31));
    let c = parse("[[chain]]\nnumber = 1\nfrom = \"m\"\n[[chain]]\nnumber = 2\nfrom = \"\"\n");
    let c = c.unwrap();
    let (map, rows) = (c.key_map(), c.chain.iter().map(ids).collect::<Vec<_>>());
    assert_eq!((map.chain_of(b"lzz"), map.chain_of(b"m")), (2, 1));
    assert_eq!(rows, [[1, 2], [2, 3]]);
}

/// All that decides on whose disk a key is tells clusters apart, in the model that uses it.
#[test]
fn the_list_is_a_part_of_the_cluster_id() {
    let list = |number: u32, cut: u16, more: &str| {
        let (next, first) = (cut + 1, "[[chain]]\nnumber = 0\nslots = ");
        format!(
            "{first}\"0-{cut}\"\n[[chain]]\nnumber = {number}\nslots = \"{next}-1023\"\n{more}\n"
        )
    };
    let variants = [
        String::new(),
        "[[chain]]\nnumber = 0\nslots = \"0-1023\"\n".to_owned(),
        list(1, 511, ""),
        list(2, 511, ""),
        list(1, 510, ""),
        list(1, 511, "length = 3"),
        list(1, 511, "members = [3, 2]"),
    ];
    let clusters: Vec<Cluster> = variants.iter().map(|text| parse(text).unwrap()).collect();
    for (i, a) in clusters.iter().enumerate() {
        for b in &clusters[i + 1..] {
            assert_ne!(a.id(), b.id(), "{:?} {:?}", a.chain, b.chain);
            assert_ne!(a.fields(), b.fields());
        }
        let voting = Cluster { fault_model: FaultModel::Byzantine, ..a.clone() };
        let bare = Cluster { chain: Vec::new(), ..voting.clone() };
        assert_eq!((voting.id(), voting.fields()), (bare.id(), bare.fields()));
    }
    // What the default would be may be written, too.
    let same = parse(&list(1, 511, "length = 2\nmembers = [2, 3]")).unwrap();
    assert_eq!(same.id(), clusters[2].id());
}

#[test]
fn refusals_name_the_line_and_what_to_write() {
    let first = "[[chain]]\nnumber = 0\nslots = \"0-511\"\n";
    let second = |rest: &str| format!("{first}[[chain]]\n{rest}\n");
    let rows: [(String, usize, &str, &str); 26] = [
        (second("slots = \"512-1023\""), 24, "has no `number`", "number = 0"),
        (second("number = 32\nslots = \"512-1023\""), 25, "from 0 to 31", "number = 0"),
        (second("number = 0\nslots = \"512-1023\""), 25, "the chain of line 22", "another number"),
        (second("number = 1"), 24, "has no `slots`", "slots = \"0-511\""),
        (second("number = 1\nslots = 3"), 26, "a string in quotes", "slots = \"0-511\""),
        (second("number = 1\nslots = \"\""), 26, "\"\" is no slot", "slots = \"0-511\""),
        (second("number = 1\nslots = \"512-1024\""), 26, "within 0-1023", "slots = \"0-511\""),
        (second("number = 1\nslots = \"600-512\""), 26, "\"600-512\" is no slot", "slots ="),
        (second("number = 1\nslots = \"+600\""), 26, "\"+600\" is no slot", "slots ="),
        (second("number = 1\nslots = \"5-6-7\""), 26, "\"5-6-7\" is no slot", "slots ="),
        (second("number = 1\nslots = \"600,550-650\""), 26, "slot 600 is there twice", "once"),
        (
            second("number = 1\nslots = \"511-1023\""),
            26,
            "slot 511 is of the chain of line 23",
            "one",
        ),
        (second("number = 1\nslots = \"513-1023\""), 26, "no chain has the slots 512", "add them"),
        (second("number = 1\nslots = \"512-1022\""), 26, "the slots 1023", "add them"),
        (first.to_owned(), 23, "no chain has the slots 512-1023", "add them"),
        (second("number = 1\nfrom = \"a\""), 26, "the chain of line 23 says with `slots`", "all"),
        (second("number = 1\nslots = \"512-1023\"\nfrom = \"a\""), 27, "`slots`, too", "the other"),
        (second("number = 1\nslots = \"512-1023\"\nlength = 4"), 27, "from 1 to 3", "length = 2"),
        (second("number = 1\nslots = \"512-1023\"\nmembers = []"), 27, "one member", "leave"),
        (second("number = 1\nslots = \"512-1023\"\nmembers = [4]"), 27, "ids 1 to 3", "members ="),
        (second("number = 1\nslots = \"512-1023\"\nmembers = [2, 2]"), 27, "2 is there twice", "["),
        (
            second("number = 1\nslots = \"512-1023\"\nmembers = [1, 2]\nlength = 1"),
            28,
            "less than the 2 `members`",
            "length = 2",
        ),
        ("[[chain]]\nnumber = 0\nfrom = \"a\"\n".to_owned(), 23, "before the first `from`", "\"\""),
        (
            "[[chain]]\nnumber = 0\nfrom = \"\"\n[[chain]]\nnumber = 1\nfrom = \"\"\n".to_owned(),
            26,
            "the chain of line 23 begins here",
            "another key",
        ),
        (second("number = 1\nslot = \"512-1023\""), 26, "unknown key `slot`", "`slots`"),
        ("[chain]\nnumber = 0\n".to_owned(), 21, "expected a sequence", "[[chain]]"),
    ];
    for (text, line, problem, remedy) in rows {
        let refused = parse(&text).unwrap_err();
        assert_eq!(refused.line, line, "{text}\n{refused}");
        assert!(refused.problem.contains(problem), "{text}\n{refused}");
        assert!(refused.remedy.contains(remedy), "{text}\n{refused}");
    }
}

#[test]
fn one_state_of_all_keys_is_no_beginning_for_several_chains() {
    let state = format!("[service]\nname = \"kv\"\ninitial_state = \"{}\"\n", "0a".repeat(32));
    let two = "[[chain]]\nnumber = 0\nslots = \"0-511\"\n[[chain]]\nnumber = 1\n\
               slots = \"512-1023\"\n";
    assert!(parse(&state).is_ok());
    let refused = parse(&format!("{state}{two}")).unwrap_err();
    assert_eq!(refused.line, 23, "{refused}");
    assert!(refused.to_string().contains("run one chain"), "{refused}");
    let one = "[[chain]]\nnumber = 0\nslots = \"0-1023\"\n";
    assert!(parse(&format!("{state}{one}")).is_ok());
}

/// Three that are the master, and three for chains alone.
fn apart(more: &str) -> String {
    text_of(6, more)
}

const MASTER: &str = "[master]\nreplicas = [3, 1, 2]\n";

#[test]
fn a_master_of_its_own_votes_and_the_replicas_behind_it_are_the_chains() {
    let c = read(&apart(MASTER)).unwrap();
    let numbers = |of: &[ReplicaEntry]| of.iter().map(|r| r.id.number()).collect::<Vec<_>>();
    assert_eq!((numbers(c.voters()), numbers(c.hosts())), (vec![1, 2, 3], vec![4, 5, 6]));
    let id = |n: u8| ReplicaId::new(n).unwrap();
    assert!(c.master_is_apart() && c.is_host(id(4)) && !c.is_host(id(3)));
    assert!(c.are_linked(id(4), id(6)) && c.are_linked(id(1), id(3)));
    assert!(!c.are_linked(id(3), id(4)), "they speak as clients and replicas");
    assert_eq!(ids(&c.each_chain()[0]), [4, 5]);
    let keyring = c.keyring::<crate::crypto::Ed25519>(crate::types::GroupId::MAIN).unwrap();
    assert_eq!(keyring.ensemble().n(), 3);
    let chains = "[[chain]]\nnumber = 0\nslots = \"0-511\"\nlength = 3\n\
                  [[chain]]\nnumber = 1\nslots = \"512-1023\"\n";
    let c = read(&apart(&format!("{MASTER}{chains}"))).unwrap();
    let all = c.each_chain();
    assert_eq!((ids(&all[0]), ids(&all[1])), (vec![4, 5, 6], vec![5, 6]));
    // Without the section nobody is apart.
    let c = parse("").unwrap();
    assert!(!c.master_is_apart() && c.is_host(id(1)) && c.are_linked(id(1), id(2)));
    assert_eq!(numbers(c.voters()), numbers(c.hosts()));
}

#[test]
fn what_is_wrong_with_a_master_of_its_own_is_named() {
    let master = apart(MASTER);
    let third = master.find("[[replica]]\nid = 4").unwrap();
    let three = format!("{}{MASTER}", &master[..third]);
    let short = format!("{MASTER}[chains]\nlength = 4\n");
    let member = "[[chain]]\nnumber = 0\nslots = \"0-1023\"\nmembers = [3, 4]\n";
    let former = "id = 4\nformer_keys = [{ key = \"KEY\", until = 4 }]\n";
    let key = SecretKey::from_seed([99; 32]).public().to_inline();
    let rows = [
        (apart(""), "4 is not one of the ids 1 to 3", "a section [master] allows more"),
        (three, "no replica is left for the chains", "up to id 4 or more"),
        (apart("[master]\n"), "`replicas` is missing", "replicas = [1, 2, 3]"),
        (apart("[master]\nreplicas = [1, 2]\n"), "first 2t + 1 = 3", "replicas = [1, 2, 3]"),
        (apart("[master]\nreplicas = [1, 2, 4]\n"), "first 2t + 1 = 3", "number the others"),
        (apart("[master]\nreplicas = [1, 2, 3, \"x\"]\n"), "first 2t + 1 = 3", "write"),
        (apart("[master]\nreplica = [1]\n"), "unknown key `replica`", "did you mean"),
        (master.replace("\"fail-stop\"", "\"byzantine\""), "all replicas vote", "above 3"),
        (apart(&short), "must be from 1 to 3", "length"),
        (apart(&format!("{MASTER}{member}")), "3 is not one of the ids 4 to 6", "members"),
        (master.replace("id = 6", "id = 7"), "7 is not one of the ids 1 to 6", "without gaps"),
        (master.replace("id = 6", "id = 5"), "id 5 is taken", "1 to 6"),
        (master.replace("id = 4\n", &former.replace("KEY", &key)), "does not vote", "leave it out"),
    ];
    for (text, what, remedy) in rows {
        let refused = read(&text).unwrap_err().to_string();
        assert!(refused.contains(what) && refused.contains(remedy), "{what}, {remedy}: {refused}");
    }
}
