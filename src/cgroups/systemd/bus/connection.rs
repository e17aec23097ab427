//! A connection to systemd, directly or over a bus. All that is done with it ends at one deadline.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, recv, send,
    setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::address::Socket;
use super::message::{self, Kind, Message, Method};
use super::value::Value;

/// How long connecting and all calls may take together. runc waits as long for a job.
pub(in crate::cgroups::systemd) const TIMEOUT: Duration = Duration::from_secs(30);

/// Without a uid: the other end then uses the credentials of the socket, which are right in
/// every user namespace. The three lines need no answer before the next one is sent.
const AUTHENTICATE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PATH: &str = "/org/freedesktop/systemd1";

/// The signal that a job has ended, with its result.
const JOB_REMOVED: &str = "JobRemoved";
const MATCH: &str = "type='signal',sender='org.freedesktop.systemd1',\
                     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection to a manager of systemd.
pub(in crate::cgroups::systemd) struct Connection {
    socket: OwnedFd,
    deadline: Instant,
    serial: u32,
    is_private: bool,
    /// Bytes that were received and not yet read.
    received: Vec<u8>,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

/// How systemd answered a call.
#[derive(Debug)]
pub(in crate::cgroups::systemd) enum Answer {
    /// The first argument of the answer, if that is a text or an object path, itself or as a
    /// variant.
    Done(String),
    /// The call was refused.
    Refused { name: String, text: String },
}

impl Connection {
    /// Connects to the first of the addresses at which someone listens.
    ///
    /// # Errors
    /// When nobody does, the other end does not let this user in, or the deadline has passed. The
    /// error names the last address.
    pub(in crate::cgroups::systemd) fn open(addresses: &[String]) -> Result<Connection> {
        let deadline = Instant::now() + TIMEOUT;
        let mut failure = None;
        for address in addresses {
            for at in Socket::parse(address) {
                match Connection::open_at(&at, deadline) {
                    Ok(connection) => return Ok(connection),
                    Err(error) => failure = Some(error.context(format!("connect to {address}"))),
                }
            }
        }
        Err(failure.unwrap_or_else(|| anyhow!("no address of a D-Bus socket is known")))
    }

    fn open_at(at: &Socket, deadline: Instant) -> Result<Connection> {
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let address = match at {
            Socket::Path(path) => UnixAddr::new(path.as_str())?,
            Socket::Abstract(name) => UnixAddr::new_abstract(name.as_bytes())?,
        };
        // connect(2) waits while the queue of the listener is full. A timeout of 0 would be none.
        let left = deadline.saturating_duration_since(Instant::now());
        let microseconds = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
        setsockopt(&socket, SendTimeout, &TimeVal::microseconds(microseconds))?;
        connect(socket.as_raw_fd(), &address)?;
        let mut connection = Connection {
            socket,
            deadline,
            serial: 0,
            is_private: at.is_private(),
            received: Vec::new(),
            signals: VecDeque::new(),
        };
        connection.authenticate().context("authenticate")?;
        if !connection.is_private {
            connection.enter_bus()?;
        }
        Ok(connection)
    }

    /// The user whose process listens at the other end, as this user namespace sees it.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(in crate::cgroups::systemd) fn peer_uid(&self) -> nix::Result<u32> {
        Ok(getsockopt(&self.socket, PeerCredentials)?.uid())
    }

    fn authenticate(&mut self) -> Result<()> {
        self.send(AUTHENTICATE)?;
        // Before version 246 systemd answers the first line with OK and the second with an error.
        let answers = [self.line()?, self.line()?];
        if !answers.iter().any(|line| line.starts_with("OK")) {
            bail!("refused: {}", answers[1].trim_end().escape_debug());
        }
        Ok(())
    }

    /// A line of the dialogue before the first message.
    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.received.len() > 1024 {
                bail!("the answer is no line of D-Bus");
            }
            self.receive()?;
        }
    }

    /// Takes part in the bus, and asks it for the signals about jobs.
    fn enter_bus(&mut self) -> Result<()> {
        let of_bus = |member| Method {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
        };
        for (method, argument) in [("Hello", None), ("AddMatch", Some(Value::text(MATCH)))] {
            let arguments: Vec<Value> = argument.into_iter().collect();
            match self.exchange(of_bus(method), &arguments)? {
                Answer::Done(_) => {}
                Answer::Refused { name, text } => bail!("{method}: {name}: {text}"),
            }
        }
        Ok(())
    }

    /// Calls a method of the manager, and waits for the answer.
    ///
    /// # Errors
    /// When there is no answer until the deadline, or the other end closes the connection or sends
    /// something else than messages.
    pub(in crate::cgroups::systemd) fn call(
        &mut self,
        member: &str,
        arguments: &[Value],
    ) -> Result<Answer> {
        self.call_interface(MANAGER, member, arguments)
    }

    /// The manager's property `name`, which is a text.
    ///
    /// # Errors
    /// As [`Connection::call`], and when the manager has no such property.
    pub(in crate::cgroups::systemd) fn property(&mut self, name: &str) -> Result<String> {
        let arguments = [Value::text(MANAGER), Value::text(name)];
        let interface = "org.freedesktop.DBus.Properties";
        match self.call_interface(interface, "Get", &arguments)? {
            Answer::Done(text) => Ok(text),
            Answer::Refused { text, .. } => bail!("property {name}: {text}"),
        }
    }

    /// Waits until the manager has done all that earlier calls have asked for. It answers
    /// SetUnitProperties before it writes to cgroups, but it writes before it reads the next call.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(in crate::cgroups::systemd) fn settle(&mut self) -> Result<()> {
        self.call_interface("org.freedesktop.DBus.Peer", "Ping", &[])
            .map(drop)
    }

    fn call_interface(
        &mut self,
        interface: &str,
        member: &str,
        arguments: &[Value],
    ) -> Result<Answer> {
        let method = Method {
            destination: (!self.is_private).then_some(SERVICE),
            path: PATH,
            interface,
            member,
        };
        self.exchange(method, arguments)
    }

    fn exchange(&mut self, method: Method, arguments: &[Value]) -> Result<Answer> {
        self.serial += 1;
        self.send(&message::call(self.serial, method, arguments))?;
        loop {
            let message = self.message()?;
            match message.kind {
                Kind::Return if message.reply_to == self.serial => {
                    return Ok(Answer::Done(first_argument(&message)));
                }
                Kind::Error if message.reply_to == self.serial => {
                    return Ok(Answer::Refused {
                        text: message.first_text().unwrap_or_default(),
                        name: message.error,
                    });
                }
                Kind::Signal if message.member == JOB_REMOVED => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job, and returns its result: `done`, `failed` and so on.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(in crate::cgroups::systemd) fn wait_for_job(&mut self, job: &str) -> Result<String> {
        loop {
            let message = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.message()?,
            };
            if message.kind != Kind::Signal || message.member != JOB_REMOVED {
                continue;
            }
            let mut arguments = message.reader();
            let (_, path, _) = (arguments.u32(), arguments.text(), arguments.text());
            if path.as_deref() == Some(job) {
                return arguments.text().context(NO_MESSAGE);
            }
        }
    }

    fn message(&mut self) -> Result<Message> {
        loop {
            let length = message::length(&self.received).map_err(|()| anyhow!(NO_MESSAGE))?;
            if let Some(length) = length.filter(|length| *length <= self.received.len()) {
                let bytes: Vec<u8> = self.received.drain(..length).collect();
                return Message::parse(&bytes).context(NO_MESSAGE);
            }
            self.receive()?;
        }
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        while !bytes.is_empty() {
            match send(self.socket.as_raw_fd(), bytes, flags) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLOUT)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("send"),
            }
        }
        Ok(())
    }

    /// Waits for bytes, and keeps them.
    fn receive(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            self.wait_for(PollFlags::POLLIN)?;
            match recv(self.socket.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) => bail!("closed the connection"),
                Ok(length) => {
                    self.received.extend_from_slice(&chunk[..length]);
                    return Ok(());
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno).context("receive"),
            }
        }
    }

    /// # Errors
    /// When the deadline passes, even if the other end sends signals without end.
    fn wait_for(&self, event: PollFlags) -> Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), no_answer());
            let mut ready = [PollFd::new(self.socket.as_fd(), event)];
            // Rounded up, so that the last wait does not end early and repeat.
            let milliseconds = u16::try_from(left.as_millis().saturating_add(1));
            let timeout = PollTimeout::from(milliseconds.unwrap_or(u16::MAX));
            match poll(&mut ready, timeout) {
                Err(Errno::EINTR) => {}
                Ok(0) => bail!(no_answer()),
                polled => return polled.map(drop).context("poll"),
            }
        }
    }
}

const NO_MESSAGE: &str = "sent something that is no message of D-Bus";

fn no_answer() -> String {
    format!("no answer after {} s", TIMEOUT.as_secs())
}

/// The first argument, if it is a text, an object path, or a variant that holds one of them.
fn first_argument(message: &Message) -> String {
    let mut reader = message.reader();
    let text = match message.signature.as_str() {
        "s" | "o" => reader.text(),
        "v" => match reader.signature().as_deref() {
            Some("s" | "o") => reader.text(),
            _ => None,
        },
        _ => None,
    };
    text.unwrap_or_default()
}
