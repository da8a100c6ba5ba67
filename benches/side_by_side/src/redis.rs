//! The load on Redis: requests of SETs and one `WAIT 2`, so that an answer says that both replicas
//! have what was set.

use crate::keys::Load;
use crate::resp::{self, Reply};
use crate::tally::{Report, Shared};
use crate::{LoadArgs, READY};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Replicas that have to acknowledge each request.
const REPLICAS: i64 = 2;
/// Milliseconds that the server waits for them.
const PATIENCE: &[u8] = b"10000";

/// Runs the load against the primary, the first address.
///
/// # Errors
/// If the primary or its replicas are not there in time, or a connection ends.
pub async fn run(args: &LoadArgs, pipelined: bool) -> Result<Value> {
    let primary = *args.address.first().context("no --address of the primary")?;
    ready(primary).await?;
    // While a connection waits in WAIT, Redis reads nothing more from it: requests that share one
    // stand in line. With a connection for each request under way they do not.
    let (connections, outstanding) = match pipelined {
        true => (args.clients, args.outstanding),
        false => (args.clients * args.outstanding, 1),
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
        let commands = args.commands_per_request;
        workers.spawn_local(async move {
            closed_loop(connection, outstanding as usize, commands, &load, &shared).await
        });
    }
    let report: Report = shared.watch(&args.pid, args.commands_per_request).await?;
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(report.to_json(&shared))
}

async fn closed_loop(
    mut connection: Connection,
    outstanding: usize,
    commands: u32,
    load: &RefCell<Load>,
    shared: &Shared,
) -> Result<()> {
    let mut under_way = VecDeque::new();
    let mut replies = Request::new(commands);
    loop {
        while under_way.len() < outstanding && !shared.tally().stopped() {
            under_way.push_back(Instant::now());
            request(&mut connection.output, commands, &mut load.borrow_mut());
        }
        if under_way.is_empty() {
            return Ok(());
        }
        connection.send().await?;
        connection.receive().await?;
        while let Some(reply) = connection.next()? {
            let Some(answer) = replies.take(reply)? else { continue };
            let begun = under_way.pop_front().context("an answer that nobody asked for")?;
            match answer {
                Ok(()) => shared.tally().good(begun, Instant::now()),
                Err(why) => shared.tally().failed(|| why),
            }
        }
    }
}

/// Appends SETs and a WAIT.
fn request(out: &mut Vec<u8>, commands: u32, load: &mut Load) {
    for _ in 0..commands {
        let (key, value) = load.next_put();
        resp::command(out, &[b"SET", &key, value]);
    }
    resp::command(out, &[b"WAIT", REPLICAS.to_string().as_bytes(), PATIENCE]);
}

/// The replies to one request after the other: so many to SET, and one to WAIT.
struct Request {
    commands: u32,
    done: u32,
    failed: Option<String>,
}

impl Request {
    fn new(commands: u32) -> Self {
        Self { commands, done: 0, failed: None }
    }

    /// How the request ended, if this reply is its last.
    fn take(&mut self, reply: Reply) -> Result<Option<Result<(), String>>> {
        if self.done < self.commands {
            self.done += 1;
            match reply {
                Reply::Simple(ok) if ok == "OK" => {}
                Reply::Error(why) => self.failed = Some(format!("SET: {why}")),
                other => bail!("a reply that SET does not give: {other:?}"),
            }
            return Ok(None);
        }
        self.done = 0;
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
    fn a_request_is_answered_by_its_wait() {
        let mut request = Request::new(2);
        for _ in 0..2 {
            assert!(request.take(ok()).unwrap().is_none());
            assert!(request.take(ok()).unwrap().is_none());
            assert_eq!(request.take(Reply::Int(2)).unwrap(), Some(Ok(())));
        }
    }

    #[test]
    fn too_few_replicas_and_errors_are_failures_of_their_request_alone() {
        let mut request = Request::new(1);
        request.take(ok()).unwrap();
        let answer = request.take(Reply::Int(1)).unwrap().unwrap();
        assert!(answer.unwrap_err().contains("1 replicas have it"));
        request.take(Reply::Error("OOM".to_owned())).unwrap();
        let answer = request.take(Reply::Int(2)).unwrap().unwrap();
        assert_eq!(answer.unwrap_err(), "SET: OOM");
        request.take(ok()).unwrap();
        assert_eq!(request.take(Reply::Int(2)).unwrap(), Some(Ok(())));
        // Out of step.
        assert!(request.take(Reply::Int(2)).is_err());
    }

    #[test]
    fn a_request_is_so_many_sets_and_one_wait() {
        let mut out = Vec::new();
        request(&mut out, 3, &mut Load::new(10, 128, 1));
        let text = String::from_utf8_lossy(&out);
        assert_eq!((text.matches("SET\r\n").count(), text.matches("WAIT\r\n").count()), (3, 1));
        assert!(text.ends_with("$1\r\n2\r\n$5\r\n10000\r\n"));
    }
}
