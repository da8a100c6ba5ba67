//! The load on Redis: requests of SETs and one `WAIT 2`, so that an answer says that both replicas
//! have what was set.

use crate::keys::Load;
use crate::resp::{self, Reply};
use crate::tally::{Report, Shared};
use crate::{LoadArgs, READY};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How requests share connections. While one waits in WAIT, Redis reads nothing more from its
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sharing {
    /// A connection for each request under way: none stands behind another.
    None,
    /// As many connections as clients. All requests of one go together, before a single WAIT.
    Grouped,
    /// As many connections as clients. Each request has its WAIT, so those of one stand in line.
    Pipelined,
}

/// Replicas that have to acknowledge each request.
const REPLICAS: i64 = 2;
/// Milliseconds that the server waits for them.
const PATIENCE: &[u8] = b"10000";

/// Runs the load against the primary, the first address.
///
/// # Errors
/// If the primary or its replicas are not there in time, or a connection ends.
pub async fn run(args: &LoadArgs, sharing: Sharing) -> Result<Value> {
    let primary = *args.address.first().context("no --address of the primary")?;
    ready(primary).await?;
    let (connections, room) = match sharing {
        Sharing::None => (args.clients * args.outstanding, 1),
        Sharing::Grouped | Sharing::Pipelined => (args.clients, args.outstanding),
    };
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(primary).await?);
    }
    let load = Rc::new(RefCell::new(Load::new(args.keys, args.size, args.seed)));
    let shared = args.window();
    let mut workers = JoinSet::new();
    for connection in open {
        let (load, shared) = (load.clone(), shared.clone());
        let shape = Shape {
            room: room as usize,
            commands: args.commands_per_request,
            grouped: sharing == Sharing::Grouped,
        };
        workers.spawn_local(async move { closed_loop(connection, shape, &load, &shared).await });
    }
    let report: Report = shared.watch(&args.pid, args.commands_per_request).await?;
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(report.to_json(&shared))
}

/// What is sent on one connection.
#[derive(Clone, Copy)]
struct Shape {
    /// Requests under way at most.
    room: usize,
    /// SETs in a request.
    commands: u32,
    /// Whether all requests that can be sent share a WAIT.
    grouped: bool,
}

async fn closed_loop(
    mut connection: Connection,
    shape: Shape,
    load: &RefCell<Load>,
    shared: &Shared,
) -> Result<()> {
    // Of each group when it was begun, and how many requests it is.
    let mut under_way: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut room = shape.room;
    let mut answers = Answers::default();
    loop {
        while room > 0 && !shared.tally().stopped() {
            let requests = if shape.grouped { room } else { 1 };
            room -= requests;
            under_way.push_back((Instant::now(), requests));
            let sets = shape.commands * requests as u32;
            answers.expect(sets);
            group(&mut connection.output, sets, &mut load.borrow_mut());
        }
        if under_way.is_empty() {
            return Ok(());
        }
        connection.send().await?;
        connection.receive().await?;
        while let Some(reply) = connection.next()? {
            let Some(answer) = answers.take(reply)? else { continue };
            let (begun, requests) = under_way.pop_front().context("nobody asked for an answer")?;
            room += requests;
            let (now, mut tally) = (Instant::now(), shared.tally());
            for _ in 0..requests {
                match &answer {
                    Ok(()) => tally.good(begun, now),
                    Err(why) => tally.failed(|| why.clone()),
                }
            }
        }
    }
}

/// Appends SETs and a WAIT.
fn group(out: &mut Vec<u8>, sets: u32, load: &mut Load) {
    for _ in 0..sets {
        let (key, value) = load.next_put();
        resp::command(out, &[b"SET", &key, value]);
    }
    resp::command(out, &[b"WAIT", REPLICAS.to_string().as_bytes(), PATIENCE]);
}

/// The replies to one group after the other: one to each SET, and one to WAIT.
#[derive(Default)]
struct Answers {
    /// Replies to SET that each group still gets.
    left: VecDeque<u32>,
    failed: Option<String>,
}

impl Answers {
    /// A group of so many SETs was sent.
    fn expect(&mut self, sets: u32) {
        self.left.push_back(sets);
    }

    /// How the first group ended, if this reply is its last.
    fn take(&mut self, reply: Reply) -> Result<Option<Result<(), String>>> {
        let left = self.left.front_mut().context("a reply that nobody asked for")?;
        if *left > 0 {
            *left -= 1;
            match reply {
                Reply::Simple(ok) if ok == "OK" => {}
                Reply::Error(why) => self.failed = Some(format!("SET: {why}")),
                other => bail!("a reply that SET does not give: {other:?}"),
            }
            return Ok(None);
        }
        self.left.pop_front();
        let waited = match reply {
            Reply::Int(n) if n >= REPLICAS => Ok(()),
            Reply::Int(n) => Err(format!("WAIT: {n} replicas have it, of {REPLICAS}")),
            Reply::Error(why) => Err(format!("WAIT: {why}")),
            other => bail!("a reply that WAIT does not give: {other:?}"),
        };
        Ok(Some(self.failed.take().map_or(waited, Err)))
    }
}

struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// What of the input is read.
    read: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("cannot reach Redis at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, output: Vec::new(), input: Vec::new(), read: 0 })
    }

    async fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.output).await.context("cannot send to Redis")?;
        self.output.clear();
        Ok(())
    }

    async fn receive(&mut self) -> Result<()> {
        self.input.drain(..self.read);
        self.read = 0;
        match self.stream.read_buf(&mut self.input).await.context("cannot read from Redis")? {
            0 => bail!("Redis closed a connection"),
            _ => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Option<Reply>> {
        let Some((reply, length)) = resp::parse(&self.input[self.read..])? else { return Ok(None) };
        self.read += length;
        Ok(Some(reply))
    }

    async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        resp::command(&mut self.output, words);
        self.send().await?;
        loop {
            if let Some(reply) = self.next()? {
                return Ok(reply);
            }
            self.receive().await?;
        }
    }
}

/// Waits until both replicas have all that the primary has.
async fn ready(primary: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY;
    loop {
        let found = linked(primary).await;
        match found {
            Ok(REPLICAS..) => return Ok(()),
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(n) => bail!("{n} of {REPLICAS} replicas follow {primary} after {READY:?}"),
            Err(error) => return Err(error),
        }
    }
}

/// How many replicas are said to be on line and acknowledge something.
async fn linked(primary: SocketAddr) -> Result<i64> {
    let mut connection = Connection::open(primary).await?;
    let Reply::Bulk(Some(info)) = connection.ask(&[b"INFO", b"replication"]).await? else {
        bail!("no answer to INFO");
    };
    let online = String::from_utf8_lossy(&info).matches("state=online").count() as i64;
    if online < REPLICAS {
        return Ok(online);
    }
    connection.ask(&[b"SET", b"ready", b"yes"]).await?;
    match connection.ask(&[b"WAIT", REPLICAS.to_string().as_bytes(), b"1000"]).await? {
        Reply::Int(n) => Ok(n),
        other => bail!("WAIT answers {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    #[test]
    fn a_group_is_answered_by_its_wait() {
        let mut answers = Answers::default();
        answers.expect(2);
        answers.expect(1);
        assert!(answers.take(ok()).unwrap().is_none());
        assert!(answers.take(ok()).unwrap().is_none());
        assert_eq!(answers.take(Reply::Int(2)).unwrap(), Some(Ok(())));
        assert!(answers.take(ok()).unwrap().is_none());
        assert_eq!(answers.take(Reply::Int(3)).unwrap(), Some(Ok(())));
        assert!(answers.take(ok()).is_err());
    }

    #[test]
    fn too_few_replicas_and_errors_are_failures_of_their_group_alone() {
        let mut answers = Answers::default();
        (0..4).for_each(|_| answers.expect(1));
        answers.take(ok()).unwrap();
        let answer = answers.take(Reply::Int(1)).unwrap().unwrap();
        assert!(answer.unwrap_err().contains("1 replicas have it"));
        answers.take(Reply::Error("OOM".to_owned())).unwrap();
        let answer = answers.take(Reply::Int(2)).unwrap().unwrap();
        assert_eq!(answer.unwrap_err(), "SET: OOM");
        answers.take(ok()).unwrap();
        assert_eq!(answers.take(Reply::Int(2)).unwrap(), Some(Ok(())));
        // Out of step.
        assert!(answers.take(Reply::Int(2)).is_err());
    }

    #[test]
    fn a_group_is_so_many_sets_and_one_wait() {
        let mut out = Vec::new();
        group(&mut out, 3, &mut Load::new(10, 128, 1));
        let text = String::from_utf8_lossy(&out);
        assert_eq!((text.matches("SET\r\n").count(), text.matches("WAIT\r\n").count()), (3, 1));
        assert!(text.ends_with("$1\r\n2\r\n$5\r\n10000\r\n"));
    }
}
