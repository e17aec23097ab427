//! /etc/hosts (hosts(5)): the container's own name and addresses, and further ones.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Result, ensure};

use super::names::is_host_name;
use crate::annotations::{Annotations, invalid, key};
use crate::decisions::{Decisions, list};

/// The lines that every such file has, as in Docker.
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::\tip6-localnet\n\
                     ff00::\tip6-mcastprefix\n\
                     ff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n";

/// The content of the file, except for the container's addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// The container's own name.
    name: String,
    further: Vec<(String, IpAddr)>,
}

impl Hosts {
    /// Plans from [`key::HOSTS`]. `None` if the file stays as the image has it. `name` is the
    /// container's own.
    ///
    /// # Errors
    /// A further entry that is not NAME:ADDRESS, or a name of the container that cannot be
    /// written to the file.
    pub(super) fn plan(annotations: &Annotations, name: &str) -> Result<Option<Hosts>> {
        let value = annotations.get(key::HOSTS).unwrap_or("true");
        let further = match (value, annotations.list(key::HOSTS)?) {
            ("false", _) => return Ok(None),
            ("true", _) | (_, None) => Vec::new(),
            (_, Some(entries)) => {
                let entries = entries.into_iter().map(|entry| parse(value, entry));
                entries.collect::<Result<_>>()?
            }
        };
        ensure!(
            !name.contains(|character: char| character.is_whitespace()
                || character.is_control()
                || character == '#'),
            "annotations: {}: /etc/hosts cannot hold the name {name:?}; change hostname, or set it to \"false\"",
            key::HOSTS
        );
        Ok(Some(Hosts {
            name: name.to_owned(),
            further,
        }))
    }

    /// The content, with the container's addresses. A name with a domain gets its first label as
    /// a second name.
    pub(super) fn text(&self, addresses: impl Iterator<Item = IpAddr>) -> String {
        let names = match self.name.split_once('.') {
            Some((first, _)) if !first.is_empty() => format!("{} {first}", self.name),
            _ => self.name.clone(),
        };
        let mut text = LOCAL.to_owned();
        let own = addresses.map(|address| (names.as_str(), address));
        let further = self
            .further
            .iter()
            .map(|(name, address)| (name.as_str(), *address));
        for (names, address) in own.chain(further) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{names}");
        }
        text
    }

    pub(super) fn decisions(&self, to: &mut Decisions) {
        let further = self
            .further
            .iter()
            .map(|(name, address)| format!("{name} {address}"));
        to.line(format!(
            "/etc/hosts: localhost, {} with its addresses; further: {}",
            self.name,
            list(further)
        ));
    }
}

/// An entry NAME:ADDRESS. An IPv6 address may be in brackets.
fn parse(value: &str, entry: &str) -> Result<(String, IpAddr)> {
    let refused = |reason: String| invalid(key::HOSTS, value, &reason);
    let Some((name, address)) = entry.split_once(':') else {
        return Err(refused(format!(
            "{entry:?} is neither \"true\", \"false\" nor NAME:ADDRESS"
        )));
    };
    if !is_host_name(name) {
        return Err(refused(format!("{name:?} is not a host name")));
    }
    let bare = address.strip_prefix('[');
    let bare = bare.and_then(|address| address.strip_suffix(']'));
    let parsed = match bare {
        Some(bare) => bare.parse().map(IpAddr::V6),
        None => address.parse(),
    };
    match parsed {
        Ok(address) => Ok((name.to_owned(), address)),
        Err(_) => Err(refused(format!("{address:?} is not an IP address"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn planned(hosts: Option<&str>, name: &str) -> Result<Option<Vec<String>>, String> {
        let given = hosts.map(|hosts| HashMap::from([(key::HOSTS.to_owned(), hosts.to_owned())]));
        let planned = Hosts::plan(&Annotations::read(given.as_ref()), name);
        let own = ["10.88.0.2", "fd00::2"].map(|address| address.parse().unwrap());
        let lines = |file: Hosts| {
            let text = file.text(own.into_iter());
            let local = LOCAL.lines().count();
            text.lines()
                .skip(local)
                .map(|line| line.replace('\t', " "))
                .collect()
        };
        planned
            .map(|file| file.map(lines))
            .map_err(|error| error.to_string())
    }

    fn lines(lines: &[&str]) -> Result<Option<Vec<String>>, String> {
        Ok(Some(lines.iter().map(|line| (*line).to_owned()).collect()))
    }

    #[test]
    fn it_has_the_containers_name_and_addresses() {
        let own = lines(&["10.88.0.2 web", "fd00::2 web"]);
        assert_eq!(planned(None, "web"), own);
        assert_eq!(planned(Some("true"), "web"), own);
        let full = lines(&[
            "10.88.0.2 web.example.org web",
            "fd00::2 web.example.org web",
        ]);
        assert_eq!(planned(None, "web.example.org"), full);
        assert_eq!(planned(Some("false"), "web"), Ok(None));
    }

    #[test]
    fn further_entries_come_after_its_own() {
        let expected = lines(&[
            "10.88.0.2 web",
            "fd00::2 web",
            "10.0.0.9 db",
            "fd00::9 db",
            "fd00::a cache.local",
        ]);
        let given = "db:10.0.0.9, db:fd00::9,cache.local:[fd00::a]";
        assert_eq!(planned(Some(given), "web"), expected);
    }

    #[test]
    fn anything_else_is_refused_with_the_element() {
        for (value, part) in [
            (
                "yes",
                "\"yes\" is neither \"true\", \"false\" nor NAME:ADDRESS",
            ),
            ("true,db:1.2.3.4", "\"true\" is neither"),
            ("db:host-gateway", "\"host-gateway\" is not an IP address"),
            ("db:[10.0.0.1]", "\"[10.0.0.1]\" is not an IP address"),
            ("db:fe80::1%eth0", "is not an IP address"),
            ("a b:10.0.0.1", "\"a b\" is not a host name"),
            (":10.0.0.1", "\"\" is not a host name"),
            ("x\n6.6.6.6 y:10.0.0.1", "is not a host name"),
            ("db:10.0.0.1,", "an element of the list is empty"),
        ] {
            let error = planned(Some(value), "web").unwrap_err();
            assert!(error.contains(part), "{value:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let error = planned(None, "a\nb").unwrap_err();
        assert!(
            error.contains("change hostname") && !error.contains('\n'),
            "{error}"
        );
        assert_eq!(planned(Some("false"), "a\nb"), Ok(None));
    }
}
