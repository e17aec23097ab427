//! Messages to the kernel about links, addresses and routes (rtnetlink(7)).
//!
//! Several changes go to the kernel in one datagram. Only the last asks for an acknowledgement,
//! and a failed one always gets its own, so a batch takes one send and usually one receive.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Error, Result};
use netlink_packet_core::{
    DefaultNla, Emitable, ErrorBuffer, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendmsg,
    socket,
};

use crate::log::hinted;

/// The kernel sends no larger datagram (`NLMSG_GOODSIZE` and `netlink_dump`).
const MAX_DATAGRAM: usize = 32 << 10;

/// A socket of the network namespace in which it was opened.
pub(super) struct Netlink(OwnedFd);

/// A request. `what` is its place and action, for the error.
pub(super) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
    what: String,
    /// The error that means that there is nothing to do.
    tolerated: Option<Errno>,
    /// What to do about an error.
    remedy: Option<(Errno, &'static str)>,
}

impl Message {
    /// A request that starts with the fixed header of its kind, such as `struct ifinfomsg`.
    pub(super) fn new(kind: u16, flags: u16, header: &[u8], what: impl Into<String>) -> Message {
        Message {
            kind,
            flags,
            body: header.to_vec(),
            what: what.into(),
            tolerated: None,
            remedy: None,
        }
    }

    pub(super) fn attribute(mut self, kind: u16, value: &[u8]) -> Message {
        self.body.extend(attribute(kind, value));
        self
    }

    /// Attributes that are complete.
    pub(super) fn bytes(mut self, attributes: &[u8]) -> Message {
        self.body.extend(attributes);
        self
    }

    /// An attribute that ends with a zero byte.
    pub(super) fn text(self, kind: u16, value: &str) -> Message {
        let value = [value.as_bytes(), &[0]].concat();
        self.attribute(kind, &value)
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Message {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// An attribute that consists of attributes.
    pub(super) fn nested(self, kind: u16, members: &[Vec<u8>]) -> Message {
        self.attribute(kind | NLA_F_NESTED, &members.concat())
    }

    /// The kernel's error that means that there is nothing to do.
    pub(super) fn tolerate(mut self, errno: Errno) -> Message {
        self.tolerated = Some(errno);
        self
    }

    /// What the user can do about one of the kernel's errors.
    pub(super) fn remedy(mut self, errno: Errno, remedy: &'static str) -> Message {
        self.remedy = Some((errno, remedy));
        self
    }

    /// The kernel's error about this request.
    fn error(&self, errno: Errno) -> Error {
        let remedy = self.remedy.filter(|(known, _)| *known == errno);
        hinted(errno, remedy.map(|(_, remedy)| remedy.to_owned())).context(self.what.clone())
    }

    fn emit(&self, flags: u16, sequence: u32, to: &mut Vec<u8>) {
        let mut header = NetlinkHeader::default();
        let (start, size) = (to.len(), header.buffer_len());
        header.length = u32::try_from(size + self.body.len()).unwrap_or(u32::MAX);
        header.message_type = self.kind;
        header.flags = NLM_F_REQUEST | self.flags | flags;
        header.sequence_number = sequence;
        to.resize(start + size, 0);
        header.emit(&mut to[start..]);
        // The header and each attribute are padded to four bytes.
        to.extend(&self.body);
    }
}

/// An attribute with its header and padding.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// An answer: the fixed header of its kind and the attributes.
pub(super) struct Answer(Vec<u8>);

impl Answer {
    /// The bytes of the fixed header, if there are as many.
    pub(super) fn header<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.first_chunk::<N>().copied()
    }

    /// The value of an attribute after a fixed header of `header` bytes.
    pub(super) fn attribute(&self, header: usize, kind: u16) -> Option<&[u8]> {
        find(self.0.get(header..)?, kind)
    }

    /// The kind and value of each attribute after a fixed header of `header` bytes.
    pub(super) fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &[u8])> {
        members(self.0.get(header..).unwrap_or_default())
    }
}

/// The value of an attribute among others.
pub(super) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    members(attributes).find_map(|(other, value)| (other == kind).then_some(value))
}

/// The kind and value of each attribute.
fn members(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = attributes;
    NlasIterator::new(attributes).map_while(move |attribute| {
        let attribute = attribute.ok()?;
        let length = usize::from(attribute.length());
        let value = rest.get(4..length)?;
        rest = (rest.get(length.next_multiple_of(4)..)).unwrap_or_default();
        Some((attribute.kind(), value))
    })
}

/// A number of four bytes.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

impl Netlink {
    /// # Errors
    /// When the kernel refuses the socket.
    pub(super) fn open() -> Result<Netlink> {
        Netlink::open_for(SockProtocol::NetlinkRoute)
    }

    /// A socket for another part of the kernel than links, addresses and routes.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub(super) fn open_for(protocol: SockProtocol) -> Result<Netlink> {
        socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .map(Netlink)
        .context("netlink socket")
    }

    /// Makes changes in order. Those after a failed one may have been made.
    ///
    /// # Errors
    /// The first that failed.
    pub(super) fn change(&self, messages: &[Message]) -> Result<()> {
        let Some(last) = messages.len().checked_sub(1) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for (sequence, message) in (0..).zip(messages) {
            let ack = if sequence as usize == last {
                NLM_F_ACK
            } else {
                0
            };
            message.emit(ack, sequence, &mut bytes);
        }
        self.send(&bytes)
            .with_context(|| messages[0].what.clone())?;
        let (mut failed, mut ended) = (None, false);
        while !ended {
            self.receive(|header, errno, _| {
                let index = header as usize;
                ended |= index == last;
                if let (Some(errno), Some(message)) = (errno, messages.get(index))
                    && message.tolerated != Some(errno)
                    && failed.is_none()
                {
                    failed = Some(message.error(errno));
                }
            })
            .with_context(|| messages[last].what.clone())?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Asks about one object. `None` when the kernel's error is the one that is tolerated.
    ///
    /// # Errors
    /// Any other error of the kernel.
    pub(super) fn get(&self, message: &Message) -> Result<Option<Answer>> {
        let what = || message.what.clone();
        let mut bytes = Vec::new();
        message.emit(0, 0, &mut bytes);
        self.send(&bytes).with_context(what)?;
        let mut answer = None;
        while answer.is_none() {
            self.receive(|_, errno, payload| {
                answer = Some(match errno {
                    None => Ok(Answer(payload.to_vec())),
                    Some(errno) => Err(errno),
                });
            })
            .with_context(what)?;
        }
        match answer.transpose() {
            Err(errno) if message.tolerated == Some(errno) => Ok(None),
            answer => answer.with_context(what),
        }
    }

    /// Asks for all objects of a kind.
    ///
    /// # Errors
    /// When the kernel fails, or the objects changed meanwhile five times in a row.
    pub(super) fn dump(&self, message: &Message) -> Result<Vec<Answer>> {
        let what = || message.what.clone();
        let mut bytes = Vec::new();
        for attempt in 0..5 {
            bytes.clear();
            message.emit(NLM_F_DUMP, attempt, &mut bytes);
            self.send(&bytes).with_context(what)?;
            let (mut answers, mut ended) = (Vec::new(), None);
            let mut interrupted = false;
            while ended.is_none() {
                self.receive_all(|buffer, errno| {
                    interrupted |= buffer.flags() & NLM_F_DUMP_INTR != 0;
                    match (buffer.message_type(), errno) {
                        (_, Some(errno)) => ended = Some(Err(errno)),
                        (NLMSG_DONE | NLMSG_ERROR, None) => ended = Some(Ok(())),
                        _ => answers.push(Answer(buffer.payload().to_vec())),
                    }
                })
                .with_context(what)?;
            }
            ended.unwrap_or(Ok(())).with_context(what)?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Err(Errno::EAGAIN).with_context(what)
    }

    fn send(&self, bytes: &[u8]) -> nix::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        let (fd, parts) = (self.0.as_raw_fd(), [IoSlice::new(bytes)]);
        loop {
            match sendmsg(fd, &parts, &[], MsgFlags::empty(), Some(&kernel)) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Receives a datagram and passes on sequence number, error and payload of each message.
    fn receive(&self, mut each: impl FnMut(u32, Option<Errno>, &[u8])) -> nix::Result<()> {
        self.receive_all(|buffer, errno| each(buffer.sequence_number(), errno, buffer.payload()))
    }

    fn receive_all(
        &self,
        mut each: impl FnMut(&NetlinkBuffer<&[u8]>, Option<Errno>),
    ) -> nix::Result<()> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let length = loop {
            match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut buffer) {
                Err(Errno::EINTR) => {}
                // Any process with the right may send to this socket.
                Ok((_, Some(sender))) if sender.pid() != 0 => {}
                received => break received?.0,
            }
        };
        let mut rest = buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::EBADMSG)?;
            let errno = match message.message_type() {
                NLMSG_ERROR => error_code(message.payload())?,
                NLMSG_DONE => number(message.payload().get(..4).unwrap_or_default())
                    .and_then(|code| errno_of(code.cast_signed())),
                _ => None,
            };
            each(&message, errno);
            let length = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The error in a message of type `NLMSG_ERROR`; `None` for an acknowledgement.
fn error_code(payload: &[u8]) -> nix::Result<Option<Errno>> {
    let error = ErrorBuffer::new_checked(payload).map_err(|_| Errno::EBADMSG)?;
    Ok(error.code().and_then(|code| errno_of(code.get())))
}

/// The kernel's errors are negative numbers.
fn errno_of(code: i32) -> Option<Errno> {
    (code < 0).then(|| Errno::from_raw(-code))
}
