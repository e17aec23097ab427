//! The plan of a container: config.json and the facts about the host, composed into one
//! immutable value before anything on the host is changed.
//!
//! Only this module connects the feature directories: what one of them must know of another is
//! a plain fact that is passed here. Both sides of the clone hold the same plan, so a position
//! in it is enough to describe a failure.

mod check;
mod decisions;
mod exec;
mod explain;
mod privileges;

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};
use caps::Capability;
use oci_spec::runtime::Spec;

use crate::annotations::Annotations;
use crate::bundle::Bundle;
use crate::cgroups::{CgroupMode, Cgroups, Systemd};
use crate::host::{CgroupLayout, Host, UNIFIED};
use crate::namespaces::{Idmappings, Kind, Mapper, Namespaces, Place};
use crate::network::{self, FileFacts, FileTarget, NetDevices, Network, NetworkFacts};
use crate::process::{
    self, Caller, Hooks, Init, MemoryPolicy, Passed, Personality, Process, ProcessKind,
    SeccompSource, StdioOwnership,
};
use crate::resctrl;
use crate::rootfs::{
    Entry, Facts, GeneratedFile, Rootfs, SwitchOrder, V1HierarchyPaths, V2HierarchyPaths,
};
use crate::selinux::Label;
use crate::step::Step;

pub(crate) use exec::{ExecPlan, ExecSettings, Shared};
pub(crate) use explain::explain_without_plan;

/// Where `Settings::notify` is mounted in the container, as with runc.
const NOTIFY_DIRECTORY: &str = "/run/notify";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

/// What the command line adds to a configuration.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) id: &'a str,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    pub(crate) streams: StdioOwnership,
    pub(crate) passed: Passed,
    pub(crate) cgroups: CgroupMode,
    /// What systemd says of itself, with the systemd driver.
    pub(crate) systemd: Option<&'a Systemd>,
    /// A directory of the host with the socket on which the container's process reports READY
    /// (sd_notify(3)).
    pub(crate) notify: Option<PathBuf>,
    pub(crate) caller: Caller,
    /// Whether SELinux is enabled on the host.
    pub(crate) selinux: bool,
    /// Whether the host enforces AppArmor profiles.
    pub(crate) apparmor: bool,
}

/// Everything that init does, and that the runtime does for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) idmappings: Idmappings,
    pub(crate) cgroups: Cgroups,
    /// `None` without `linux.intelRdt`.
    pub(crate) resctrl: Option<resctrl::Group>,
    /// `None` without `rt.network.*` annotations.
    pub(crate) network: Option<Network>,
    /// `None` without `linux.netDevices`.
    pub(crate) net_devices: Option<NetDevices>,
    pub(crate) rootfs: Rootfs,
    pub(crate) process: Process,
    pub(crate) hooks: Hooks,
}

impl Plan {
    /// Decides everything that can be decided without a change to the host.
    ///
    /// # Errors
    /// The first thing that cannot be applied, by its place in config.json.
    pub(crate) fn new(bundle: &Bundle, settings: &Settings, host: &Host) -> Result<Plan> {
        let spec = &bundle.spec;
        let annotations = Annotations::read(spec.annotations().as_ref());
        let namespaces = Namespaces::plan(spec, mapper(settings, host))?;
        let process = plan_process(spec, settings, &namespaces, &annotations)?;
        refuse_impossible(&process, &namespaces, host)?;
        let idmappings = Idmappings::plan(spec, &namespaces, mapper(settings, host))?;
        idmappings.refuse_without_mount_permission(host.kernel.may_mount)?;
        let hooks = Hooks::plan(spec.hooks().as_ref())?;
        ensure!(
            process.may_fork() || !hooks.at_start(),
            "hooks.startContainer: a process with SCHED_DEADLINE cannot be forked; remove them, or add SCHED_FLAG_RESET_ON_FORK to process.scheduler.flags"
        );
        let network_facts = network_facts(&namespaces, spec, settings, host);
        let (network, net_devices) = plan_network(spec, &annotations, &network_facts)?;
        let mut cgroups = plan_cgroups(spec, settings, host)?;
        if *namespaces.place(Kind::Cgroup) == Place::New
            && writes_cgroups(bundle)
            && let Some(owner) = namespaces.outside(process.uid())
        {
            cgroups.delegate_to(owner);
        }
        let entry = entry(&namespaces, settings);
        let mut facts = facts(&namespaces, &cgroups, host);
        facts.notify = (settings.notify.clone()).map(|source| (source, NOTIFY_DIRECTORY));
        let files = network.iter().flat_map(|network| network.files.targets());
        facts.files = files.map(generated_file).collect();
        let mount_label = (spec.linux().as_ref()).and_then(|linux| linux.mount_label().as_deref());
        facts.mount_label = Label::plan("linux.mountLabel", mount_label, settings.selinux)?;
        let switch_order = switch_order(&hooks, &facts);
        let entry = (entry, switch_order, &annotations);
        let rootfs = Rootfs::plan(spec, &bundle.directory, entry, &facts)?;
        Ok(Plan {
            namespaces,
            idmappings,
            cgroups,
            resctrl: plan_resctrl(spec, settings.id)?,
            network,
            net_devices,
            rootfs,
            process,
            hooks,
        })
    }

    /// The description of every position at which init can fail after it was told to start.
    /// `rt start` has no plan, and needs them for its error messages.
    pub(crate) fn start_step_descriptions(&self) -> Vec<(Step, u16, (String, String))> {
        describe_all(Step::after_start(), |step, item| self.describe(step, item))
    }

    /// The description of every position of init.
    pub(crate) fn step_descriptions(&self) -> Vec<(Step, u16, (String, String))> {
        let all = Step::ALL.iter().copied();
        describe_all(all, |step, item| self.describe(step, item))
    }
}

/// The description of every position in these steps.
fn describe_all(
    steps: impl Iterator<Item = Step>,
    describe: impl Fn(Step, u16) -> Option<(String, String)>,
) -> Vec<(Step, u16, (String, String))> {
    let mut all = Vec::new();
    for step in steps {
        let mut previous = None;
        for item in 0..u16::MAX {
            let description = describe(step, item);
            // A step without a list has the same description for every item.
            if description.is_none() || description == previous {
                break;
            }
            all.extend(
                description
                    .clone()
                    .map(|description| (step, item, description)),
            );
            previous = description;
        }
    }
    all
}

/// The process, with what all processes of the container share.
fn plan_process(
    spec: &Spec,
    settings: &Settings,
    namespaces: &Namespaces,
    annotations: &Annotations,
) -> Result<Process> {
    let linux = spec.linux().as_ref();
    let own_user = *namespaces.place(Kind::User) != Place::Shared;
    let mut caller = settings.caller.clone();
    if own_user {
        // A process that enters a user namespace has all capabilities there.
        caller = caller.with_all_capabilities();
    }
    let options = process::Options {
        id: settings.id,
        new_keyring: settings.new_keyring,
        streams: settings.streams,
        passed: settings.passed,
        keeps_groups: annotations.keeps_groups()?,
        variable: settings.notify.as_ref().map(|_| NOTIFY_SOCKET),
        caller: &caller,
        selinux: settings.selinux,
        apparmor: settings.apparmor,
        filter: linux
            .and_then(|linux| linux.seccomp().as_ref())
            .map_or(SeccompSource::None, SeccompSource::Profile),
        memory_policy: (linux.and_then(|linux| linux.memory_policy().as_ref()))
            .map(MemoryPolicy::plan)
            .transpose()?,
        personality: (linux.and_then(|linux| linux.personality().as_ref()))
            .map(Personality::plan)
            .transpose()?,
        kind: ProcessKind::Init,
        init: Init::plan(annotations, *namespaces.place(Kind::Pid) == Place::New)?,
    };
    match spec.process() {
        Some(process) => Process::plan(process, &options),
        None => Process::absent(&options),
    }
}

/// Whether the container may create cgroups below its own (config-linux.md, "Cgroup
/// ownership").
fn writes_cgroups(bundle: &Bundle) -> bool {
    let mounts = bundle.spec.mounts().iter().flatten();
    let mut cgroups = mounts.filter(|mount| {
        mount.destination() == Path::new("/sys/fs/cgroup")
            && mount.source().as_deref() == Some(Path::new("cgroup"))
    });
    cgroups.any(|mount| {
        let mut options = (mount.options().iter().flatten()).flat_map(|entry| entry.split(','));
        !options.any(|option| option == "ro")
    })
}

/// The network by annotations, and the devices of the host that join it.
fn plan_network(
    spec: &Spec,
    annotations: &Annotations,
    facts: &NetworkFacts,
) -> Result<(Option<Network>, Option<NetDevices>)> {
    let network = Network::plan(annotations, facts)?;
    let interface = network.as_ref().map(|network| &*network.interface);
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let devices = NetDevices::plan(devices, interface, facts)?;
    Ok((network, devices))
}

/// The cgroups, made by systemd or by `rt` itself.
fn plan_cgroups(spec: &Spec, settings: &Settings, host: &Host) -> Result<Cgroups> {
    let linux = spec.linux().as_ref();
    let (id, mode) = (settings.id, settings.cgroups);
    match settings.systemd.filter(|_| mode != CgroupMode::Disabled) {
        None => Cgroups::plan(id, linux, mode, host),
        Some(systemd) => {
            let annotations = spec.annotations().iter().flatten();
            Cgroups::plan_systemd(id, (linux, annotations), mode, host, systemd)
        }
    }
}

fn plan_resctrl(spec: &Spec, id: &str) -> Result<Option<resctrl::Group>> {
    let linux = spec.linux().as_ref();
    let config = linux.and_then(|linux| linux.intel_rdt().as_ref());
    config
        .map(|config| resctrl::Group::plan(id, config))
        .transpose()
}

fn entry(namespaces: &Namespaces, settings: &Settings) -> Entry {
    match namespaces.place(Kind::Mount) {
        Place::New if settings.no_pivot => Entry::Move,
        Place::New => Entry::Pivot,
        Place::Shared | Place::Joined { .. } => Entry::Chroot,
    }
}

fn switch_order(hooks: &Hooks, facts: &Facts) -> SwitchOrder {
    if hooks.before_pivot() || facts.user_namespace {
        SwitchOrder::AfterMounts
    } else {
        SwitchOrder::BeforeMounts
    }
}

/// What [`Network`] must know of namespaces, the caller and the host.
fn network_facts<'a>(
    namespaces: &Namespaces,
    spec: &'a Spec,
    settings: &'a Settings,
    host: &Host,
) -> NetworkFacts<'a> {
    NetworkFacts {
        namespace: match namespaces.place(Kind::Network) {
            Place::New => network::Place::New,
            Place::Shared => network::Place::Shared,
            Place::Joined { index, .. } => network::Place::Joined { index: *index },
        },
        may_administer: (settings.caller.grantable).contains(&Capability::CAP_NET_ADMIN),
        files: FileFacts {
            name: spec.hostname().as_deref().unwrap_or(settings.id),
            read: host.read_text,
        },
    }
}

/// A file of the network, for [`Rootfs`].
fn generated_file(target: FileTarget) -> GeneratedFile {
    let FileTarget {
        path,
        key,
        explicit,
    } = target;
    GeneratedFile {
        path,
        key,
        explicit,
    }
}

/// The caller's ids, and whether it may write any id map.
fn mapper(settings: &Settings, host: &Host) -> Mapper {
    let has = |capability| settings.caller.grantable.contains(&capability);
    Mapper {
        uid: host.caller.uid,
        gid: host.caller.gid,
        privileged: has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID),
    }
}

/// Refuses what the caller or the id maps of the container rule out.
fn refuse_impossible(process: &Process, namespaces: &Namespaces, host: &Host) -> Result<()> {
    let is_privileged = host.caller.uid == 0 || host.kernel.may_mount;
    ensure!(
        is_privileged || *namespaces.place(Kind::User) != Place::Shared,
        "linux.namespaces: run rt as root, or add a user namespace (rt spec --rootless writes a config.json with one)"
    );
    refuse_unmapped(process, namespaces)
}

/// Refuses ids of the process that have no mapping in a new user namespace.
fn refuse_unmapped(process: &Process, namespaces: &Namespaces) -> Result<()> {
    let Some(maps) = namespaces.new_maps() else {
        return Ok(());
    };
    maps.require_uid(process.uid(), "process.user.uid")?;
    for (place, gid) in process.gids() {
        maps.require_gid(gid, &place)?;
        ensure!(
            !maps.denies_setgroups() || place == "process.user.gid",
            "{place}: a user namespace made without privileges has no additional groups; remove it"
        );
    }
    Ok(())
}

/// What [`Rootfs`] must know of namespaces and cgroups.
fn facts(namespaces: &Namespaces, cgroups: &Cgroups, host: &Host) -> Facts {
    let paths = cgroups.paths();
    let cgroup_directory = |mount: &Path, own: &Path| {
        // `..` components lead above the root of a cgroup namespace, where nothing is visible.
        let visible = (own.components()).filter(|part| matches!(part, Component::Normal(_)));
        mount.join(visible.collect::<PathBuf>())
    };
    let facts_of_unified = |mount: &Path, own: &Path| V2HierarchyPaths {
        directory: paths.get(UNIFIED).cloned(),
        callers: cgroup_directory(mount, own),
    };
    let (hierarchies, unified) = match &host.cgroups {
        CgroupLayout::V2 { mount, own } => (Vec::new(), Some(facts_of_unified(mount, own))),
        CgroupLayout::V1 {
            hierarchies,
            unified: v2,
        } => {
            let hierarchies = hierarchies.iter().filter_map(|hierarchy| {
                Some(V1HierarchyPaths {
                    controllers: hierarchy.controllers.clone(),
                    name: hierarchy.mount.file_name()?.to_str()?.to_owned(),
                    directory: paths.get(hierarchy.controllers.first()?).cloned(),
                    callers: cgroup_directory(&hierarchy.mount, &hierarchy.own),
                })
            });
            let unified = v2.as_ref().map(|v2| facts_of_unified(&v2.mount, &v2.own));
            (hierarchies.collect(), unified)
        }
    };
    Facts {
        mount_setattr: host.kernel.mount_setattr,
        user_namespace: *namespaces.place(Kind::User) != Place::Shared
            || !host.caller.initial_user_namespace,
        owner: namespaces.root_outside(),
        ipc_namespace: *namespaces.place(Kind::Ipc) != Place::Shared,
        mount_label: None,
        cgroup_namespace: *namespaces.place(Kind::Cgroup) == Place::New,
        cgroups_required: cgroups.are_required(),
        hierarchies,
        notify: None,
        files: Vec::new(),
        unified,
    }
}

#[cfg(test)]
mod tests;
