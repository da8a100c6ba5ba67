//! `quorate client batch`.

use super::super::{Failure, USAGE, votes};
use super::ask::{Asked, ask, hand_over};
use super::receipt::{self, NO_RECEIPT, ask_for_receipt};
use super::words::{Ask, Words, split};
use super::{NEGATIVE, NO_MAJORITY, Show, Trouble};
use crate::client::{CallError, Client, ClientError};
use anyhow::Context as _;
use clap::{Args, FromArgMatches as _, Subcommand as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal as _, Read, Stdout, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Bytes of a line at most: the longest value, and every byte of it escaped.
const MAX_LINE: u64 = 1 << 20;

/// Run many commands, one a line in the words of this command line, quoted as in a shell
///
/// Results are printed in the order of the lines and are those that the lines have one after the
/// other: what depends on an earlier line waits for it, everything else travels together. A # at
/// the start of a word begins a comment. A negative answer does not end the batch; no majority, or
/// a line that cannot be read, does. With --explain votes are printed where somebody differs.
#[derive(Args)]
pub(super) struct Batch {
    /// The file with the commands, or - for standard input
    file: PathBuf,
    /// Commands under way at most
    #[arg(long, default_value_t = 256)]
    window: u16,
}

type Flight = Pin<Box<dyn Future<Output = Flown>>>;

/// What came of a command, and of its receipt, if one was wanted.
type Flown = (Result<Asked, CallError>, Option<receipt::Outcome>);

/// A command under way.
struct Sent {
    line: u64,
    what: Ask,
    flight: Flight,
}

#[derive(Default)]
struct Summary {
    accepted: u64,
    negative: u64,
    failed: u64,
    dissent: u64,
    /// Commands that have no receipt though one was wanted.
    unproven: u64,
}

impl Batch {
    /// Runs all of it; the exit code.
    pub async fn run(self, client: &Client, within: Duration, show: &Show) -> anyhow::Result<u8> {
        let (lines, size) = self.open()?;
        if let Err(error) = client.ready(within).await {
            let code = match &error {
                ClientError::NotReady { hopeless: true, .. } => USAGE,
                _ => NO_MAJORITY,
            };
            let message = format!("{error}\n{}", show.advice);
            return Err(Failure { code, message }.into());
        }
        let progress = progress(size);
        let mut run = Run {
            client,
            show,
            parser: Words::augment_subcommands(clap::Command::new("batch").no_binary_name(true)),
            under_way: VecDeque::new(),
            summary: Summary::default(),
            documents: Vec::new(),
            out: BufWriter::new(std::io::stdout()),
            progress,
            stop: None,
        };
        let began = Instant::now();
        let result = run.all(lines, usize::from(self.window.max(1))).await;
        run.progress.finish_and_clear();
        run.finish(began.elapsed(), result)
    }

    // The lines come from a thread: reading may wait for a person.
    fn open(&self) -> anyhow::Result<(mpsc::Receiver<Line>, Option<u64>)> {
        let (lines, coming) = mpsc::channel(1024);
        let mut size = None;
        if self.file.as_os_str() == "-" {
            std::thread::spawn(move || read_lines(std::io::stdin().lock(), &lines));
        } else {
            let name = || format!("cannot read {}", self.file.display());
            let file = File::open(&self.file).with_context(name)?;
            size = file.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
            std::thread::spawn(move || read_lines(BufReader::new(file), &lines));
        }
        Ok((coming, size))
    }
}

/// A line and how many bytes it had in the file, or why there is none.
type Line = std::io::Result<(Vec<u8>, u64)>;

fn read_lines(mut source: impl BufRead, lines: &mpsc::Sender<Line>) {
    loop {
        let mut line = Vec::new();
        let line = match Read::by_ref(&mut source).take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(read) if read as u64 == MAX_LINE && line.last() != Some(&b'\n') => {
                Err(std::io::Error::other("the line is longer than 1 MiB"))
            }
            Ok(read) => {
                line.pop_if(|last| *last == b'\n');
                Ok((line, read as u64))
            }
            Err(error) => Err(error),
        };
        let last = line.is_err();
        if lines.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn progress(size: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {percent}% {msg} ({eta} left)"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct Run<'a> {
    client: &'a Client,
    show: &'a Show,
    parser: clap::Command,
    under_way: VecDeque<Sent>,
    summary: Summary,
    documents: Vec<Value>,
    out: BufWriter<Stdout>,
    progress: ProgressBar,
    // Why no more lines are taken: what to say and with which code to end.
    stop: Option<(u8, String)>,
}

impl Run<'_> {
    async fn all(&mut self, mut lines: mpsc::Receiver<Line>, window: usize) -> std::io::Result<()> {
        let (mut number, mut held, mut more) = (0, None, true);
        loop {
            if let Some((line, what)) = held.take_if(|(_, what)| self.may_send(what)) {
                self.send(line, what);
            }
            let take = more && held.is_none() && self.under_way.len() < window;
            if !take && held.is_none() && self.under_way.is_empty() {
                return self.out.flush();
            }
            if self.under_way.is_empty() {
                // Whoever reads the results should not wait for the next command.
                self.out.flush()?;
            }
            tokio::select! {
                biased;
                result = first(&mut self.under_way), if !self.under_way.is_empty() => {
                    self.take(result)?;
                    more &= self.stop.is_none();
                    held = held.filter(|_| more);
                }
                line = lines.recv(), if take => {
                    number += 1;
                    match line {
                        None => more = false,
                        Some(line) => held = self.read(number, line).map(|what| (number, what)),
                    }
                    more &= self.stop.is_none();
                }
            }
        }
    }

    // Whether the results stay those of one line after the other.
    fn may_send(&self, what: &Ask) -> bool {
        self.under_way.iter().all(|sent| sent.what.commutes_with(what))
    }

    fn send(&mut self, line: u64, what: Ask) {
        if self.show.receipts.is_some() {
            let (client, asked) = (self.client.clone(), what.clone());
            let flight: Flight = Box::pin(async move {
                let (result, receipt) = ask_for_receipt(&client, &asked).await;
                (result, Some(receipt))
            });
            self.under_way.push_back(Sent { line, what, flight });
            return;
        }
        let flight: Flight = match what {
            // Its pages are asked for one after the other.
            Ask::Scan { .. } => {
                let (client, what) = (self.client.clone(), what.clone());
                Box::pin(async move { (ask(&client, &what).await, None) })
            }
            _ => {
                let flight = hand_over(self.client, &what);
                Box::pin(async move { (flight.await, None) })
            }
        };
        self.under_way.push_back(Sent { line, what, flight });
    }

    // A line's command, if it has one; remembers why not if it cannot be read.
    fn read(&mut self, number: u64, line: Line) -> Option<Ask> {
        let read = || -> Result<Option<Ask>, String> {
            let (line, bytes) = line.map_err(|e| e.to_string())?;
            self.progress.inc(bytes);
            let words = split(&line)?;
            if words.is_empty() {
                return Ok(None);
            }
            let matches =
                self.parser.try_get_matches_from_mut(words).map_err(|e| first_line(&e))?;
            let words = Words::from_arg_matches(&matches).map_err(|e| first_line(&e))?;
            let receipts = self.show.receipts.iter();
            receipts.into_iter().try_for_each(|receipts| receipts.may_write(number))?;
            words.resolve(false).map(Some).map_err(|e| e.to_string())
        };
        read().unwrap_or_else(|why| {
            self.stop = Some((USAGE, format!("line {number}: {why}")));
            None
        })
    }

    fn take(&mut self, (result, receipt): Flown) -> std::io::Result<()> {
        let Some(sent) = self.under_way.pop_front() else { return Ok(()) };
        let written = receipt.filter(|outcome| outcome.is_ok() || result.is_ok());
        let written = written.and_then(|outcome| self.write_receipt(sent.line, &outcome));
        let text = match result {
            Ok(asked) => self.accepted(&sent, &asked, written),
            Err(error) => self.failed(&sent, Trouble::Call(error), written),
        };
        self.progress.set_message(format!("{} answers", self.summary.accepted));
        if self.show.json {
            return Ok(());
        }
        let terminal = self.out.get_ref().is_terminal();
        writeln!(self.out, "{text}")?;
        if terminal {
            let out = &mut self.out;
            self.progress.suspend(|| out.flush())?;
        }
        Ok(())
    }

    fn write_receipt(&mut self, line: u64, outcome: &receipt::Outcome) -> Option<Value> {
        let receipts = self.show.receipts.as_ref()?;
        let written = receipts.write(&receipts.of_line(line), outcome);
        if let Err(why) = &written.said {
            self.summary.unproven += 1;
            let text = format!("line {line}: it is done, but it has no receipt: {why}");
            self.progress.suspend(|| eprintln!("{text}"));
        }
        Some(written.json)
    }

    fn accepted(&mut self, sent: &Sent, asked: &Asked, receipt: Option<Value>) -> String {
        self.summary.accepted += 1;
        self.summary.negative += u64::from(asked.output.is_negative());
        let explanation = &asked.answer.explanation;
        let differs = !explanation.dissenting().is_empty();
        self.summary.dissent += u64::from(differs);
        if self.show.explain && differs {
            let (line, table) = (sent.line, votes::table(explanation));
            self.progress.suspend(|| eprint!("line {line}:\n{table}"));
        }
        if self.show.json {
            let mut document = super::asked_json(&sent.what, asked, self.show);
            document["line"] = sent.line.into();
            receipt.into_iter().for_each(|receipt| document["receipt"] = receipt);
            self.documents.push(document);
        }
        votes::output_text(&asked.output)
    }

    fn failed(&mut self, sent: &Sent, trouble: Trouble, receipt: Option<Value>) -> String {
        self.summary.failed += 1;
        if self.show.json {
            let mut document = trouble.json(self.show);
            document["line"] = sent.line.into();
            document["command"] = sent.what.word().into();
            receipt.into_iter().for_each(|receipt| document["receipt"] = receipt);
            self.documents.push(document);
        }
        match trouble.code() {
            NEGATIVE => self.summary.negative += 1,
            code if self.stop.is_none() => {
                let text = format!("line {}: {}", sent.line, trouble.text(self.show));
                self.stop = Some((code, text));
            }
            _ => {}
        }
        format!("failed: {}", trouble.short())
    }

    fn finish(mut self, took: Duration, result: std::io::Result<()>) -> anyhow::Result<u8> {
        // Whoever reads the results may stop early.
        result.or_else(|e| match e.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(e),
        })?;
        let Summary { accepted, negative, failed, dissent, unproven } = self.summary;
        let stopped = self.stop.take();
        if self.show.json {
            let stopped = stopped.as_ref().map(|(_, why)| why);
            let mut summary = json!({
                "accepted": accepted, "negative": negative, "failed": failed,
                "took_us": took.as_micros() as u64, "stopped": stopped,
            });
            if !self.show.chain {
                summary["with_dissent"] = dissent.into();
            }
            if self.show.receipts.is_some() {
                summary["without_receipt"] = unproven.into();
            }
            let documents = std::mem::take(&mut self.documents);
            let document = json!({ "results": documents, "summary": summary });
            super::output::print_json(&document)?;
        } else {
            let rate = accepted as f64 / took.as_secs_f64().max(1e-6);
            let differed = match self.show.chain {
                true => String::new(),
                false => format!("; in {dissent} a replica differed"),
            };
            eprintln!(
                "{accepted} accepted in {took:.1?} ({rate:.0}/s), of which {negative} negative; \
                 {failed} failed{differed}"
            );
        }
        match stopped {
            Some((code, message)) => Err(Failure { code, message }.into()),
            None if unproven > 0 => Ok(NO_RECEIPT),
            None => Ok(if negative > 0 { NEGATIVE } else { 0 }),
        }
    }
}

async fn first(under_way: &mut VecDeque<Sent>) -> Flown {
    match under_way.front_mut() {
        Some(sent) => sent.flight.as_mut().await,
        None => std::future::pending().await,
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
