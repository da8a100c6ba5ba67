use super::*;
use crate::types::ReplicaId;
use crate::wire::{ChainConfig, ChainPosition, ChainRenewal};

const LEASE: u64 = 1000;
const MARGIN: u64 = 100;

fn replica(number: u8) -> ReplicaId {
    ReplicaId::new(number).unwrap()
}

struct Bench {
    master: Master,
    time: u64,
}

impl Bench {
    /// A chain of these members, which have not reported, and spares.
    fn new(wanted: u8, members: &[u8], spares: &[u8]) -> Self {
        let ids = |numbers: &[u8]| numbers.iter().map(|n| replica(*n)).collect();
        let master = Master::new(Terms { lease: LEASE, margin: MARGIN });
        let mut bench = Self { master, time: 10_000 };
        let (members, spares) = (ids(members), ids(spares));
        let made = bench.say(Command::Create { chain: 1, wanted, members, spares });
        assert!(matches!(made, Answer::Chain { down: true, .. }));
        bench
    }

    /// The same, begun: all are in their first life.
    fn begun(wanted: u8, members: &[u8], spares: &[u8]) -> Self {
        let mut bench = Self::new(wanted, members, spares);
        for number in members.iter().chain(spares) {
            bench.renew(*number, 1, (0, 0), 0);
        }
        bench
    }

    fn run(&mut self, command: &Command) -> Vec<u8> {
        self.master.execute(AgreedTime(self.time), &ClientId([0; 32]), &command.encode())
    }

    fn say(&mut self, command: Command) -> Answer {
        Answer::parse(&self.run(&command)).unwrap()
    }

    fn renew(&mut self, number: u8, incarnation: u64, last: (u64, u64), paired: u64) -> ChainGrant {
        let last = ChainPosition { config: last.0, number: last.1 };
        let replica = replica(number);
        self.said(ChainRenewal { chain: 1, replica, incarnation, last, paired, lost: false })
    }

    fn said(&mut self, renewal: ChainRenewal) -> ChainGrant {
        ChainGrant::parse(&self.run(&Command::Renew(renewal))).unwrap()
    }

    /// Time passes in steps so small that the master does not think it had stood still; these
    /// renew meanwhile.
    fn pass(&mut self, time: u64, renew: &[u8]) {
        let end = self.time + time;
        while self.time < end {
            self.time = end.min(self.time + LEASE / 4);
            self.say(Command::Show { chain: 1 });
            for number in renew {
                self.renew(*number, 1, (0, 0), 0);
            }
        }
    }

    fn config(&mut self) -> ChainConfig {
        match self.say(Command::Show { chain: 1 }) {
            Answer::Chain { config, .. } => config,
            refused => panic!("{refused:?}"),
        }
    }

    fn members(&mut self) -> Vec<u8> {
        self.config().members.iter().map(|m| m.replica.number()).collect()
    }
}

fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused(why) => why,
        done => panic!("{done:?}"),
    }
}

#[test]
fn a_chain_begins_when_all_its_members_have_reported() {
    let mut bench = Bench::new(2, &[2, 1], &[]);
    assert_eq!(bench.renew(2, 1, (0, 0), 0).config.number, 0);
    let grant = bench.renew(1, 1, (0, 0), 0);
    assert!(grant.granted);
    assert_eq!((grant.config.number, bench.members()), (1, vec![2, 1]));
}

/// CH-L2.
#[test]
fn a_member_goes_when_its_lease_and_the_margin_are_over_and_the_last_one_never() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[]);
    bench.pass(LEASE + MARGIN, &[2]);
    assert_eq!(bench.members(), [1, 2, 3]);
    bench.pass(1, &[2]);
    assert_eq!(bench.members(), [2]);
    bench.pass(10 * LEASE, &[]);
    assert_eq!(bench.members(), [2], "nobody else has what it has");
}

#[test]
fn who_starts_again_is_taken_out_when_another_speaks_and_an_older_life_gets_nothing() {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    let grant = bench.renew(2, 2, (1, 7), 0);
    assert!(grant.granted);
    assert_eq!(bench.config().members.len(), 2, "nobody has said yet that the other one lives");
    bench.renew(1, 1, (1, 7), 0);
    assert_eq!(bench.config().members.len(), 1);
    assert_eq!(bench.config().joining.map(|m| (m.replica, m.incarnation)), Some((replica(2), 2)));
    assert!(!bench.renew(2, 1, (0, 0), 0).granted);
    assert!(!bench.renew(9, 1, (0, 0), 0).granted, "nobody knows it");
}

/// CH-F4.
#[test]
fn a_spare_joins_and_is_appended_when_the_tail_says_so_in_that_configuration() {
    let mut bench = Bench::begun(2, &[1, 2], &[3, 4]);
    bench.pass(LEASE + MARGIN + 1, &[1, 3, 4]);
    let config = bench.config();
    assert_eq!((config.members.len(), config.joining.map(|m| m.replica)), (1, Some(replica(3))));
    bench.renew(1, 1, (1, 5), config.number - 1);
    bench.renew(3, 1, (1, 5), config.number);
    assert_eq!(bench.members(), [1], "another configuration, and not the tail");
    bench.renew(1, 1, (1, 5), config.number);
    assert_eq!(bench.members(), [1, 3]);
    assert_eq!(bench.config().joining, None, "it has its length");
}

#[test]
fn a_spare_that_is_silent_while_it_joins_makes_room_for_the_next() {
    let mut bench = Bench::begun(2, &[1, 2], &[3, 4]);
    bench.pass(LEASE + MARGIN + 1, &[1, 3, 4]);
    bench.pass(LEASE + MARGIN + 1, &[1, 4]);
    assert_eq!(bench.config().joining.map(|m| m.replica), Some(replica(4)));
}

/// CH-L2: while the group itself stood still nobody could renew.
#[test]
fn nobody_is_taken_out_because_the_master_stood_still() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[]);
    bench.time += 50 * LEASE;
    bench.renew(1, 1, (0, 0), 0);
    assert_eq!(bench.members(), [1, 2, 3]);
    bench.pass(LEASE + MARGIN + 1, &[1]);
    assert_eq!(bench.members(), [1]);
}

/// CH-L2: a member that stops is one of the master's group, too, which stands still for a while
/// then. That makes its lease no longer than those of others need.
#[test]
fn a_stop_that_halts_the_group_for_more_than_half_a_lease_still_costs_one_lease() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[]);
    let killed = bench.time;
    for later in [600, 850, LEASE + MARGIN] {
        bench.time = killed + later;
        [2, 3].iter().for_each(|number| drop(bench.renew(*number, 1, (0, 0), 0)));
        assert_eq!(bench.members(), [1, 2, 3], "its lease is not over after {later}");
    }
    bench.time += 1;
    bench.renew(2, 1, (0, 0), 0);
    assert_eq!(bench.members(), [2, 3]);
}

/// CH-L2: who lives has the time to say so, however long the group stood still.
#[test]
fn after_a_long_halt_of_the_group_everybody_has_a_quarter_of_a_lease() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[]);
    bench.time += 3 * LEASE;
    bench.renew(1, 1, (0, 0), 0);
    bench.time += LEASE / 4;
    bench.renew(2, 1, (0, 0), 0);
    bench.time += MARGIN;
    bench.renew(1, 1, (0, 0), 0);
    assert_eq!(bench.members(), [1, 2, 3]);
    bench.time += 1;
    bench.renew(1, 1, (0, 0), 0);
    assert_eq!(bench.members(), [1, 2], "the third has said nothing");
}

/// CH-F6: who has become a member has everything, and is not to be struck out for a disk that it
/// has filled since; also if its last word was said before it knew.
#[test]
fn a_replaced_disk_that_is_a_members_counts_as_any_other() {
    let mut bench = Bench::begun(2, &[1, 2], &[3]);
    let last = ChainPosition::default();
    let (chain, incarnation, paired) = (1, 1, 0);
    let on_empty =
        ChainRenewal { chain, replica: replica(3), incarnation, last, paired, lost: true };
    for _ in 0..5 {
        bench.pass(LEASE / 4, &[1]);
        bench.said(on_empty);
    }
    let config = bench.config();
    assert_eq!(config.joining.map(|m| m.replica), Some(replica(3)));
    let lost = |bench: &mut Bench| match bench.say(Command::Show { chain: 1 }) {
        Answer::Chain { replicas, .. } => replicas.iter().filter(|m| m.lost).count(),
        refused => panic!("{refused:?}"),
    };
    assert_eq!(lost(&mut bench), 1);
    bench.renew(1, 1, (1, 5), config.number);
    assert_eq!((bench.members(), lost(&mut bench)), (vec![1, 3], 0));
    bench.said(on_empty);
    assert_eq!(lost(&mut bench), 0, "that was on its way");
    bench.said(ChainRenewal { incarnation: 2, ..on_empty });
    assert_eq!(lost(&mut bench), 1, "another disk, in another life");
}

/// Who was silent before the group stood still is not thought to live afterwards.
#[test]
fn a_halt_of_the_group_makes_nobody_live_again() {
    let mut bench = Bench::begun(2, &[1, 2], &[3]);
    bench.pass(LEASE + MARGIN + 1, &[1]);
    assert_eq!((bench.members(), bench.config().joining), (vec![1], None));
    bench.time += LEASE;
    bench.renew(1, 1, (0, 0), 0);
    assert_eq!(bench.config().joining, None, "the spare has said nothing since");
}

/// CH-L2: so a member can ask just when another is to be taken out.
#[test]
fn a_grant_says_when_the_first_lease_of_another_is_over() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[4]);
    assert_eq!(bench.renew(1, 1, (0, 0), 0).again, LEASE + MARGIN + 1);
    bench.pass(LEASE, &[2, 3, 4]);
    assert_eq!(bench.renew(4, 1, (0, 0), 0).again, 0, "a spare takes nobody out");
    let again = bench.renew(2, 1, (0, 0), 0).again;
    assert_eq!(again, MARGIN + 1);
    bench.time += again - 1;
    assert_eq!(bench.renew(2, 1, (0, 0), 0).config.members.len(), 3);
    bench.time += 1;
    let grant = bench.renew(2, 1, (0, 0), 0);
    assert_eq!(grant.config.members.len(), 2);
    assert!(grant.again > LEASE - LEASE / 4, "of those that are left: {}", grant.again);
    let mut alone = Bench::begun(1, &[1], &[]);
    assert_eq!(alone.renew(1, 1, (0, 0), 0).again, 0);
}

/// CH-F6.
#[test]
fn after_an_outage_who_has_most_is_the_head_once_all_have_reported() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[4]);
    bench.pass(LEASE + MARGIN + 1, &[]);
    let before = bench.config();
    bench.renew(1, 2, (1, 7), 0);
    bench.renew(2, 2, (1, 9), 0);
    bench.renew(4, 2, (1, 99), 0);
    assert_eq!(bench.config(), before, "the third may have more than these");
    let grant = bench.renew(3, 2, (2, 8), 0);
    let order: Vec<u8> = grant.config.members.iter().map(|m| m.replica.number()).collect();
    assert_eq!(order, [3, 2, 1], "a later configuration is more than a higher number");
    assert!(grant.config.members.iter().all(|m| m.incarnation == 2));
}

#[test]
fn a_member_that_lives_after_all_were_silent_makes_no_new_chain_of_reports() {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    bench.pass(LEASE + MARGIN + 1, &[]);
    bench.renew(1, 2, (1, 7), 0);
    assert_eq!(bench.members(), [1, 2], "the other has not said anything");
    bench.renew(2, 1, (1, 9), 0);
    assert_eq!(bench.members(), [2], "it goes on, and who started again is out");
}

#[test]
fn the_operator_can_strike_out_who_is_lost() {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    bench.pass(LEASE + MARGIN + 1, &[]);
    bench.renew(1, 2, (1, 7), 0);
    let number = bench.config().number;
    bench.say(Command::Remove { chain: 1, replica: replica(2) });
    assert_eq!(bench.members(), [1]);
    assert!(bench.config().number > number);
    let why = refused(bench.say(Command::Remove { chain: 1, replica: replica(1) }));
    assert!(why.contains("last member"), "{why}");
}

#[test]
fn who_is_removed_goes_when_its_lease_is_over_and_comes_back_when_it_is_added() {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    bench.say(Command::Remove { chain: 1, replica: replica(2) });
    assert_eq!(bench.members(), [1, 2], "it may still serve");
    assert!(!bench.renew(2, 1, (0, 0), 0).granted);
    bench.pass(LEASE + MARGIN + 1, &[1, 2]);
    assert_eq!((bench.members(), bench.config().joining), (vec![1], None));
    bench.say(Command::Add { chain: 1, replica: replica(2) });
    bench.renew(2, 1, (0, 0), 0);
    assert_eq!(bench.config().joining.map(|m| m.replica), Some(replica(2)));
}

#[test]
fn an_order_names_every_member_once_and_the_present_configuration() {
    let mut bench = Bench::begun(3, &[1, 2, 3], &[]);
    let order = |number, numbers: &[u8]| Command::Reorder {
        chain: 1,
        number,
        order: numbers.iter().map(|n| replica(*n)).collect(),
    };
    for wrong in [order(1, &[1, 2]), order(1, &[1, 2, 2]), order(1, &[1, 2, 4])] {
        assert!(refused(bench.say(wrong)).contains("every member"));
    }
    assert!(refused(bench.say(order(7, &[3, 2, 1]))).contains("another configuration"));
    bench.say(order(1, &[3, 1, 2]));
    assert_eq!((bench.members(), bench.config().number), (vec![3, 1, 2], 2));
    bench.say(order(2, &[3, 1, 2]));
    assert_eq!(bench.config().number, 2, "it is so already");
}

#[test]
fn one_master_serves_several_chains() {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    let (members, spares) = (vec![replica(2)], vec![]);
    bench.say(Command::Create { chain: 9, wanted: 1, members: members.clone(), spares: vec![] });
    bench.pass(LEASE + MARGIN + 1, &[1]);
    assert_eq!(bench.members(), [1]);
    let Answer::Chain { config, down, .. } = bench.say(Command::Show { chain: 9 }) else {
        panic!()
    };
    assert_eq!((config.members.len(), down), (1, true));
    let again = Command::Create { chain: 9, wanted: 1, members, spares };
    assert!(refused(bench.say(again)).contains("already"));
    assert!(refused(bench.say(Command::Show { chain: 5 })).contains("no chain"));
}

#[test]
fn a_state_is_restored_whole_or_not_at_all() {
    let mut bench = Bench::begun(2, &[1, 2], &[3]);
    bench.pass(LEASE + MARGIN + 1, &[1, 3]);
    let snapshot = bench.master.snapshot();
    let mut other = Master::new(Terms { lease: LEASE, margin: MARGIN });
    other.restore(&snapshot).unwrap();
    assert_eq!(other.digest(), bench.master.digest());
    for end in 0..snapshot.len() {
        assert!(other.restore(&snapshot[..end]).is_err(), "cut to {end}");
    }
    assert_eq!(other.digest(), bench.master.digest(), "nothing was changed");
}

#[test]
fn a_query_changes_nothing_and_only_shows() {
    let bench = Bench::begun(2, &[1, 2], &[3]);
    let ask = |command: Command| {
        let said =
            bench.master.query(AgreedTime(bench.time), &ClientId([0; 32]), &command.encode());
        Answer::parse(&said).unwrap()
    };
    let Answer::Chain { down, replicas, .. } = ask(Command::Show { chain: 1 }) else { panic!() };
    assert_eq!((down, replicas.len()), (false, 3));
    assert!(refused(ask(Command::Add { chain: 1, replica: replica(4) })).contains("cannot write"));
}

/// A chain of which all have stopped, one of them on a disk that stands in for a lost one; who is
/// in it when both have reported, and when the operator has struck the other out.
fn after_a_lost_disk() -> (Vec<u8>, Vec<u8>) {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    bench.pass(3 * LEASE, &[]);
    bench.renew(1, 2, (1, 7), 0);
    let last = ChainPosition::default();
    let (chain, replica, incarnation, paired) = (1, replica(2), 2, 0);
    bench.said(ChainRenewal { chain, replica, incarnation, last, paired, lost: true });
    bench.renew(1, 2, (1, 7), 0);
    let before: Vec<ChainMember> = bench.config().members;
    let lives = before.iter().filter(|m| m.incarnation == 2);
    let lives = lives.map(|m| m.replica.number()).collect();
    bench.say(Command::Remove { chain: 1, replica });
    bench.renew(1, 2, (1, 7), 0);
    (lives, bench.members())
}

/// CH-F6: what it had may be on no other disk, so the chain waits for the operator's word.
#[test]
fn a_replaced_disk_is_no_report() {
    assert_eq!(after_a_lost_disk(), (vec![], vec![1]));
}

#[cfg(feature = "plant")]
#[test]
fn a_replaced_disk_that_reports_is_noticed() {
    crate::types::plant::plant(Some("master-lost-reports"));
    let (lives, _) = after_a_lost_disk();
    crate::types::plant::plant(None);
    assert_eq!(lives, [1, 2]);
}

/// Both stop; one comes back before the lease of the other has ended, and the other much later.
/// The members while only the first is back, and when the other has said what it has.
fn after_a_stop_of_all() -> (Vec<u64>, Vec<u8>) {
    let mut bench = Bench::begun(2, &[1, 2], &[]);
    bench.renew(1, 2, (1, 7), 0);
    bench.pass(3 * LEASE, &[]);
    bench.renew(1, 2, (1, 7), 0);
    let lives = bench.config().members.iter().map(|m| m.incarnation).collect();
    bench.renew(2, 2, (1, 6), 0);
    bench.renew(1, 2, (1, 7), 0);
    (lives, bench.members())
}

/// CH-L2 and CH-F6: a lease is no sign of life. If the other's disk is lost, too, the chain can go
/// on with what the first one has.
#[test]
fn nobody_is_taken_out_before_another_member_has_spoken() {
    assert_eq!(after_a_stop_of_all(), (vec![1, 1], vec![1, 2]));
}

#[cfg(feature = "plant")]
#[test]
fn one_that_is_taken_out_unwitnessed_is_noticed() {
    crate::types::plant::plant(Some("master-takes-unwitnessed"));
    let (lives, _) = after_a_stop_of_all();
    crate::types::plant::plant(None);
    assert_eq!(lives, [1], "the second one alone, of which nobody knows whether it lives");
}
