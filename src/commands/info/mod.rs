//! `rt info`: what `rt` finds on this host, and what the caller may do.

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{ArgMatches, Command};
use serde::{Serialize, Serializer};

use super::{COMMIT, Globals, VERSION, option, print};
use crate::bundle;
use crate::cgroups::{CgroupMode, Cgroups, Systemd};
use crate::container;
use crate::host::{self, Caller, CgroupLayout, Host, SubordinateIds};
use crate::log;
use crate::namespaces::mapping_program;
use crate::process;
use crate::rootfs;
use crate::trusted_proc::Proc;

/// A fact about the host. In JSON, one that cannot be found out is an object with the key `unknown`.
enum Fact<T> {
    Known(T),
    Unknown(String),
}

impl<T> From<Result<T>> for Fact<T> {
    fn from(result: Result<T>) -> Fact<T> {
        match result {
            Ok(known) => Fact::Known(known),
            Err(error) => Fact::Unknown(log::format_error(&error)),
        }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Fact::Known(known) => known.serialize(serializer),
            Fact::Unknown(reason) => BTreeMap::from([("unknown", reason)]).serialize(serializer),
        }
    }
}

/// The output in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    version: &'static str,
    commit: &'static str,
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    kernel: Kernel,
    cgroups: Fact<Layout>,
    systemd: Fact<Manager>,
    security: Security,
    user: User,
    state_root: StateRoot,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kernel {
    release: Fact<String>,
    release_min: &'static str,
    interfaces: Vec<Interface>,
}

#[derive(Serialize)]
struct Interface {
    name: &'static str,
    since: &'static str,
    found: Fact<bool>,
    without: &'static str,
}

#[derive(Serialize)]
struct Layout {
    /// `v1`, `v2` or `hybrid`.
    layout: &'static str,
    hierarchies: Vec<Hierarchy>,
    /// The directories in which a container's cgroups are made.
    parents: Fact<Vec<Parent>>,
}

#[derive(Serialize)]
struct Hierarchy {
    mount: PathBuf,
    controllers: Fact<Vec<String>>,
}

#[derive(Serialize)]
struct Parent {
    directory: PathBuf,
    writable: bool,
}

/// The systemd that makes cgroups with `--systemd-cgroup`.
#[derive(Serialize)]
struct Manager {
    /// 0 when it is not known.
    version: u32,
    /// It is the manager of the user, and not that of the host.
    user: bool,
}

#[derive(Serialize)]
struct Security {
    modules: Fact<Vec<String>>,
    apparmor: bool,
    selinux: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    uid: Fact<u32>,
    gid: Fact<u32>,
    initial_user_namespace: Fact<bool>,
    may_mount: Fact<bool>,
    may_make_user_namespaces: Fact<bool>,
    subordinate_uids: Fact<Vec<SubordinateIds>>,
    subordinate_gids: Fact<Vec<SubordinateIds>>,
    newuidmap: Option<PathBuf>,
    newgidmap: Option<PathBuf>,
    capabilities: Fact<Vec<String>>,
}

#[derive(Serialize)]
struct StateRoot {
    path: PathBuf,
    exists: bool,
    writable: bool,
    /// Why containers cannot be kept there.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn define(command: Command) -> Command {
    command
        .about("Print what this host, its kernel and this user offer to containers")
        .arg(option("format", "FORMAT").help("Format of the output: text or json [default: text]"))
        .after_help("Example: rt info --format json")
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let text = match matches.get_one::<String>("format").map(String::as_str) {
        None | Some("text") => text::table(&info(globals)),
        Some("json") => serde_json::to_string_pretty(&info(globals))? + "\n",
        Some(other) => bail!("--format: unknown value {other:?}: text or json"),
    };
    print(&text)?;
    Ok(0)
}

fn info(globals: &Globals) -> Info {
    let proc = Proc::open();
    let host = match &proc {
        Ok(proc) => Host::probe(proc),
        Err(errno) => Err(anyhow::Error::from(*errno).context("/proc")),
    };
    let (oci_version_min, oci_version_max) = bundle::VERSIONS;
    let interfaces = host::interfaces(&host, rootfs::supports_lowerdir_append);
    let interfaces = interfaces.into_iter().map(|interface| Interface {
        name: interface.name,
        since: interface.since,
        found: interface.found.into(),
        without: interface.without,
    });
    Info {
        version: VERSION,
        commit: COMMIT,
        oci_version_min,
        oci_version_max,
        kernel: Kernel {
            release: host::release().into(),
            release_min: host::MINIMUM_RELEASE,
            interfaces: interfaces.collect(),
        },
        cgroups: of_host(&host, layout),
        systemd: match &host {
            Ok(host) => manager(globals, host).into(),
            Err(error) => Fact::Unknown(log::format_error(error)),
        },
        security: Security {
            modules: host::security_modules().into(),
            apparmor: host::enforces_apparmor(),
            selinux: host::enforces_selinux(),
        },
        user: user(&host, proc.ok().as_ref()),
        state_root: state_root(&globals.root),
    }
}

/// A fact that follows from the facts that planning needs.
fn of_host<T>(host: &Result<Host>, fact: impl FnOnce(&Host) -> T) -> Fact<T> {
    match host {
        Ok(host) => Fact::Known(fact(host)),
        Err(error) => Fact::Unknown(log::format_error(error)),
    }
}

fn layout(host: &Host) -> Layout {
    let v2 = |mount: &Path| Hierarchy {
        mount: mount.to_owned(),
        controllers: v2_controllers(mount).into(),
    };
    let (layout, hierarchies) = match &host.cgroups {
        CgroupLayout::V2 { mount, .. } => ("v2", vec![v2(mount)]),
        CgroupLayout::V1 {
            hierarchies,
            unified,
        } => {
            let v1 = hierarchies.iter().map(|hierarchy| Hierarchy {
                mount: hierarchy.mount.clone(),
                controllers: Fact::Known(hierarchy.controllers.clone()),
            });
            let unified = unified.as_ref().map(|unified| v2(&unified.mount));
            let layout = if unified.is_some() { "hybrid" } else { "v1" };
            (layout, v1.chain(unified).collect())
        }
    };
    Layout {
        layout,
        hierarchies,
        parents: parents(host).into(),
    }
}

fn v2_controllers(mount: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_to_string(mount.join("cgroup.controllers"))?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// Where a container without `linux.cgroupsPath` has its cgroups.
fn parents(host: &Host) -> Result<Vec<Parent>> {
    let planned = Cgroups::plan("rt-info", None, CgroupMode::default(), host)?;
    let parents = planned.parents().into_iter();
    Ok(parents
        .map(|(directory, writable)| Parent {
            directory,
            writable,
        })
        .collect())
}

fn manager(globals: &Globals, host: &Host) -> Result<Manager> {
    let (version, user) = Systemd::probe(&globals.buses, host).into_version()?;
    Ok(Manager { version, user })
}

fn user(host: &Result<Host>, proc: Option<&Proc>) -> User {
    let caller = Caller::probe();
    let of_caller = |fact: fn(&Caller) -> u32| match &caller {
        Ok(caller) => Fact::Known(fact(caller)),
        Err(error) => Fact::Unknown(log::format_error(error)),
    };
    let ids = |file: &str| match &caller {
        Ok(caller) => host::subordinate_ids(file, caller.uid).into(),
        Err(error) => Fact::Unknown(log::format_error(error)),
    };
    User {
        uid: of_caller(|caller| caller.uid),
        gid: of_caller(|caller| caller.gid),
        initial_user_namespace: match &caller {
            Ok(caller) => Fact::Known(caller.initial_user_namespace),
            Err(error) => Fact::Unknown(log::format_error(error)),
        },
        may_mount: of_host(host, |host| host.kernel.may_mount),
        may_make_user_namespaces: Fact::Known(host::try_user_namespace().unwrap_or(false)),
        subordinate_uids: ids("/etc/subuid"),
        subordinate_gids: ids("/etc/subgid"),
        newuidmap: mapping_program("newuidmap"),
        newgidmap: mapping_program("newgidmap"),
        capabilities: match proc.map(process::Caller::read) {
            Some(Ok(caller)) => {
                let mut names: Vec<_> = caller.grantable.into_iter().collect();
                names.sort_by_key(|capability| capability.index());
                Fact::Known(names.iter().map(ToString::to_string).collect())
            }
            Some(Err(error)) => Fact::Unknown(log::format_error(&error)),
            None => Fact::Unknown("/proc".to_owned()),
        },
    }
}

fn state_root(root: &Path) -> StateRoot {
    let refusal = container::check_writable_root(root).err();
    StateRoot {
        path: root.to_owned(),
        exists: root.exists(),
        writable: refusal.is_none(),
        reason: refusal.map(|error| log::format_error(&error)),
    }
}
