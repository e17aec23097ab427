//! `rt features`: what a configuration may ask of this version (features.md).
//!
//! Every list comes from the table that the code itself decides by, and every
//! "enabled" from the table of what is refused: nothing is said twice.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{ArgMatches, Command};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{AS_RUNC, COMMIT, Globals, VERSION, print};
use crate::annotations;
use crate::bundle::{self, applies};
use crate::namespaces::Kind;
use crate::process::{self, Moment, Vocabulary};
use crate::rootfs;

/// The order of the keys is runc's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<String>,
    mount_options: Vec<String>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: Vec<String>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
struct Seccomp {
    enabled: bool,
    #[serde(flatten)]
    vocabulary: Vocabulary,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

pub(super) fn define(command: Command) -> Command {
    command.about("Shows what this version supports as JSON")
}

pub(super) fn perform(_: &Globals, _: &ArgMatches) -> Result<u8> {
    let mut text = Vec::new();
    let indented = PrettyFormatter::with_indent(b"    ");
    features().serialize(&mut Serializer::with_formatter(&mut text, indented))?;
    text.push(b'\n');
    print(&String::from_utf8(text)?)?;
    Ok(0)
}

fn features() -> Features {
    let (oci_version_min, oci_version_max) = bundle::VERSIONS;
    let mut hooks = Moment::all().map(|moment| moment.to_string()).to_vec();
    hooks.retain(|name| applies(&format!("hooks.{name}")));
    let version = [
        // runc's own names, which others may use for the runc that they are
        // compatible with (specs-go/features).
        ("org.opencontainers.runc.checkpoint.enabled", "false"),
        ("org.opencontainers.runc.version", AS_RUNC),
        ("rt.commit", COMMIT),
        ("rt.version", VERSION),
    ];
    Features {
        oci_version_min,
        oci_version_max,
        hooks,
        mount_options: sorted(rootfs::mount_options()),
        linux: Linux {
            namespaces: sorted(Kind::all().iter().map(ToString::to_string).collect()),
            capabilities: process::capabilities(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: false,
                systemd_user: false,
                rdma: applies("linux.resources.rdma"),
            },
            seccomp: Seccomp {
                enabled: applies("linux.seccomp"),
                vocabulary: process::seccomp_vocabulary(),
            },
            apparmor: enabled(&["process.apparmorProfile"]),
            selinux: enabled(&["process.selinuxLabel", "linux.mountLabel"]),
            intel_rdt: enabled(&["linux.intelRdt"]),
            mount_extensions: MountExtensions {
                idmap: enabled(&["mounts[].uidMappings", "mounts[].gidMappings"]),
            },
            net_devices: enabled(&["linux.netDevices"]),
        },
        annotations: BTreeMap::from(version),
        potentially_unsafe_config_annotations: &annotations::KNOWN,
    }
}

fn enabled(fields: &[&str]) -> Enabled {
    Enabled {
        enabled: fields.iter().all(|field| applies(field)),
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}
