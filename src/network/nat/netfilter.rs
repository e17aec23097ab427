//! The chains and rules of nf_tables, asked of the kernel without a program.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::network::netlink::{Answer, Message, Netlink};

/// The size of `struct nfgenmsg`: family, version, resource id.
const HEADER: usize = 4;

/// The family of a table.
#[derive(Clone, Copy)]
pub(super) enum Family {
    Inet,
    Ip,
    Ip6,
}

impl Family {
    /// `NFPROTO_INET`, `NFPROTO_IPV4` and `NFPROTO_IPV6`.
    fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Ip6 => 10,
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        })
    }
}

/// What a chain does with packets that no rule decides about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Drop,
    Accept,
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
pub(super) struct Netfilter(Netlink);

impl Netfilter {
    /// # Errors
    /// When the kernel has no such sockets.
    pub(super) fn open() -> Result<Netfilter> {
        Netlink::open_for(SockProtocol::NetlinkNetFilter).map(Netfilter)
    }

    /// Whether there is the table.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub(super) fn has_table(&self, family: Family, table: &str) -> Result<bool> {
        const GET_TABLE: u16 = 1;
        const NAME: u16 = 1;
        let message = message(GET_TABLE, family).text(NAME, table);
        let answer = none_if_absent(self.0.get(&message))?.flatten();
        Ok(answer.is_some())
    }

    /// The policy of a chain of the table `filter`. `None` where there is no such chain.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub(super) fn policy(&self, family: Family, chain: &str) -> Result<Option<Policy>> {
        const GET_CHAIN: u16 = 4;
        const TABLE: u16 = 1;
        const NAME: u16 = 3;
        const POLICY: u16 = 5;
        let message = message(GET_CHAIN, family)
            .text(TABLE, "filter")
            .text(NAME, chain);
        let answer = none_if_absent(self.0.get(&message))?.flatten();
        let policy = |answer: Answer| {
            let drops = answer.attribute(HEADER, POLICY) == Some(&libc::NF_DROP.to_be_bytes());
            if drops { Policy::Drop } else { Policy::Accept }
        };
        Ok(answer.map(policy))
    }

    /// The rules of a chain of the table `filter`, in order; none where there is no such chain.
    ///
    /// # Errors
    /// When the kernel refuses the question.
    pub(super) fn rules(&self, family: Family, chain: &str, comment: &str) -> Result<Vec<Rule>> {
        const GET_RULE: u16 = 7;
        const TABLE: u16 = 1;
        const CHAIN: u16 = 2;
        let message = message(GET_RULE, family)
            .text(TABLE, "filter")
            .text(CHAIN, chain);
        let answers = none_if_absent(self.0.dump(&message))?.unwrap_or_default();
        Ok((answers.iter())
            .filter_map(|answer| rule(answer, comment))
            .collect())
    }
}

fn message(number: u16, family: Family) -> Message {
    /// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
    const NF_TABLES: u16 = 10 << 8;
    let header = [family.number(), 0, 0, 0];
    Message::new(
        NF_TABLES | number,
        0,
        &header,
        "ask nf_tables for its rules",
    )
}

/// A kernel without nf_tables answers with `EINVAL` or `EOPNOTSUPP`; nft(8) will say so.
pub(super) fn none_if_absent<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) => match error.downcast_ref() {
            Some(Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(None),
            _ => Err(error),
        },
        Ok(answer) => Ok(Some(answer)),
    }
}

fn rule(answer: &Answer, comment: &str) -> Option<Rule> {
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    const USERDATA: u16 = 7;
    let expressions = answer.attribute(HEADER, EXPRESSIONS).unwrap_or_default();
    let userdata = answer.attribute(HEADER, USERDATA).unwrap_or_default();
    Some(Rule {
        handle: u64::from_be_bytes(answer.attribute(HEADER, HANDLE)?.try_into().ok()?),
        is_own: comment_of(userdata) == Some(comment.as_bytes()),
        returns: (expressions.windows(RETURN.len())).any(|bytes| bytes == RETURN),
    })
}

/// The attribute `NFTA_VERDICT_CODE` (1) with the value `NFT_RETURN` (-5).
const RETURN: [u8; 8] = {
    let ([a, b], [c, d]) = (8_u16.to_ne_bytes(), 1_u16.to_ne_bytes());
    [a, b, c, d, 0xff, 0xff, 0xff, 0xfb]
};

/// nft(8) keeps the comment of a rule as type (0), length and text with a zero byte.
fn comment_of(userdata: &[u8]) -> Option<&[u8]> {
    let (&[kind, length], rest) = userdata.split_first_chunk()?;
    let text = rest.get(..usize::from(length))?;
    (kind == 0).then(|| text.strip_suffix(b"\0").unwrap_or(text))
}
