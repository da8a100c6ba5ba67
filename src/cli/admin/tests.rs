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
        judge_key(&made.cluster, &read_secret_key(key).unwrap().public(), &order)
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
