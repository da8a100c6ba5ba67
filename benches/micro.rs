//! Times of the parts of a replica: `make bench-micro`.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate::crypto::{Ed25519, Keyed, Keyring, Scheme, Unverified, Verified};
use quorate::storage::{Disk, Entry, MemoryDisk, Space};
use quorate::types::{Durability, GroupId};
use quorate::wire::{Message, Proposal, Request};
use quorate_benches::{Cores, Execution, FileDisk, Group, Prepared, open_log, samples};
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Candidates in a round, of a lone request up to a full house.
const SIZES: [u64; 4] = [1, 16, 128, 1024];

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let request = samples::request(5, 1);
    both(&mut group, "request", 1, &request);
    let proposal = samples::signed(75, &samples::keyring::<Ed25519>(1));
    both(&mut group, "proposal of 75", 75, &proposal);
    both(&mut group, "75 replies", 75, &samples::replies(75));
    group.finish();
}

type Times<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn both<M: Message>(group: &mut Times<'_>, name: &str, elements: u64, message: &M) {
    let frame = message.to_frame(GroupId::MAIN);
    // Behind the length, the kind and the group.
    let body = &frame[9..];
    assert!(M::from_body(body).is_ok(), "{name} is read as it was written");
    group.throughput(Throughput::Elements(elements));
    group.bench_function(BenchmarkId::new("encode", name), |b| {
        b.iter(|| black_box(message).to_frame(GroupId::MAIN));
    });
    group.bench_function(BenchmarkId::new("decode", name), |b| {
        b.iter(|| M::from_body(black_box(body)).is_ok());
    });
}

fn digests(c: &mut Criterion) {
    let mut group = c.benchmark_group("digest");
    let (request, context): (Request, _) = (samples::request(5, 1), samples::context());
    group.bench_function("request", |b| {
        b.iter(|| black_box(&request).digest(&context, &samples::CLIENT));
    });
    group.finish();
}

fn signatures(c: &mut Criterion) {
    signatures_of::<Ed25519>(c, "ed25519");
    signatures_of::<Keyed>(c, "keyed");
}

/// Statements as the project signs them: the header of a proposal, bound to cluster, epoch and
/// members. Each of a group is checked by itself, strictly; nothing is batched.
fn signatures_of<S: Scheme>(c: &mut Criterion, name: &str) {
    let mut group = c.benchmark_group(name);
    let keyring: Keyring<S> = samples::keyring(4);
    let signer = S::signer(&samples::secret(0));
    let proposal = samples::proposal(75);
    group.bench_function("sign", |b| {
        let make = || proposal.clone();
        let sign = |proposal| Verified::sign(proposal, &keyring, &signer);
        b.iter_batched(make, sign, BatchSize::SmallInput);
    });
    for count in [1, 2, 4, 8] {
        let signed = |place: u8| {
            let mut proposal = samples::proposal(75);
            proposal.replica = quorate::types::ReplicaId::from_index(place.into());
            let signer = S::signer(&samples::secret(place.into()));
            Unverified::from(Verified::sign(proposal, &keyring, &signer))
        };
        let messages: Vec<Unverified<Proposal>> = (0..count).map(signed).collect();
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::new("verify", count), |b| {
            b.iter(|| {
                let mut all = black_box(&messages).iter();
                assert!(all.all(|m| m.verify_ref(&keyring).is_ok()), "they are signed");
            });
        });
    }
    group.finish();
}

fn ordering(c: &mut Criterion) {
    let mut group = c.benchmark_group("ordering: a round of three cores");
    for size in SIZES {
        let mut cores = Cores::new();
        group.throughput(Throughput::Elements(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| b.iter(|| cores.round(size)));
        assert!(cores.executed() > 0, "requests come out in an order");
    }
    group.finish();
}

fn due(c: &mut Criterion) {
    for (name, seen_by) in [("due: seen by all three", 3), ("due: seen by two of three", 2)] {
        let mut group = c.benchmark_group(name);
        for size in [16, 128, 1024] {
            let ready = Cores::due(size, seen_by);
            group.throughput(Throughput::Elements(size));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter_batched(|| ready.clone(), |due| due.decide(), BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

fn execution(c: &mut Criterion) {
    let mut group = c.benchmark_group("execution");
    for commands in [1, 16] {
        // More keys than the store leaves without a digest: with fewer that cost would be missing.
        let requests = 2 * samples::KEYS / commands;
        let bodies: Vec<_> = (0..requests).map(|n| samples::body(n * commands, commands)).collect();
        let (mut execution, mut next) = (Execution::new(), 0);
        group.throughput(Throughput::Elements(commands));
        group.bench_function(BenchmarkId::new("puts in a request", commands), |b| {
            b.iter(|| {
                next = (next + 1) % bodies.len();
                execution.run(&bodies[next])
            });
        });
    }
    let bodies: Vec<_> = (0..1000).map(|n| samples::body(n, 1)).collect();
    let mut execution = Execution::new();
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 puts and a checkpoint's digests", |b| {
        b.iter(|| {
            bodies.iter().for_each(|body| drop(execution.run(body)));
            execution.digest()
        });
    });
    group.finish();
}

fn log(c: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory for a log");
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(64));
    // What a round of 64 requests of 128 bytes writes.
    let payload = vec![0x5a; 200];
    let entries = vec![Entry { kind: 1, payload: &payload }; 64];
    group.bench_function("append 64 in memory", |b| {
        let empty = || {
            let mut disk = MemoryDisk::new();
            let log = open_log(&mut disk);
            (disk, log)
        };
        b.iter_batched(
            empty,
            |(mut disk, mut log)| {
                append(&mut log, &mut disk, &entries, false);
                (disk, log)
            },
            BatchSize::SmallInput,
        );
    });
    for (name, sync) in [("append 64 to a file", false), ("append 64 to a file, synced", true)] {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).expect("a directory for a log");
        let mut disk = FileDisk::new(&path);
        let mut log = open_log(&mut disk);
        group.bench_function(name, |b| b.iter(|| append(&mut log, &mut disk, &entries, sync)));
    }
    group.finish();
}

fn append<D: Disk>(log: &mut quorate::storage::Log, disk: &mut D, of: &[Entry<'_>], sync: bool) {
    let appended = log.append(disk, of, Space::Ordinary).expect("the disk takes it");
    // Files of logs are not to fill the disk.
    let drops = appended.start.0.is_multiple_of(64 * 4096);
    if sync || drops {
        log.sync(disk).expect("the disk syncs");
    }
    if drops {
        log.drop_before(disk, appended.start).expect("old files go");
    }
}

/// All of a replica but its links and its disk, three times: per request, at `batch` a round.
fn replica(c: &mut Criterion) {
    replica_of::<Keyed>(c, "replica: three, keyed hash");
    replica_of::<Ed25519>(c, "replica: three, ed25519");
}

fn replica_of<S: Scheme>(c: &mut Criterion, name: &str) {
    let mut group = c.benchmark_group(name);
    for (batch, requests) in [(1, 64), (16, 512), (75, 1500)] {
        let prepared = Prepared::new(requests, batch);
        group.throughput(Throughput::Elements(requests));
        group.bench_function(BenchmarkId::new("requests a round", batch), |b| {
            b.iter_batched(
                || Group::<S>::new(Durability::Reply),
                |mut replicas| {
                    replicas.run(&prepared, requests);
                    replicas
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = short();
    targets = codec, digests, signatures, ordering, due, execution, log, replica
}
criterion_main!(benches);
