//! Two chains under one master, with the real cores of all parts: the master's service, the chains'
//! replicas and clients over both, under load while a replica is killed (docs/chain.md, CH-K1 to
//! CH-K3). Time is counted in microseconds, and nothing but the killed replica is ever lost.

use bytes::Bytes;
use quorate::caller::{self, CallError, ChainSetup, ChainsCaller, ChainsSetup, Mode, Token};
use quorate::chain::{Action, Chain, ChainLimits, Event as Told, Found, Input, MakeService, Setup};
use quorate::client::TouchesOf;
use quorate::config::Cluster;
use quorate::crypto::SecretKey;
use quorate::daemon::master_of;
use quorate::master::{self, Master};
use quorate::service::{Service, kv};
use quorate::simulator::Dice;
use quorate::types::{
    AgreedTime, ClientId, Digest, GroupId, Instant, LinkId, Now, ReplicaId, Round, SessionId, Wall,
};
use quorate::wire::{
    ChainAnswer, ChainConfig, ChainQuery, Command, CommandKind, Frame, FrameDecoder, Hello, Kind,
    Message, Outcome, PROTOCOL_VERSION, Replies, Reply, Request, RequestBody, StepPosition,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Microseconds: between two of them, to the master and back, and for a sync.
const WAY: u64 = 300;
const MASTER: u64 = 1500;
const SYNC: u64 = 1000;
/// When the replica is killed, and when clients ask for nothing new.
const KILL: u64 = 3_000_000;
const END: u64 = 9_000_000;
const GIVE_UP: u64 = 60_000_000;

const KEYS: u64 = 12;
const CLIENTS: usize = 3;
/// Calls of a client at a time.
const AT_A_TIME: usize = 3;

/// Three replicas, or three that are the master and three for chains alone.
fn cluster(apart: bool) -> Cluster {
    let nonce = "05".repeat(32);
    let mut text = format!(
        "[cluster]\nnonce = \"{nonce}\"\nfault_model = \"fail-stop\"\nt = 1\ndelta = \"50ms\"\n\
         [[chain]]\nnumber = 0\nslots = \"0-511\"\n[[chain]]\nnumber = 1\nslots = \"512-1023\"\n"
    );
    if apart {
        text.push_str("[master]\nreplicas = [1, 2, 3]\n");
    }
    for number in 1..=if apart { 6 } else { 3u8 } {
        let key = SecretKey::from_seed([number; 32]).public().to_inline();
        text.push_str(&format!(
            "[[replica]]\nid = {number}\naddress = \"127.0.0.1:710{number}\"\n\
             admin = \"127.0.0.1:720{number}\"\npublic_key = \"{key}\"\n"
        ));
    }
    Cluster::parse(&text, "two-chains", &mut |_| Err("no files".to_owned())).unwrap()
}

fn replica(index: usize) -> ReplicaId {
    ReplicaId::from_index(index)
}

enum Event {
    Chain { at: usize, chain: u32, input: Input },
    Client { client: usize, from: usize, input: caller::Input },
    Renew { at: usize, chain: u32, serial: u64, command: Bytes },
    Asked { client: usize, at: usize, request: Request },
    ChainWake { at: usize, chain: u32 },
    ClientWake { client: usize },
    Call { client: usize },
    Kill,
}

struct Site {
    chain: Chain,
    wake: u64,
}

struct Client {
    id: ClientId,
    core: ChainsCaller,
    wake: u64,
    tokens: u64,
    /// The calls under way: key, whether it counts up, and when it was asked.
    waits: BTreeMap<Token, (String, bool, u64)>,
    /// What the master's group has answered: all its replicas say the same.
    shown: BTreeMap<(SessionId, u64), Bytes>,
}

/// What a client saw of a key's number.
struct Seen {
    asked: u64,
    told: u64,
    counts: bool,
    number: i64,
}

struct World {
    cluster: Cluster,
    time: u64,
    serial: u64,
    queue: BTreeMap<(u64, u64), Event>,
    master: Master,
    sites: Vec<BTreeMap<u32, Site>>,
    clients: Vec<Client>,
    dice: Dice,
    victim: usize,
    /// Whether it is dead.
    killed: bool,
    seen: BTreeMap<String, Vec<Seen>>,
    refused: u64,
    questions: BTreeSet<(usize, u64)>,
}

impl World {
    fn new(seed: u64, cluster: Cluster, victim: usize) -> Self {
        let master = master_of(&cluster);
        let site = |index: usize, chain: u32| {
            let make = || -> Box<dyn Service> { Box::new(kv::Kv::new()) };
            let setup = Setup {
                me: replica(index),
                incarnation: 1,
                chain,
                context: cluster.context(GroupId::of_chain(chain)),
                lease: cluster.chains.lease,
                margin: cluster.chains.margin,
                durable: true,
                lost: false,
                unsure: cluster.master_is_apart(),
                trace: false,
                reads_any: false,
                order: cluster.limits,
                limits: ChainLimits::default(),
                inherited: None,
                service: MakeService(Arc::new(make)),
            };
            (chain, Site { chain: Chain::new(setup, Found::default()).unwrap(), wake: 0 })
        };
        let sites = cluster.replicas.iter().map(|r| match cluster.is_host(r.id) {
            true => [0, 1].map(|chain| site(r.id.index(), chain)).into(),
            false => BTreeMap::new(),
        });
        let sites = sites.collect();
        let clients = (0..CLIENTS).map(|index| client(&cluster, index)).collect();
        let mut world = Self {
            cluster,
            time: 1,
            serial: 0,
            queue: BTreeMap::new(),
            master,
            sites,
            clients,
            dice: Dice::new(seed, 7),
            victim,
            killed: false,
            seen: BTreeMap::new(),
            refused: 0,
            questions: BTreeSet::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for at in 0..self.sites.len() {
            for peer in self.hosts().filter(|peer| *peer != at).map(replica) {
                for chain in [0, 1] {
                    self.after(1, Event::Chain { at, chain, input: Input::PeerUp { peer } });
                }
            }
            for client in 0..CLIENTS {
                let hello = Hello {
                    version: PROTOCOL_VERSION,
                    cluster: self.cluster.id(),
                    replica: replica(at),
                    incarnation: 1,
                    restarted: false,
                    fields: vec![],
                    groups: vec![],
                };
                let input = caller::Input::Up { replica: replica(at), hello };
                self.after(WAY, Event::Client { client, from: at, input });
            }
        }
        for client in 0..CLIENTS {
            (0..AT_A_TIME).for_each(|_| self.after(2 * WAY, Event::Call { client }));
        }
        self.after(KILL, Event::Kill);
    }

    /// Who may be in chains, by their places.
    fn hosts(&self) -> std::ops::Range<usize> {
        let hosts = self.cluster.hosts();
        hosts[0].id.index()..hosts[0].id.index() + hosts.len()
    }

    fn is_dead(&self, at: usize) -> bool {
        self.killed && at == self.victim
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.serial += 1;
        self.queue.insert((self.time + delay, self.serial), event);
    }

    fn run(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.time = at;
            assert!(at < GIVE_UP, "calls are not answered: {:?}", self.waiting());
            self.happen(event);
            if at > END && self.waiting().is_empty() && self.is_whole() {
                return;
            }
        }
    }

    fn waiting(&self) -> Vec<&str> {
        self.clients.iter().flat_map(|c| c.waits.values()).map(|(key, ..)| &**key).collect()
    }

    /// Both chains have two members again, all of them equally far.
    fn is_whole(&self) -> bool {
        [0, 1].into_iter().all(|chain| {
            let config = self.config(chain);
            let far = |m: &quorate::wire::ChainMember| {
                let site = self.sites[m.replica.index()].get(&chain)?;
                (site.chain.last() == site.chain.executed()).then(|| site.chain.executed())
            };
            let far: Vec<_> = config.members.iter().map(far).collect();
            config.members.len() == 2 && far[0].is_some() && far[0] == far[1]
        })
    }

    fn config(&self, chain: u32) -> ChainConfig {
        let show = master::Command::Show { chain }.encode();
        let said = self.master.query(AgreedTime(self.time), &ClientId([0; 32]), &show);
        match master::Answer::parse(&said) {
            Ok(master::Answer::Chain { config, .. }) => config,
            other => panic!("{other:?}"),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Chain { at, chain, input } => self.chain(at, chain, input),
            Event::ChainWake { at, chain } => {
                if let Some(site) = self.sites[at].get_mut(&chain) {
                    site.wake = 0;
                    self.chain(at, chain, Input::Tick);
                }
            }
            Event::Client { client, from, input } => {
                let is_down = matches!(input, caller::Input::Down { .. });
                if is_down || !self.is_dead(from) {
                    self.client(client, input);
                }
            }
            Event::ClientWake { client } => {
                self.clients[client].wake = 0;
                self.client(client, caller::Input::Tick);
            }
            Event::Renew { at, chain, serial, command } => {
                let time = AgreedTime(self.time);
                let output = self.master.execute(time, &ClientId([0; 32]), &command).into();
                let input = Input::Renewed { serial, output };
                self.after(MASTER, Event::Chain { at, chain, input });
            }
            Event::Asked { client, at, request } => self.asked(client, at, &request),
            Event::Call { client } => self.call(client),
            Event::Kill => self.kill(),
        }
    }

    fn kill(&mut self) {
        let (victim, peer) = (self.victim, replica(self.victim));
        self.killed = true;
        self.sites[victim].clear();
        for at in self.hosts().filter(|at| *at != victim) {
            for chain in [0, 1] {
                self.after(WAY, Event::Chain { at, chain, input: Input::PeerDown { peer } });
            }
        }
        for client in 0..CLIENTS {
            let input = caller::Input::Down { replica: peer };
            self.after(WAY, Event::Client { client, from: victim, input });
        }
    }

    // --- chains --------------------------------------------------------------------------------

    fn chain(&mut self, at: usize, chain: u32, input: Input) {
        let now = Now { monotonic: Instant(self.time * 1000), wall: Wall(self.time) };
        let Some(site) = self.sites[at].get_mut(&chain) else { return };
        let mut actions = site.chain.handle(now, input);
        actions.extend(site.chain.handle(now, Input::Drained));
        let due = (site.chain.next_wake().0 / 1000).max(self.time + 1);
        let earlier = site.wake == 0 || due < site.wake;
        if earlier {
            site.wake = due;
            self.after(due - self.time, Event::ChainWake { at, chain });
        }
        for action in actions {
            self.perform(at, chain, action);
        }
    }

    fn perform(&mut self, at: usize, chain: u32, action: Action) {
        let group = GroupId::of_chain(chain);
        match action {
            Action::ToPeer { peer, message } => {
                let input = Input::Peer { peer: replica(at), message };
                self.after(WAY, Event::Chain { at: peer.index(), chain, input });
            }
            Action::Reply { client, number, reply } => {
                let position = StepPosition { round: Round(number), vector: Digest::ZERO };
                let replies = Replies { position, rolled: false, replies: vec![reply] };
                let client = self.clients.iter().position(|c| c.id == client).unwrap();
                self.tell(at, client, replies.to_frame(group));
            }
            Action::Answer { link, answer } => {
                self.tell(at, usize::try_from(link.0).unwrap(), answer.to_frame(group));
            }
            Action::Renew { serial, command } => {
                self.after(MASTER, Event::Renew { at, chain, serial, command });
            }
            Action::Append { sequence, .. } | Action::Save { sequence, .. } => {
                self.after(SYNC, Event::Chain { at, chain, input: Input::Synced { sequence } });
            }
            Action::Encode { id, work } => {
                let input = Input::Encoded { id, state: work.run() };
                self.after(SYNC, Event::Chain { at, chain, input });
            }
            Action::Event(Told::Halted { why }) => panic!("halted: {why}"),
            Action::Event(Told::DiskLost) => panic!("no disk is lost"),
            Action::Event(_) | Action::Begun => {}
        }
    }

    fn tell(&mut self, from: usize, client: usize, bytes: Vec<u8>) {
        let frames = vec![Frame::parse(bytes.into()).unwrap()];
        let input = caller::Input::Frames { replica: replica(from), frames };
        self.after(WAY, Event::Client { client, from, input });
    }

    // --- clients -------------------------------------------------------------------------------

    fn client(&mut self, index: usize, input: caller::Input) {
        let now = Instant(self.time * 1000);
        let client = &mut self.clients[index];
        let mut out = caller::Actions::new();
        client.core.handle(now, input, &mut out);
        client.core.handle(now, caller::Input::Drained, &mut out);
        let due = client.core.next_wake().map(|at| (at.0 / 1000).max(self.time + 1));
        if let Some(due) = due.filter(|due| client.wake == 0 || *due < client.wake) {
            client.wake = due;
            self.after(due - self.time, Event::ClientWake { client: index });
        }
        for action in out {
            match action {
                caller::Action::Send { replica, frame } => self.sent(index, replica.index(), frame),
                caller::Action::Receipt { token, .. } => panic!("a receipt of {token:?}"),
                caller::Action::Done { token, result } => self.done(index, token, result),
                caller::Action::Close { replica, why } => panic!("closed {replica}: {why}"),
                caller::Action::Numbered { .. } | caller::Action::Over { .. } => {}
            }
        }
    }

    fn sent(&mut self, client: usize, at: usize, bytes: Bytes) {
        let mut decoder = FrameDecoder::default();
        decoder.push(bytes);
        let (link, id) = (LinkId(client as u64), self.clients[client].id);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let event = match (frame.group.chain(), frame.kind) {
                (None, _) => {
                    let request = Request::from_body(&frame.body).unwrap();
                    Event::Asked { client, at, request }
                }
                (Some(chain), Kind::Request) => {
                    let request = Request::from_body(&frame.body).unwrap();
                    Event::Chain { at, chain, input: Input::Update { link, client: id, request } }
                }
                // Here each client has one link.
                (Some(_), Kind::ChainSession) => {
                    assert!(
                        self.hosts().contains(&at),
                        "who has no part in chains is told nothing"
                    );
                    continue;
                }
                (Some(chain), _) => {
                    let query = ChainQuery::from_body(&frame.body).unwrap();
                    Event::Chain { at, chain, input: Input::Query { link, client: id, query } }
                }
            };
            self.after(WAY, event);
        }
    }

    /// The master's group has ordered and answered this; one of its replicas says so.
    fn asked(&mut self, index: usize, at: usize, request: &Request) {
        assert!(at < 3, "only these vote");
        if self.is_dead(at) {
            return;
        }
        let key = (request.session, request.number);
        self.questions.insert((index, request.number));
        let fresh = || match RequestBody::parse(&request.body) {
            Ok(RequestBody { commands }) if request.number > 0 => {
                let answer = |c: &Command| -> Bytes {
                    let time = AgreedTime(self.time);
                    self.master.query(time, &ClientId([0; 32]), &c.bytes).into()
                };
                Outcome::Executed(commands.iter().map(answer).collect()).to_bytes()
            }
            _ => Outcome::Opened.to_bytes(),
        };
        let outcome = match self.clients[index].shown.get(&key) {
            Some(outcome) => outcome.clone(),
            None => fresh(),
        };
        self.clients[index].shown.insert(key, outcome.clone());
        let reply = Reply { session: key.0, number: key.1, index: 0, outcome };
        let position = StepPosition { round: Round(key.1 + 1), vector: Digest::ZERO };
        let replies = Replies { position, rolled: false, replies: vec![reply] };
        self.tell(at, index, replies.to_frame(GroupId::MAIN));
    }

    fn call(&mut self, index: usize) {
        if self.time > END {
            return;
        }
        let key = format!("key-{}", self.dice.below(KEYS));
        let counts = self.dice.chance(700);
        let both = self.dice.chance(50);
        let client = &mut self.clients[index];
        client.tokens += 1;
        let token = Token(client.tokens);
        let command = |c: kv::Command<'_>| {
            let kind = if c.is_read_only() { CommandKind::Query } else { CommandKind::Execute };
            Command { kind, bytes: c.encode().into() }
        };
        let commands = match (both, counts) {
            // Chain 0 and chain 1, as the slots of these keys have it: nothing of it may run.
            (true, _) => ["a", "colour"].map(|key| command(kv::Command::put(key, "x"))).into(),
            (false, true) => vec![command(kv::Command::incr(&key, 1))],
            (false, false) => vec![command(kv::Command::get(&key))],
        };
        let key = if both { "both".to_owned() } else { key };
        client.waits.insert(token, (key, counts, self.time));
        self.client(index, caller::Input::Call { token, commands, coalesce: true });
    }

    fn done(&mut self, index: usize, token: Token, result: Result<caller::Answer, CallError>) {
        let (key, counts, asked) = self.clients[index].waits.remove(&token).unwrap();
        let think = self.dice.between(1000, 30_000);
        self.after(think, Event::Call { client: index });
        if key == "both" {
            let why = result.unwrap_err().to_string();
            assert!(why.contains("\"a\" is of chain 0, key \"colour\" of chain 1"), "{why}");
            self.refused += 1;
            return;
        }
        let answer = result.unwrap_or_else(|e| panic!("{key}: {e}"));
        let map = self.cluster.key_map();
        assert_eq!(answer.explanation.of_chain, Some(map.chain_of(key.as_bytes())));
        let number = match kv::Output::parse(&answer.outputs[0]).unwrap() {
            kv::Output::Number(n) => n,
            kv::Output::Missing => 0,
            kv::Output::Value(text) => std::str::from_utf8(&text).unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        self.seen.entry(key).or_default().push(Seen { asked, told: self.time, counts, number });
    }

    // --- the end -------------------------------------------------------------------------------

    /// All that a chain's tail has.
    fn state(&mut self, chain: u32) -> BTreeMap<String, i64> {
        let tail = self.config(chain).tail().unwrap().replica.index();
        let bytes = kv::Command::scan("", 1000).encode().into();
        let body = RequestBody { commands: vec![Command { kind: CommandKind::Query, bytes }] };
        let query = ChainQuery { id: 1, body: body.to_bytes() };
        let (link, client) = (LinkId(0), ClientId([0; 32]));
        let now = Now { monotonic: Instant(self.time * 1000), wall: Wall(self.time) };
        let site = self.sites[tail].get_mut(&chain).unwrap();
        let actions = site.chain.handle(now, Input::Query { link, client, query });
        let outcome = actions.into_iter().find_map(|action| match action {
            Action::Answer { answer: ChainAnswer::Answer { outcome, .. }, .. } => Some(outcome),
            _ => None,
        });
        let Ok(Outcome::Executed(outputs)) = Outcome::parse(&outcome.expect("it is the tail"))
        else {
            panic!("a scan is executed");
        };
        let kv::Output::Entries { entries, more: false } = kv::Output::parse(&outputs[0]).unwrap()
        else {
            panic!("a scan gives entries");
        };
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        entries.iter().map(|(key, value)| (text(key), text(value).parse().unwrap())).collect()
    }

    /// A number that counts up by one: who asks after another was told sees more, or as much.
    fn check(&mut self) {
        let map = self.cluster.key_map();
        let mut states = [0, 1].map(|chain| self.state(chain));
        for (chain, state) in (0..).zip(&states) {
            assert!(state.len() > 2, "chain {chain} has {state:?}");
            let strange = state.keys().find(|key| map.chain_of(key.as_bytes()) != chain);
            assert_eq!(strange, None, "in chain {chain}");
        }
        let [zero, one] = &mut states;
        zero.append(one);
        for (key, seen) in &self.seen {
            let ups: Vec<i64> = seen.iter().filter(|s| s.counts).map(|s| s.number).collect();
            let once: BTreeSet<i64> = ups.iter().copied().collect();
            let all: BTreeSet<i64> = (1..=ups.len() as i64).collect();
            assert_eq!(once, all, "{key}: each count once, none lost");
            assert_eq!(zero.get(key).copied().unwrap_or_default(), ups.len() as i64, "{key}");
            for later in seen {
                for earlier in seen.iter().filter(|s| s.told < later.asked) {
                    let goes_up = later.number >= earlier.number + i64::from(later.counts);
                    assert!(goes_up, "{key}: {} after {}", later.number, earlier.number);
                }
            }
        }
    }
}

fn client(cluster: &Cluster, index: usize) -> Client {
    let id = ClientId([100 + index as u8; 32]);
    let chain = |number: u32| ChainSetup {
        setup: caller::Setup {
            ordered: false,
            assurance: quorate::types::Assurance::Majority,
            mode: Mode::Vote,
            ensemble: cluster.ensemble,
            roster: cluster.replicas.len(),
            context: cluster.context(GroupId::of_chain(number)),
            client: id,
            session: SessionId(10 * index as u64 + u64::from(number)),
            limits: cluster.limits,
            repeat_after: Duration::from_millis(250),
            repeat_cap: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
            receipts: None,
            pipeline: 4,
            gather: Duration::ZERO,
        },
        master: GroupId::MAIN,
        chain: number,
        reads_any: false,
        ask_every: cluster.chains.lease / 2,
    };
    let touches = TouchesOf::built_in("kv").unwrap();
    let setup = ChainsSetup { chains: vec![chain(0), chain(1)], map: cluster.key_map(), touches };
    let core = ChainsCaller::new(setup, Instant(0));
    let (waits, shown) = (BTreeMap::new(), BTreeMap::new());
    Client { id, core, wake: 0, tokens: 0, waits, shown }
}

/// Chain 0 begins as R1 > R2 and chain 1 as R2 > R3: the three replicas have other places in each.
#[test]
fn two_chains_at_one_master_outlive_each_replica_and_keep_their_keys() {
    for seed in 0..9 {
        let victim = usize::try_from(seed % 3).unwrap();
        let world = played(seed, cluster(false), victim, [[0, 1], [1, 2]]);
        for chain in [0, 1] {
            assert!(!world.config(chain).has(replica(victim)), "it is out of chain {chain}");
        }
    }
}

fn played(seed: u64, cluster: Cluster, victim: usize, begins: [[usize; 2]; 2]) -> World {
    let chains = [0, 1].map(|chain| cluster.each_chain()[chain].members.clone());
    assert_eq!(chains, begins.map(|members| members.map(replica)));
    let mut world = World::new(seed, cluster, victim);
    world.run();
    world.check();
    let answered: usize = world.seen.values().map(Vec::len).sum();
    let asked = world.questions.len();
    println!("seed {seed}: {answered} answered, {} refused, {asked} questions", world.refused);
    assert!(answered > 500 && world.refused > 10);
    world
}

/// The same where the master is a group of its own: R1 to R3 vote, and R4 to R6 are the chains'.
/// Of those that vote one may die, and no chain notices.
#[test]
fn chains_whose_master_is_apart_outlive_one_of_it_and_one_of_theirs() {
    for seed in 0..6 {
        let victim = usize::try_from(seed).unwrap();
        let world = played(seed, cluster(true), victim, [[3, 4], [4, 5]]);
        for chain in [0, 1] {
            let config = world.config(chain);
            assert!(!config.has(replica(victim)) && config.members.len() == 2);
            assert!(victim > 2 || config.number == 1, "nobody was taken out");
        }
    }
}
