//! A real Redis on a free port of this machine, and a client of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::ports::free_port;
use crate::wait::wait_until;

/// A running Redis. It is killed when it is dropped.
pub struct Redis {
    child: Child,
    /// The port that it listens on, on 127.0.0.1.
    pub port: u16,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
}

/// A server that keeps what it is given: on disk before it is answered.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

impl Redis {
    /// Starts a Redis on a free port. It keeps nothing over its end.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// Starts a Redis on this port. It keeps nothing over its end.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start_on(port: u16) -> Self {
        Self::start_with(port, &[])
    }

    /// Starts a Redis that keeps everything over its end.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(free_port(), &DURABLE)
    }

    /// Starts a Redis on this port, with more arguments.
    ///
    /// # Panics
    /// There is no `redis-server`, or it does not answer.
    #[must_use]
    pub fn start_with(port: u16, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let arguments: Vec<String> = more.iter().map(|more| (*more).to_owned()).collect();
        let redis = Self {
            child: spawn_server(port, &arguments, dir.path()),
            port,
            arguments,
            dir,
        };
        redis.wait_until_it_answers();
        redis
    }

    /// Kills it and starts it again on its port and directory, with its data if it keeps them.
    ///
    /// # Panics
    /// It does not answer.
    pub fn restart_killed(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("its end");
        self.child = spawn_server(self.port, &self.arguments, self.dir.path());
        self.wait_until_it_answers();
    }

    /// Stops it where it is, or lets it go on.
    ///
    /// # Panics
    /// It has ended.
    pub fn freeze(&self, freezes: bool) {
        let signal = if freezes { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// Opens a connection.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn connect(&self) -> RedisClient {
        RedisClient::connect(self.port).expect("a connection")
    }

    /// Runs a command and returns what `redis-cli` prints.
    ///
    /// # Panics
    /// There is no `redis-cli`.
    #[expect(
        clippy::must_use_candidate,
        reason = "most commands are run for their effect"
    )]
    pub fn run(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_until_it_answers(&self) {
        wait_until("the Redis answers", || {
            self.run(&["PING"]).trim() == "PONG" || self.run(&["PING"]).contains("NOAUTH")
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn_server(port: u16, more: &[String], dir: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--daemonize", "no"])
        .args(more)
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server; install it with `apt-get install redis-server`")
}

/// What a Redis answers (RESP, version 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisReply {
    /// Text or bytes.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// Several answers.
    List(Vec<RedisReply>),
    /// The nil reply: there is no value.
    Nil,
    /// An error.
    Error(String),
}

impl RedisReply {
    /// The text; empty for anything else.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Self::Number(number) => number.to_string(),
            _ => String::new(),
        }
    }

    /// The list; empty for anything else.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// An entry of a stream: its id, and its fields.
    ///
    /// # Panics
    /// It is none.
    #[must_use]
    pub fn entry(&self) -> (String, Vec<(String, String)>) {
        let [id, fields] = self.list() else {
            panic!("no entry: {self:?}");
        };
        let pairs = fields.list().chunks_exact(2);
        let pairs = pairs.map(|pair| (pair[0].text(), pair[1].text()));
        (id.text(), pairs.collect())
    }
}

/// A connection to a Redis.
pub struct RedisClient {
    stream: BufReader<TcpStream>,
}

impl RedisClient {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nothing answers there.
    pub fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Runs a command.
    ///
    /// # Panics
    /// The connection fails, or the Redis refuses the command.
    pub fn run(&mut self, command: &[&str]) -> RedisReply {
        let reply = self.try_run(command).expect("an answer");
        assert!(
            !matches!(reply, RedisReply::Error(_)),
            "{command:?}: {reply:?}"
        );
        reply
    }

    /// Runs a command.
    ///
    /// # Errors
    /// The connection fails.
    pub fn try_run(&mut self, command: &[&str]) -> std::io::Result<RedisReply> {
        let mut replies = self.try_run_all(std::slice::from_ref(&command))?;
        replies
            .pop()
            .ok_or_else(|| std::io::Error::other("no answer"))
    }

    /// Sends commands together and returns their answers.
    ///
    /// # Errors
    /// The connection fails.
    pub fn try_run_all<C: AsRef<[S]>, S: AsRef<str>>(
        &mut self,
        commands: &[C],
    ) -> std::io::Result<Vec<RedisReply>> {
        let mut request = Vec::new();
        for command in commands {
            let parts = command.as_ref();
            write!(request, "*{}\r\n", parts.len())?;
            for part in parts.iter().map(AsRef::as_ref) {
                write!(request, "${}\r\n{part}\r\n", part.len())?;
            }
        }
        self.stream.get_mut().write_all(&request)?;
        commands.iter().map(|_| self.read_reply()).collect()
    }

    /// Waits for what the Redis says next: a message of a channel, on a connection that has subscribed to it.
    ///
    /// # Errors
    /// The connection fails.
    pub fn next_reply(&mut self) -> std::io::Result<RedisReply> {
        self.read_reply()
    }

    fn read_reply(&mut self) -> std::io::Result<RedisReply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => RedisReply::Text(rest.as_bytes().to_vec()),
            "-" => RedisReply::Error(rest.to_owned()),
            ":" => RedisReply::Number(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => RedisReply::Nil,
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    self.stream.read_exact(&mut text)?;
                    text.truncate(length);
                    RedisReply::Text(text)
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => RedisReply::Nil,
                Ok(length) => RedisReply::List(
                    (0..length)
                        .map(|_| self.read_reply())
                        .collect::<Result<_, _>>()?,
                ),
            },
            other => {
                return Err(std::io::Error::other(format!(
                    "an answer of kind {other:?}"
                )));
            }
        })
    }
}
