//! The load: keep-alive connections that each send the next request when the answer to the last one is there (a closed loop).
//!
//! It shares the machine with the server, so it does as little as possible: one thread, one buffer for each connection, no parsing beyond
//! the status and the length. The load is the same for the echo and for the host.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Latencies are kept up to a minute, to three digits.
const LONGEST: u64 = 60_000_000_000;

/// A request, and what its answer must hold.
#[derive(Clone, Copy)]
pub struct Mix {
    /// The path of the POST.
    pub path: &'static str,
    /// The body. Every `@` is replaced by a number that no other request of this process has, in 12 digits, and every `#` by that number modulo
    /// `agents`, in 4 digits.
    pub body: &'static str,
    /// How many agents the requests are made for in turn, where the body has a `#`. At least 1.
    pub agents: u64,
    /// What the status line must begin with.
    pub status: &'static str,
    /// What the answer's body must hold.
    pub expect: &'static str,
}

/// The result of a load.
pub struct LoadResult {
    /// Answers per second.
    pub rate: f64,
    /// Latencies in nanoseconds, from the first byte sent to the last received.
    pub latency: Histogram<u64>,
    /// Answers, those of the warm-up included.
    pub answers: u64,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Returns an empty histogram.
///
/// # Errors
/// None in practice, since the bounds are fixed.
pub fn new_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST, 3).context("histogram")
}

/// Sends load to `address` for `warm_up`, then measures for `time`.
///
/// # Errors
/// A connection fails, or an answer is not as the mix expects.
pub fn run_load(
    address: SocketAddr,
    mix: Mix,
    connections: u64,
    warm_up: Duration,
    time: Duration,
) -> Result<LoadResult> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let from = Instant::now() + warm_up;
        let until = from + time;
        let tasks: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(drive_connection(address, mix, from, until)))
            .collect();
        let mut latency = new_histogram()?;
        let mut answers = 0;
        for task in tasks {
            let (part, count) = task.await??;
            latency.add(part)?;
            answers += count;
        }
        let rate = latency.len() as f64 / time.as_secs_f64();
        Ok(LoadResult {
            rate,
            latency,
            answers,
        })
    })
}

async fn drive_connection(
    address: SocketAddr,
    mix: Mix,
    from: Instant,
    until: Instant,
) -> Result<(Histogram<u64>, u64)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latency = new_histogram()?;
    let mut answer = Vec::with_capacity(64 * 1024);
    let mut answers = 0;
    loop {
        let request = build_request(address, mix, NUMBER.fetch_add(1, Ordering::Relaxed));
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut answer).await?;
        let now = Instant::now();
        check_answer(mix, &answer)?;
        answers += 1;
        if sent >= from && now <= until {
            latency.record(u64::try_from((now - sent).as_nanos())?.max(1))?;
        }
    }
    Ok((latency, answers))
}

fn build_request(address: SocketAddr, mix: Mix, number: u64) -> Vec<u8> {
    let mut body = mix.body.replace('@', &format!("{number:012}"));
    if body.contains('#') {
        body = body.replace('#', &format!("{:04}", number % mix.agents));
    }
    format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        mix.path,
        body.len()
    )
    .into_bytes()
}

async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    let mut whole = usize::MAX;
    while answer.len() < whole {
        ensure!(
            stream.read_buf(answer).await? > 0,
            "the connection was closed within an answer"
        );
        if whole == usize::MAX
            && let Some(head) = find_bytes(answer, b"\r\n\r\n")
        {
            whole = head + 4 + content_length(&answer[..head])?;
        }
    }
    ensure!(answer.len() == whole, "more came than was asked for");
    Ok(())
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let line = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = line.with_context(|| format!("an answer without a length: {head}"))?;
    Ok(length.trim().parse()?)
}

fn check_answer(mix: Mix, answer: &[u8]) -> Result<()> {
    if answer.starts_with(mix.status.as_bytes())
        && find_bytes(answer, mix.expect.as_bytes()).is_some()
    {
        return Ok(());
    }
    bail!(
        "expected {:?} with {:?}, and got:\n{}",
        mix.status,
        mix.expect,
        String::from_utf8_lossy(answer)
    )
}

fn find_bytes(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1))
        .position(|window| window == part)
}
