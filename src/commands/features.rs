//! `rt features`: what this version supports, in the format of the specification's features.md.
//!
//! The lists come from the tables that the implementation itself uses. What is `enabled` is
//! supported by `rt`; the host may lack it.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{ArgMatches, Command};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{COMMIT, Globals, RUNC_VERSION, VERSION, print};
use crate::annotations;
use crate::bundle;
use crate::cgroups::UNIT_PROPERTIES;
use crate::namespaces::Kind;
use crate::process::{self, HookKind, MemoryPolicyFeatures, SeccompFeatures};
use crate::rootfs;

/// The keys are in the order of runc's output.
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
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicyFeatures,
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
    vocabulary: SeccompFeatures,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

const ENABLED: Enabled = Enabled { enabled: true };

pub(super) fn define(command: Command) -> Command {
    command
        .about("Print the features that this version supports, as JSON")
        .after_help("Example: rt features | jq .linux.namespaces")
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
    let versions = [
        // runc's annotations. Other runtimes may set them to the version of runc that they are
        // compatible with (specs-go/features).
        ("org.opencontainers.runc.checkpoint.enabled", "true"),
        ("org.opencontainers.runc.version", RUNC_VERSION),
        ("rt.commit", COMMIT),
        ("rt.version", VERSION),
    ];
    Features {
        oci_version_min,
        oci_version_max,
        hooks: HookKind::all().map(|kind| kind.to_string()).to_vec(),
        mount_options: sorted(rootfs::mount_options()),
        linux: Linux {
            namespaces: sorted(Kind::all().iter().map(ToString::to_string).collect()),
            capabilities: process::capabilities(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: true,
                systemd_user: true,
                rdma: true,
            },
            seccomp: Seccomp {
                enabled: true,
                vocabulary: process::seccomp_features(),
            },
            apparmor: ENABLED,
            selinux: ENABLED,
            intel_rdt: IntelRdt {
                enabled: true,
                schemata: true,
                monitoring: true,
            },
            memory_policy: process::memory_policy_features(),
            mount_extensions: MountExtensions { idmap: ENABLED },
            net_devices: ENABLED,
        },
        annotations: BTreeMap::from(versions),
        // A name that ends with a dot is a prefix (features.md).
        potentially_unsafe_config_annotations: &[
            UNIT_PROPERTIES,
            annotations::PREFIX,
            annotations::key::GROUPS,
        ],
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names
}
