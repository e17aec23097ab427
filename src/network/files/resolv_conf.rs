//! /etc/resolv.conf (resolv.conf(5)): the name servers of the host, or those of the annotation.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;

use super::names::is_domain;
use crate::annotations::{Annotations, invalid, key};
use crate::decisions::{Decisions, list};
use crate::log;

/// The host's files. The second has the servers behind the local one of systemd-resolved.
const SOURCES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The content of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ResolvConf {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

impl ResolvConf {
    /// Plans from [`key::DNS`]. `None` if the file stays as the image has it.
    ///
    /// # Errors
    /// An element that is neither an address nor a domain.
    pub(super) fn plan(
        annotations: &Annotations,
        read: fn(&Path) -> Option<String>,
    ) -> Result<Option<ResolvConf>> {
        let Some(given) = annotations.list(key::DNS)? else {
            let host = ResolvConf::of_host(read);
            if host.is_none() {
                log::defer_warning(format!(
                    "annotations: {}: not set, and /etc/resolv.conf of the host names no server that a container can reach: its /etc/resolv.conf stays that of the image",
                    key::DNS
                ));
            }
            return Ok(host);
        };
        if given == ["none"] {
            return Ok(None);
        }
        let value = annotations.get(key::DNS).unwrap_or_default();
        let host = ResolvConf::of_host(read);
        let mut planned = ResolvConf::default();
        for element in given {
            match element.parse::<IpAddr>() {
                Ok(address) if is_reachable(address) => planned.servers.push(address),
                Ok(_) => {
                    return Err(refused(value, element, "is not the address of a server"));
                }
                Err(_) if element == "none" => {
                    return Err(refused(value, element, "has to be the only element"));
                }
                Err(_) if is_domain(element) => planned.search.push(element.to_owned()),
                Err(_) => {
                    let reason = "is neither an IP address nor a search domain";
                    return Err(refused(value, element, reason));
                }
            }
        }
        let ResolvConf {
            servers, options, ..
        } = host.unwrap_or_default();
        if planned.servers.is_empty() {
            planned.servers = servers;
        }
        if planned.servers.is_empty() {
            let reason =
                "no server, and the host has none that a container can reach; add an address";
            return Err(invalid(key::DNS, value, reason));
        }
        planned.options = options;
        Ok(Some(planned))
    }

    /// The host's, without the servers that only the host can reach. `None` if no other is
    /// there.
    fn of_host(read: fn(&Path) -> Option<String>) -> Option<ResolvConf> {
        let mut found = SOURCES.iter().filter_map(|source| {
            let mut parsed = ResolvConf::parse(&read(Path::new(source))?);
            parsed.servers.retain(|server| !is_loopback(*server));
            (!parsed.servers.is_empty()).then_some(parsed)
        });
        found.next()
    }

    /// Parses the file of a host. Servers with a zone, such as `fe80::1%eth0`, are left out: the
    /// container does not have the host's interfaces.
    fn parse(text: &str) -> ResolvConf {
        let mut parsed = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let rest = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => {
                    let address = rest.into_iter().next().and_then(|word| word.parse().ok());
                    parsed
                        .servers
                        .extend(address.filter(|address| is_reachable(*address)));
                }
                // The last one counts.
                Some("search" | "domain") => parsed.search = rest.collect(),
                Some("options") => parsed.options.extend(rest),
                _ => {}
            }
        }
        parsed
    }

    pub(super) fn decisions(&self, to: &mut Decisions) {
        to.line(format!(
            "/etc/resolv.conf: servers {}; search {}; options {}",
            list(&self.servers),
            list(&self.search),
            list(&self.options)
        ));
    }
}

impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "# Written by rt for this container ({}).", key::DNS)?;
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                writeln!(f, "{keyword} {}", words.join(" "))?;
            }
        }
        Ok(())
    }
}

/// Whether a server can have this address.
fn is_reachable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// Whether the address leads to the host itself: in the container it leads to the container.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn refused(value: &str, element: &str, reason: &str) -> anyhow::Error {
    invalid(key::DNS, value, &format!("{element:?} {reason}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn planned(
        dns: Option<&str>,
        read: fn(&Path) -> Option<String>,
    ) -> Result<Option<String>, String> {
        let given = dns.map(|dns| HashMap::from([(key::DNS.to_owned(), dns.to_owned())]));
        let planned = ResolvConf::plan(&Annotations::read(given.as_ref()), read);
        let content = |file: ResolvConf| {
            file.to_string()
                .lines()
                .skip(1)
                .collect::<Vec<_>>()
                .join("|")
        };
        planned
            .map(|file| file.map(content))
            .map_err(|error| error.to_string())
    }

    fn ordinary(path: &Path) -> Option<String> {
        let text = "# nameserver 9.9.9.9\n; x\nsearch a b\n\nnameserver 127.0.0.1\n\
                    nameserver 192.0.2.1 \nnameserver ::1\nnameserver ::ffff:127.0.0.1\n\
                    nameserver fe80::1%eth0\nnameserver 0.0.0.0\nnameserver 2001:db8::53\n\
                    domain last\noptions ndots:2\noptions edns0 trust-ad\nsortlist 1.2.3.0\n";
        (path == Path::new(SOURCES[0])).then(|| text.to_owned())
    }

    fn resolved(path: &Path) -> Option<String> {
        Some(match path.to_str()? {
            "/etc/resolv.conf" => "nameserver 127.0.0.53\noptions edns0\nsearch stub\n".to_owned(),
            _ => "nameserver 192.0.2.7\nsearch upstream\n".to_owned(),
        })
    }

    fn local(_: &Path) -> Option<String> {
        Some("nameserver 127.0.0.1\n".to_owned())
    }

    #[test]
    fn by_default_it_has_the_servers_of_the_host_except_local_ones() {
        let expected = "nameserver 192.0.2.1|nameserver 2001:db8::53|search last|\
                        options ndots:2 edns0 trust-ad";
        assert_eq!(planned(None, ordinary), Ok(Some(expected.to_owned())));
        let expected = "nameserver 192.0.2.7|search upstream";
        assert_eq!(planned(None, resolved), Ok(Some(expected.to_owned())));
        assert_eq!(planned(None, local), Ok(None));
        assert_eq!(planned(None, |_| None), Ok(None));
    }

    #[test]
    fn given_servers_and_domains_replace_those_of_the_host() {
        let both = planned(Some("fd00::1, 10.0.0.53,example.org,b."), ordinary);
        let expected = "nameserver fd00::1|nameserver 10.0.0.53|search example.org b.|\
                        options ndots:2 edns0 trust-ad";
        assert_eq!(both, Ok(Some(expected.to_owned())));
        let servers = planned(Some("10.0.0.53"), local);
        assert_eq!(servers, Ok(Some("nameserver 10.0.0.53".to_owned())));
        let domain = planned(Some("example.org"), resolved);
        let expected = "nameserver 192.0.2.7|search example.org";
        assert_eq!(domain, Ok(Some(expected.to_owned())));
        assert_eq!(planned(Some("none"), ordinary), Ok(None));
    }

    #[test]
    fn anything_else_is_refused_with_the_element() {
        for (value, part) in [
            (
                "8.8.8",
                "\"8.8.8\" is neither an IP address nor a search domain",
            ),
            ("a b", "\"a b\" is neither"),
            ("none,1.1.1.1", "\"none\" has to be the only element"),
            ("0.0.0.0", "\"0.0.0.0\" is not the address of a server"),
            ("ff02::1", "\"ff02::1\" is not the address of a server"),
            ("1.1.1.1,", "an element of the list is empty"),
            ("x\nnameserver 6.6.6.6", "is neither"),
        ] {
            let error = planned(Some(value), ordinary).unwrap_err();
            assert!(error.contains(part), "{value:?}: {error}");
            assert!(
                error.starts_with("annotations: rt.network.dns: "),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        let error = planned(Some("example.org"), local).unwrap_err();
        assert!(error.contains("add an address"), "{error}");
    }
}
