//! The chains and rules of nf_tables, asked of the kernel without a program.

use std::fmt::{self, Display, Formatter};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const HEADER: usize = 16;
/// `struct nfgenmsg`: family, version, resource id.
const GENERIC: usize = 4;
const NEW_RULE: u16 = message(6);
const GET_CHAIN: u16 = message(4);
const GET_RULE: u16 = message(7);

/// Netlink returns at most this much at once (netlink(7), `NLMSG_GOODSIZE` and its limit).
const BUFFER: usize = 32 * 1024;

/// How often a list is read again that has changed meanwhile.
const ATTEMPTS: usize = 100;

const fn message(number: u16) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | number
}

/// The family of a table.
#[derive(Clone, Copy)]
pub(super) enum Family {
    Ip,
    Ip6,
}

impl Family {
    pub(super) const ALL: [Family; 2] = [Family::Ip, Family::Ip6];

    /// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    fn number(self) -> u8 {
        match self {
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        })
    }
}

/// What a chain does with packets that no rule decides about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chain {
    Drops,
    Accepts,
}

/// A rule of a chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) handle: u64,
    /// It has the comment that was asked for.
    pub(super) is_own: bool,
    /// It can end the chain with RETURN.
    pub(super) returns: bool,
}

/// A socket for nf_tables.
pub(super) struct Netfilter(OwnedFd);

impl Netfilter {
    /// # Errors
    /// When the kernel has no such sockets.
    pub(super) fn open() -> Result<Netfilter> {
        let opened = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        );
        Ok(Netfilter(opened.context("nf_tables: socket")?))
    }

    /// The chain of the table `filter`. `None` where there is none.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub(super) fn chain(&self, family: Family, name: &str) -> Result<Option<Chain>> {
        const POLICY: u16 = 5;
        let mut found = None;
        // NFTA_CHAIN_TABLE and NFTA_CHAIN_NAME.
        let request = request(
            GET_CHAIN,
            libc::NLM_F_ACK,
            family,
            [(1, "filter"), (3, name)],
        );
        self.ask(&request, |_, attributes| {
            let policy = find(attributes, POLICY);
            let drops = policy == Some(&libc::NF_DROP.to_be_bytes()[..]);
            found = Some(if drops { Chain::Drops } else { Chain::Accepts });
        })?;
        Ok(found)
    }

    /// The rules of a chain of the table `filter`, in order; none where there is no such chain.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub(super) fn rules(&self, family: Family, chain: &str, comment: &str) -> Result<Vec<Rule>> {
        // NFTA_RULE_TABLE and NFTA_RULE_CHAIN.
        let request = request(
            GET_RULE,
            libc::NLM_F_DUMP,
            family,
            [(1, "filter"), (2, chain)],
        );
        for _ in 0..ATTEMPTS {
            let mut rules = Vec::new();
            let complete = self.ask(&request, |kind, attributes| {
                if kind == NEW_RULE {
                    rules.extend(rule(attributes, comment));
                }
            })?;
            if complete {
                return Ok(rules);
            }
        }
        bail!("nf_tables: the rules of {chain} change all the time");
    }

    /// Sends a request and calls `each` for every answer. Returns whether nothing has changed
    /// between the answers.
    fn ask(&self, request: &[u8], mut each: impl FnMut(u16, &[u8])) -> Result<bool> {
        const CONTEXT: &str = "nf_tables";
        let (socket, kernel) = (self.0.as_raw_fd(), NetlinkAddr::new(0, 0));
        sendto(socket, request, &kernel, MsgFlags::empty()).context(CONTEXT)?;
        let mut buffer = vec![0; BUFFER];
        let mut complete = true;
        loop {
            let length = recv(socket, &mut buffer, MsgFlags::empty()).context(CONTEXT)?;
            let mut rest = &buffer[..length];
            while let Some((header, body, after)) = split(rest) {
                rest = after;
                complete &= header.flags & DUMP_INTR == 0;
                match i32::from(header.kind) {
                    libc::NLMSG_DONE => return Ok(complete),
                    libc::NLMSG_ERROR => {
                        let code = body
                            .first_chunk()
                            .map_or(0, |code| i32::from_ne_bytes(*code));
                        return match Errno::from_raw(-code) {
                            // No such table or chain; or no nf_tables at all, which nft(8) says.
                            _ if code == 0 => Ok(complete),
                            Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP => Ok(complete),
                            errno => Err(errno).context(CONTEXT),
                        };
                    }
                    _ => each(header.kind, body.get(GENERIC..).unwrap_or_default()),
                }
            }
        }
    }
}

/// `NLM_F_DUMP_INTR`.
const DUMP_INTR: u16 = 0x10;

struct Header {
    kind: u16,
    flags: u16,
}

/// The first message: its header, what follows it, and the messages after it.
fn split(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?);
    let length = usize::try_from(length).ok()?;
    let header = Header {
        kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
        flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
    };
    let body = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((header, body, after))
}

fn request(kind: u16, flags: i32, family: Family, names: [(u16, &str); 2]) -> Vec<u8> {
    let mut body = vec![family.number(), 0, 0, 0];
    for (kind, name) in names {
        // Names are short: the length with the header and the NUL fits.
        let length = 4 + name.len() + 1;
        body.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(name.bytes());
        body.resize(body.len() + 1 + (length.next_multiple_of(4) - length), 0);
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The content of an attribute.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// The bits of a type that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const FLAGS: u16 = 0xc000;
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let content = attributes.get(4..length)?;
        if kind & !FLAGS == wanted {
            return Some(content);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn rule(attributes: &[u8], comment: &str) -> Option<Rule> {
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    const USERDATA: u16 = 7;
    let expressions = find(attributes, EXPRESSIONS).unwrap_or_default();
    let userdata = find(attributes, USERDATA).unwrap_or_default();
    Some(Rule {
        handle: u64::from_be_bytes(find(attributes, HANDLE)?.try_into().ok()?),
        is_own: comment_of(userdata) == Some(comment.as_bytes()),
        returns: (expressions.windows(RETURN.len())).any(|bytes| bytes == RETURN),
    })
}

/// The attribute `NFTA_VERDICT_CODE` (1) with the value `NFT_RETURN` (-5).
const RETURN: [u8; 8] = {
    let ([a, b], [c, d]) = (8_u16.to_ne_bytes(), 1_u16.to_ne_bytes());
    [a, b, c, d, 0xff, 0xff, 0xff, 0xfb]
};

/// nft(8) keeps the comment of a rule as type (0), length and text with a NUL.
fn comment_of(userdata: &[u8]) -> Option<&[u8]> {
    let (&[kind, length], rest) = userdata.split_first_chunk()?;
    let text = rest.get(..usize::from(length))?;
    (kind == 0).then(|| text.strip_suffix(b"\0").unwrap_or(text))
}
