//! `rt.network.publish`: ports of the host that lead into the container.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::annotations::{Annotations, invalid, key};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Port {
    /// `None`: every address of the host. The unspecified address of a family: every address of
    /// that family.
    pub(crate) host_address: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    pub(crate) protocol: Protocol,
}

impl Port {
    /// Whether a packet from the host itself to an address of 127.0.0.0/8 can be for this port.
    pub(super) fn is_at_loopback(&self) -> bool {
        self.host_address.is_none_or(|address| {
            address.is_loopback() || address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        })
    }

    /// Whether only the host itself can send packets for this port.
    pub(super) fn is_only_at_loopback(&self) -> bool {
        self.host_address
            .is_some_and(|address| address.is_loopback())
    }

    /// The address of the host that a packet must have. `None` where any of the family will do.
    pub(super) fn specific_address(&self) -> Option<IpAddr> {
        self.host_address
            .filter(|address| !address.is_unspecified())
    }

    /// Whether a packet can belong to both.
    pub(super) fn overlaps(&self, other: &Port) -> bool {
        let addresses = match (self.host_address, other.host_address) {
            (Some(own), Some(other)) => {
                own.is_ipv4() == other.is_ipv4()
                    && (own == other || own.is_unspecified() || other.is_unspecified())
            }
            (None, _) | (_, None) => true,
        };
        addresses && self.host_port == other.host_port && self.protocol == other.protocol
    }

    /// The port of the host, as the annotation writes it: `127.0.0.1:8080/tcp`.
    pub(super) fn on_host(&self) -> String {
        let address = match self.host_address {
            None => String::new(),
            Some(IpAddr::V4(address)) => format!("{address}:"),
            Some(IpAddr::V6(address)) => format!("[{address}]:"),
        };
        format!("{address}{}/{}", self.host_port, self.protocol)
    }
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// The published ports of a container.
///
/// # Errors
/// When an element is invalid, or two of them take the same port of the host.
pub(super) fn plan(annotations: &Annotations) -> Result<Vec<Port>> {
    let mut ports: Vec<Port> = Vec::new();
    for element in annotations.list(key::PUBLISH)?.unwrap_or_default() {
        let parsed = parse(element).map_err(|reason| invalid(key::PUBLISH, element, &reason))?;
        for port in parsed {
            if ports.iter().any(|other| other.overlaps(&port)) {
                let reason = format!("{} is published twice", port.on_host());
                return Err(invalid(key::PUBLISH, element, &reason));
            }
            ports.push(port);
        }
    }
    Ok(ports)
}

/// Parses `[ADDRESS:]HOSTPORT:CONTAINERPORT[/PROTOCOL]`, where a port may be a range. The error
/// is the reason.
fn parse(element: &str) -> Result<Vec<Port>, String> {
    const FORM: &str = "not of the form [ADDRESS:]HOSTPORT:CONTAINERPORT[/tcp|/udp]";
    let (ports, protocol) = match element.split_once('/') {
        None => (element, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err(format!("{other:?} is neither tcp nor udp")),
    };
    let (host, container) = ports.rsplit_once(':').ok_or(FORM)?;
    let (host_address, host) = match host.rsplit_once(':') {
        None => (None, host),
        Some((written, host)) => (Some(address(written)?), host),
    };
    let (first, last) = range(host)?;
    let (container_first, container_last) = range(container)?;
    if last - first != container_last - container_first {
        return Err("the two ranges have different lengths".to_owned());
    }
    let pairs = (first..=last).zip(container_first..=container_last);
    let port = |(host_port, container_port)| Port {
        host_address,
        host_port,
        container_port,
        protocol,
    };
    Ok(pairs.map(port).collect())
}

fn address(written: &str) -> Result<IpAddr, String> {
    let in_brackets = (written.strip_prefix('[')).and_then(|rest| rest.strip_suffix(']'));
    let address = in_brackets.unwrap_or(written).parse();
    let address: IpAddr =
        address.map_err(|_| format!("{written:?} is not an address of the host"))?;
    match address {
        IpAddr::V6(_) if in_brackets.is_none() => {
            Err(format!("an IPv6 address needs brackets: [{address}]"))
        }
        IpAddr::V4(_) if in_brackets.is_some() => {
            Err(format!("only an IPv6 address has brackets: use {address}"))
        }
        IpAddr::V6(address) if address.is_loopback() => Err(
            "the kernel does not forward packets to [::1]; publish at 127.0.0.1 instead".to_owned(),
        ),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err("an IPv4 address in an IPv6 address; write the IPv4 address".to_owned())
        }
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Err("a link-local address; publish at another address of the host".to_owned())
        }
        _ if address.is_multicast() => Err("a multicast address".to_owned()),
        _ => Ok(address),
    }
}

/// One port, or `FIRST-LAST`.
fn range(written: &str) -> Result<(u16, u16), String> {
    let (first, last) = written.split_once('-').unwrap_or((written, written));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("the range {written} ends before it starts"));
    }
    Ok((first, last))
}

fn number(written: &str) -> Result<u16, String> {
    let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| written.parse().ok()).flatten();
    port.filter(|port| *port != 0)
        .ok_or_else(|| format!("{written:?} is not a port from 1 to 65535"))
}

/// The error about a port, with the reason.
pub(super) fn refused(port: &Port, reason: impl Display) -> anyhow::Error {
    anyhow!(
        "annotations: {}: {}: {reason}",
        key::PUBLISH,
        port.on_host()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn planned(value: &str) -> Result<Vec<Port>, String> {
        let annotations = HashMap::from([(key::PUBLISH.to_owned(), value.to_owned())]);
        plan(&Annotations::read(Some(&annotations))).map_err(|error| error.to_string())
    }

    fn shown(value: &str) -> String {
        let ports = planned(value).unwrap();
        let shown = ports
            .iter()
            .map(|port| format!("{}>{}", port.on_host(), port.container_port));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ports_have_an_address_and_a_protocol() {
        assert_eq!(shown("8080:80"), "8080/tcp>80");
        assert_eq!(
            shown("8080:80/tcp, 127.0.0.1:5353:53/udp"),
            "8080/tcp>80 127.0.0.1:5353/udp>53"
        );
        assert_eq!(shown("[2001:db8::1]:1:2"), "[2001:db8::1]:1/tcp>2");
        assert_eq!(
            shown("8000-8001:90-91"),
            "8000/tcp>90 8001/tcp>91",
            "a range is a port for each pair"
        );
    }

    #[test]
    fn a_wrong_element_is_refused_with_the_reason() {
        for (value, reason) in [
            ("80", "not of the form"),
            ("0:80", "\"0\" is not a port"),
            ("+1:80", "\"+1\" is not a port"),
            ("70000:80", "not a port"),
            (":80", "\"\" is not a port"),
            ("80:80/icmp", "\"icmp\" is neither tcp nor udp"),
            ("80:80/", "neither tcp nor udp"),
            ("web:80:80", "\"web\" is not an address"),
            ("::1:80:80", "needs brackets"),
            ("[127.0.0.1]:80:80", "use 127.0.0.1"),
            ("[::1]:80:80", "publish at 127.0.0.1"),
            ("[::ffff:192.0.2.1]:80:80", "write the IPv4 address"),
            ("[fe80::1]:80:80", "link-local"),
            ("224.0.0.1:80:80", "multicast"),
            ("9-8:9-8", "ends before it starts"),
            ("1-2:1-3", "different lengths"),
            ("80:80,80:81", "80/tcp is published twice"),
            ("80:80,127.0.0.1:80:81", "published twice"),
            ("0.0.0.0:80:80,127.0.0.1:80:81", "published twice"),
            ("1-3:1-3,2:2", "2/tcp is published twice"),
        ] {
            let error = planned(value).unwrap_err();
            assert!(error.contains(reason), "{value}: {error}");
            assert!(error.starts_with("annotations: rt.network.publish: "));
        }
    }

    #[test]
    fn different_addresses_families_and_protocols_do_not_overlap() {
        assert_eq!(planned("80:80/tcp,80:80/udp").unwrap().len(), 2);
        assert_eq!(planned("127.0.0.1:80:80,127.0.0.2:80:80").unwrap().len(), 2);
        assert_eq!(planned("0.0.0.0:80:80,[::]:80:80").unwrap().len(), 2);
    }
}
