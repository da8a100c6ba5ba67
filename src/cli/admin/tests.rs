use super::*;
use crate::files::init::{InitOptions, write_cluster};
use crate::replica::Status;

fn made(dir: &Path) -> crate::files::init::NewCluster {
    write_cluster(&InitOptions::new(dir.join("c"))).unwrap()
}

fn place(why: Option<Why>) -> Place {
    let (member, may_join) = (why.is_none(), Some(7));
    Place { replica: 3, member, why, since: 5, may_join, ..Place::default() }
}

/// What would be void in the order is refused with the reason, and what is so already is fine.
#[test]
fn what_would_have_no_effect_is_said_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = made(dir.path()).cluster;
    let judge = |what, why, members: &[u8]| {
        let job = Job { what, replica: ReplicaId::new(3).unwrap(), cluster: &cluster };
        job.without_effect(&place(why), members)
    };
    let (all, two) = ([1, 2, 3], [1, 2]);
    assert_eq!(judge(What::Leave, None, &all), None);
    assert_eq!(judge(What::Leave, Some(Why::Left), &two), Some(Ok(())));
    assert_eq!(judge(What::Join, None, &all), Some(Ok(())));
    for why in [Why::Left, Why::Silent, Why::Restarted] {
        assert_eq!(judge(What::Join, Some(why), &two), None);
    }
    assert_eq!(judge(What::Readmit, Some(Why::Lied), &two), None);
    let refused = [
        (What::Leave, None, &two[..], "only 2 members are left"),
        (What::Leave, Some(Why::Silent), &two, "joins again by itself if it runs"),
        (What::Leave, Some(Why::Lied), &two, "is no member: there is a proof"),
        (What::Join, Some(Why::Lied), &two, "quorate admin readmit --replica 3"),
        (What::Readmit, None, &all, "it is a member"),
        (What::Readmit, Some(Why::Silent), &two, "it did not answer in time"),
    ];
    let job = Job { what: What::Readmit, replica: ReplicaId::new(3).unwrap(), cluster: &cluster };
    let rolled = Place { rolled: true, ..place(None) };
    assert_eq!(job.without_effect(&rolled, &all), None, "what it gave up can be forgiven");
    assert!(!job.is_done(&rolled, &rolled) && job.is_done(&rolled, &place(None)));
    for (what, why, members, part) in refused {
        let text = judge(what, why, members).unwrap().unwrap_err();
        assert!(text.contains(part), "{what:?}: {text}");
    }
}

#[test]
fn only_the_key_of_an_admin_commands() {
    let dir = tempfile::tempdir().unwrap();
    let made = made(dir.path());
    let judge = |key: &Path| {
        let order = Order {
            config: made.config_file.clone(),
            key: key.to_owned(),
            replica: 3,
            wait: Duration::ZERO,
            json: false,
        };
        judge_key(&made.cluster, &read_secret_key(key).unwrap().public(), &order.key, &order.config)
    };
    judge(&made.operator_key).unwrap();
    let told = judge(&made.client_keys[0]).unwrap_err().to_string();
    assert!(told.contains("the client client-1, whose role in") && told.contains("is not admin"));
    let told = judge(&made.replica_keys[0]).unwrap_err().to_string();
    assert!(told.contains("the key of no client in") && told.contains("role = \"admin\""));
}

/// What one replica says is not enough to believe that something is done.
#[test]
fn a_majority_must_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = made(dir.path()).cluster;
    let job = Job { what: What::Leave, replica: ReplicaId::new(3).unwrap(), cluster: &cluster };
    let says = |why| -> Answer {
        let standings = vec![place(None), place(None), place(why)];
        Ok(Status { standings, members: vec![1, 2], epoch: "(1,0,0)".into(), ..Status::default() })
    };
    let silent = || Err("none".to_owned());
    assert!(job.known(&[says(Some(Why::Left)), silent(), silent()]).is_none());
    assert!(job.known(&[says(Some(Why::Left)), says(None), silent()]).is_none());
    let answers = [says(Some(Why::Left)), says(None), says(Some(Why::Left))];
    let (is, members, epoch) = job.known(&answers).unwrap();
    assert!(job.is_done(&place(None), is) && members == [1, 2] && epoch == "(1,0,0)");
    assert!(!job.is_done(&place(None), &place(None)));
    // Back already: it went and came.
    assert!(job.is_done(&place(None), &Place { since: 6, ..place(None) }));
    let unknown = job.unknown(&[says(None), silent(), Err("\x1b".to_owned())]);
    assert!(unknown.contains("R2: none") && !unknown.contains('\x1b'), "{unknown}");
}

#[test]
fn a_key_is_replaced_only_by_a_new_one_and_where_enough_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = made(dir.path()).cluster;
    let key = |n| SecretKey::from_seed([n; 32]).public();
    let former = |n| crate::replica::FormerKey { key: key(n).to_inline(), until: 4 };
    let here = Place { key: Some(key(7).to_inline()), former_keys: vec![former(6)], ..place(None) };
    let judge = |n, is: &Place, members: &[u8]| {
        let what = What::ReplaceKey(key(n));
        let job = Job { what, replica: ReplicaId::new(3).unwrap(), cluster: &cluster };
        (job.without_effect(is, members), job.is_done(is, is))
    };
    assert_eq!(judge(9, &here, &[1, 2, 3]), (None, false));
    assert_eq!(judge(7, &here, &[1, 2, 3]), (Some(Ok(())), true));
    let (again, _) = judge(6, &here, &[1, 2, 3]);
    assert!(again.unwrap().unwrap_err().contains("had this key before"));
    let (few, _) = judge(9, &here, &[2, 3]);
    assert!(few.unwrap().unwrap_err().contains("only 2 members are left"));
    // One that is out, for whatever reason, may get a key.
    let out = Place { member: false, why: Some(Why::Lied), ..here.clone() };
    assert_eq!(judge(9, &out, &[1, 2]), (None, false));
    let lines = replace::lines(&here);
    assert!(lines.contains(&format!("public_key = \"{}\"\n", key(7).to_inline())), "{lines}");
    let list = format!("former_keys = [{{ key = \"{}\", until = 4 }}]\n", key(6).to_inline());
    assert!(lines.ends_with(&list), "{lines}");
}

/// The cluster file is written only if the same cluster comes out.
#[test]
fn the_cluster_file_gets_the_new_key_or_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let made = made(dir.path());
    let (file, r3) = (&made.config_file, ReplicaId::new(3).unwrap());
    let key = |n| SecretKey::from_seed([n; 32]).public();
    let first = made.cluster.replicas[2].public_key;
    let with = |former: PublicKey| Place {
        key: Some(key(7).to_inline()),
        former_keys: vec![crate::replica::FormerKey { key: former.to_inline(), until: 4 }],
        ..Place::default()
    };
    let before = std::fs::read_to_string(file).unwrap();
    let refused = replace::write(file, r3, &with(key(8))).unwrap_err().to_string();
    assert!(refused.contains("another cluster came out; change it by hand"), "{refused}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
    replace::write(file, r3, &with(first)).unwrap();
    let changed = load_cluster(file).unwrap();
    assert_eq!((changed.id(), changed.replicas[2].public_key), (made.cluster.id(), key(7)));
    let say = |text: &str| replace::new_key(text, &changed, r3).map_err(|e| e.to_string());
    assert!(say(&first.to_inline()).unwrap_err().contains("is the key of R3, formerly"));
    assert!(say(&key(8).to_inline()).is_ok() && say(&key(7).to_inline()).is_ok());
}
