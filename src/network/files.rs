//! The container's own /etc/resolv.conf and /etc/hosts: their content. `rootfs` mounts them.

mod hosts;
mod names;
mod resolv_conf;

use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;

use super::lease::Lease;
use crate::annotations::{Annotations, key};
use crate::decisions::Decisions;
use hosts::Hosts;
use resolv_conf::ResolvConf;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// What the files depend on besides the annotations.
pub(crate) struct FileFacts<'a> {
    /// The container's host name, or its id if it keeps the name of the host.
    pub(crate) name: &'a str,
    /// Reads a file of the host. `None` if it cannot be read.
    pub(crate) read: fn(&Path) -> Option<String>,
}

/// A file that the container gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileTarget {
    pub(crate) path: &'static str,
    /// The annotation that decides about it.
    pub(crate) key: &'static str,
    /// The annotation is there: the file is not the default.
    pub(crate) explicit: bool,
}

/// The planned files. `None` for a file that stays as the image has it.
#[derive(Debug)]
pub(crate) struct Files {
    resolv_conf: Option<ResolvConf>,
    hosts: Option<Hosts>,
    /// Whether [`key::DNS`] and [`key::HOSTS`] are there.
    explicit: (bool, bool),
}

impl Files {
    /// Plans from [`key::DNS`] and [`key::HOSTS`].
    ///
    /// # Errors
    /// A value that cannot be written to the file.
    pub(crate) fn plan(annotations: &Annotations, facts: &FileFacts) -> Result<Files> {
        Ok(Files {
            resolv_conf: ResolvConf::plan(annotations, facts.read)?,
            hosts: Hosts::plan(annotations, facts.name)?,
            explicit: (
                annotations.get(key::DNS).is_some(),
                annotations.get(key::HOSTS).is_some(),
            ),
        })
    }

    /// The files that are written.
    pub(crate) fn targets(&self) -> Vec<FileTarget> {
        let resolv_conf = self.resolv_conf.as_ref().map(|_| FileTarget {
            path: RESOLV_CONF,
            key: key::DNS,
            explicit: self.explicit.0,
        });
        let hosts = self.hosts.as_ref().map(|_| FileTarget {
            path: HOSTS,
            key: key::HOSTS,
            explicit: self.explicit.1,
        });
        resolv_conf.into_iter().chain(hosts).collect()
    }

    /// The paths and contents of these files.
    pub(crate) fn contents(&self, lease: &Lease) -> Vec<(&'static str, String)> {
        let resolv_conf = self.resolv_conf.as_ref();
        let resolv_conf = resolv_conf.map(|file| (RESOLV_CONF, file.to_string()));
        let hosts = self.hosts.as_ref();
        let hosts = hosts.map(|file| (HOSTS, file.text(lease.addresses.iter().map(IpNet::addr))));
        resolv_conf.into_iter().chain(hosts).collect()
    }

    /// Adds what the files will hold.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        match &self.resolv_conf {
            None => to.line("/etc/resolv.conf: as the image has it"),
            Some(file) => file.decisions(to),
        }
        match &self.hosts {
            None => to.line("/etc/hosts: as the image has it"),
            Some(file) => file.decisions(to),
        }
    }
}
