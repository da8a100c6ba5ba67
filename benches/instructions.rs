//! Runs one path so often: `instructions.sh` counts its instructions with two numbers, and what
//! lies between is the path alone.

use clap::{Parser, ValueEnum};
use quorate::crypto::{Ed25519, Keyed, Keyring, Scheme, Verified};
use quorate::storage::{Entry, MemoryDisk, Space};
use quorate::types::{Durability, GroupId};
use quorate::wire::Message;
use quorate_benches::{Cores, Execution, Group, Prepared, open_log, samples};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run one path so many times
#[derive(Parser)]
struct Arguments {
    /// Which
    path: Path,
    /// The signature scheme, for paths that sign
    #[arg(long, value_enum, default_value_t = Signatures::Ed25519)]
    scheme: Signatures,
    /// Requests, candidates or messages that are handled together
    #[arg(long, default_value_t = 75)]
    batch: u64,
    /// How many requests, candidates or messages in all; rounded up to whole batches
    #[arg(long)]
    times: u64,
    /// For how many to prepare: the same in all runs that are compared
    #[arg(long)]
    prepare: u64,
    /// What a replica has on its disk before it answers: reply or none
    #[arg(long, value_enum, default_value_t = Disk::Reply)]
    disk: Disk,
}

#[derive(Clone, Copy, ValueEnum)]
enum Signatures {
    Keyed,
    Ed25519,
}

#[derive(Clone, Copy, ValueEnum)]
enum Disk {
    Reply,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum Path {
    /// Three replicas: intake, rounds, execution, replies
    Replica,
    /// A round of three bare ordering cores with keyed hashes
    Ordering,
    /// What is due once a vector is committed, at one core
    Due,
    /// The session table and a put
    Execution,
    /// Records appended to a log in memory
    Log,
    /// A request's frame written and read, and its digest
    Request,
    /// A proposal written and read
    Proposal,
    /// A message of replies written and read
    Replies,
    /// A proposal signed
    Sign,
    /// A proposal's signature checked
    Verify,
}

fn main() {
    let arguments = Arguments::parse();
    assert!(arguments.times <= arguments.prepare, "--prepare is for at least as many as --times");
    match arguments.scheme {
        Signatures::Keyed => run::<Keyed>(&arguments),
        Signatures::Ed25519 => run::<Ed25519>(&arguments),
    }
}

fn run<S: Scheme>(arguments: &Arguments) {
    let (times, batch) = (arguments.times, arguments.batch.max(1));
    let batches = times.div_ceil(batch);
    match arguments.path {
        Path::Replica => {
            let prepared = Prepared::new(arguments.prepare.next_multiple_of(batch), batch);
            let durability = match arguments.disk {
                Disk::Reply => Durability::Reply,
                Disk::None => Durability::None,
            };
            Group::<S>::new(durability).run(&prepared, batches * batch);
        }
        Path::Ordering => {
            let mut cores = Cores::new();
            (0..batches).for_each(|_| cores.round(batch));
            // Those of the last rounds are on their way.
            assert!(cores.executed() + 3 * batch >= batches * batch, "all came out in an order");
        }
        Path::Due => due(batch, batches, arguments.prepare),
        Path::Execution => {
            // More keys than the store leaves without a digest.
            let bodies: Vec<_> = (0..2 * samples::KEYS).map(|n| samples::body(n, 1)).collect();
            let mut execution = Execution::new();
            (0..times).zip(bodies.iter().cycle()).for_each(|(_, body)| drop(execution.run(body)));
            execution.digest();
        }
        Path::Log => log(batch, batches),
        Path::Request | Path::Proposal | Path::Replies => codec::<S>(arguments.path, batch, times),
        Path::Sign | Path::Verify => signatures::<S>(arguments.path, times),
    }
}

fn due(batch: u64, batches: u64, prepare: u64) {
    // Copying and dropping a core costs as much as what is counted: the same number is copied and
    // dropped whatever is counted.
    let ready = Cores::due(batch, samples::N);
    let mut copies: Vec<_> = (0..prepare.div_ceil(batch)).map(|_| ready.clone()).collect();
    let rest = copies.split_off(usize::try_from(batches).expect("copies fit memory"));
    let decided: Vec<_> = copies.into_iter().map(|due| black_box(due.decide())).collect();
    drop((decided, rest));
}

fn log(batch: u64, batches: u64) {
    let mut disk = MemoryDisk::new();
    let mut log = open_log(&mut disk);
    let payload = vec![0x5a; 200];
    let count = usize::try_from(batch).expect("a batch fits memory");
    let entries = vec![Entry { kind: 1, payload: &payload }; count];
    for _ in 0..batches {
        log.append(&mut disk, &entries, Space::Ordinary).expect("memory takes it");
        log.sync(&mut disk).expect("memory syncs");
    }
}

fn codec<S: Scheme>(path: Path, batch: u64, times: u64) {
    let count = u32::try_from(batch).expect("a small batch");
    let (request, replies) = (samples::request(5, 1), samples::replies(count));
    let proposal = samples::signed(batch, &samples::keyring::<S>(1));
    let context = samples::context();
    for _ in 0..times {
        let read = match path {
            Path::Request => {
                black_box(request.digest(&context, &samples::CLIENT));
                again(&request)
            }
            Path::Proposal => again(&proposal),
            _ => again(&replies),
        };
        assert!(read, "what was written is read");
    }
}

fn again<M: Message>(message: &M) -> bool {
    let frame = black_box(message).to_frame(GroupId::MAIN);
    // Behind the length, the kind and the group.
    M::from_body(black_box(&frame[9..])).is_ok()
}

fn signatures<S: Scheme>(path: Path, times: u64) {
    let keyring: Keyring<S> = samples::keyring(1);
    let signer = S::signer(&samples::secret(0));
    let (proposal, signed) = (samples::proposal(75), samples::signed(75, &keyring));
    for _ in 0..times {
        match path {
            Path::Sign => drop(black_box(Verified::sign(proposal.clone(), &keyring, &signer))),
            _ => assert!(black_box(&signed).verify_ref(&keyring).is_ok(), "it is signed"),
        }
    }
}
