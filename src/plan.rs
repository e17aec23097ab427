//! A container, decided: config.json and this machine, composed into one
//! immutable value before anything is touched.
//!
//! The only matchmaker among the feature directories: what one of them must
//! know of another is a plain fact handed over here. Both sides of the clone
//! hold the same plan, so a position in it says everything about a failure.

mod exec;

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use caps::Capability;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::annotations;
use crate::bundle::Bundle;
use crate::cgroups::{CgroupMode, Cgroups};
use crate::host::{CgroupLayout, Host, UNIFIED};
use crate::log;
use crate::namespaces::{Idmappings, Kind, Mapper, Namespaces, Place};
use crate::process::{self, Caller, Filter, Hooks, Passed, Process, Role, Streams};
use crate::rootfs::{Entry, Facts, HierarchyFacts, Layer, Rootfs, Turn, UnifiedFacts};
use crate::step::{Cause, Failure, Refusal, Step};

pub(crate) use exec::{ExecPlan, ExecSettings, Shared};

/// Where a container finds the socket of `Settings::notify`, as with runc.
const NOTIFY_DIRECTORY: &str = "/run/notify";
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

/// What the command line adds to a configuration.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) id: &'a str,
    pub(crate) no_pivot: bool,
    pub(crate) new_keyring: bool,
    pub(crate) streams: Streams,
    pub(crate) passed: Passed,
    pub(crate) cgroups: CgroupMode,
    /// A directory of the machine with a socket on which the container's process
    /// may say that it is ready.
    pub(crate) notify: Option<PathBuf>,
    pub(crate) caller: Caller,
    /// Whether this machine enforces profiles of AppArmor.
    pub(crate) apparmor: bool,
}

/// Everything that init does, and everything that the runtime does for it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) idmappings: Idmappings,
    pub(crate) cgroups: Cgroups,
    pub(crate) rootfs: Rootfs,
    pub(crate) process: Process,
    pub(crate) hooks: Hooks,
}

impl Plan {
    /// Decides everything that can be decided without touching the machine.
    ///
    /// # Errors
    /// The first thing that cannot be applied, by its place in config.json.
    pub(crate) fn new(bundle: &Bundle, settings: &Settings, host: &Host) -> Result<Plan> {
        let spec = &bundle.spec;
        let linux = spec.linux().as_ref();
        let process = spec.process().as_ref();
        let process = process.ok_or_else(|| anyhow!("process: required"))?;
        let annotations = annotations::parse(spec.annotations().as_ref())?;
        let namespaces = Namespaces::plan(spec, mapper(settings, host))?;
        let own_user = *namespaces.place(Kind::User) != Place::Shared;
        let process = Process::plan(
            process,
            &process::Options {
                id: settings.id,
                new_keyring: settings.new_keyring,
                streams: settings.streams,
                passed: settings.passed,
                keeps_groups: annotations.keeps_groups,
                variable: settings.notify.as_ref().map(|_| NOTIFY_SOCKET),
                caller: &match own_user {
                    // Who enters a user namespace has every right in there.
                    true => settings.caller.all_powerful(),
                    false => settings.caller.clone(),
                },
                apparmor: settings.apparmor,
                filter: linux
                    .and_then(|linux| linux.seccomp().as_ref())
                    .map_or(Filter::None, Filter::Profile),
                role: Role::Init,
            },
        )?;
        refuse_unmapped(&process, &namespaces)?;
        let idmappings = Idmappings::plan(spec, &namespaces, mapper(settings, host))?;
        idmappings.refuse_without_rights(host.kernel.may_mount)?;
        let hooks = Hooks::plan(spec.hooks().as_ref())?;
        let mut cgroups = Cgroups::plan(settings.id, linux, settings.cgroups, host)?;
        if *namespaces.place(Kind::Cgroup) == Place::New && writes_cgroups(bundle) {
            let owner = namespaces.outside(process.uid());
            owner.into_iter().for_each(|owner| cgroups.hand_over(owner));
        }
        let entry = entry(&namespaces, settings);
        let layer = match annotations.ephemeral_root {
            true => Layer::Ephemeral,
            false => Layer::Direct,
        };
        let mut facts = facts(&namespaces, &cgroups, host);
        facts.notify = (settings.notify.clone()).map(|source| (source, NOTIFY_DIRECTORY));
        let turn = if hooks.before_pivot() || facts.user_namespace {
            Turn::Last
        } else {
            Turn::First
        };
        let rootfs = Rootfs::plan(spec, &bundle.directory, (entry, turn, layer), &facts)?;
        Ok(Plan {
            namespaces,
            idmappings,
            cgroups,
            rootfs,
            process,
            hooks,
        })
    }

    /// The sentence for a failure of init, without verb and container.
    pub(crate) fn explain(&self, failure: Failure) -> anyhow::Error {
        let Failure { step, item, cause } = failure;
        let words = match cause {
            Cause::Parameter(place, _) => self.rootfs.describe_parameter(step, item, place),
            _ => None,
        };
        let words = words.or_else(|| self.describe(step, item));
        let words = words.unwrap_or_else(|| ("init".into(), format!("{step:?}")));
        let hint = match cause {
            Cause::Errno(errno) | Cause::Parameter(_, errno) => self
                .process
                .hint(step, item, errno)
                .map(Cow::Borrowed)
                .or_else(|| self.rootfs.hint(step, item, errno))
                .or_else(|| self.namespaces.hint(step, errno).map(Cow::Borrowed)),
            Cause::Refused(_) | Cause::Exit(_) | Cause::Signal(_) | Cause::TimedOut(_) => None,
        };
        sentence(&words, step, cause, hint.as_deref())
    }

    fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        self.process
            .describe(step, item)
            .or_else(|| self.hooks.describe(step, item))
            .or_else(|| self.namespaces.describe(step, item))
            .or_else(|| self.rootfs.describe(step, item))
    }

    /// Every position at which init can yet fail when it is told to start, in
    /// words: whoever tells it has no plan.
    pub(crate) fn start_step_descriptions(&self) -> Vec<(Step, u16, (String, String))> {
        describe_all(Step::after_start(), |step, item| self.describe(step, item))
    }

    /// Every position of init, in words.
    pub(crate) fn step_descriptions(&self) -> Vec<(Step, u16, (String, String))> {
        let all = Step::ALL.iter().copied();
        describe_all(all, |step, item| self.describe(step, item))
    }
}

/// What `describe` says of every position in these steps.
fn describe_all(
    steps: impl Iterator<Item = Step>,
    describe: impl Fn(Step, u16) -> Option<(String, String)>,
) -> Vec<(Step, u16, (String, String))> {
    let mut all = Vec::new();
    for step in steps {
        let mut last = None;
        for item in 0..u16::MAX {
            let words = describe(step, item);
            // Without a list, a step has the same words for every item.
            if words.is_none() || words == last {
                break;
            }
            all.extend(words.clone().map(|words| (step, item, words)));
            last = words;
        }
    }
    all
}

/// One line out of a place and a deed, and why it failed.
pub(crate) fn sentence(
    words: &(String, String),
    step: Step,
    cause: Cause,
    hint: Option<&str>,
) -> anyhow::Error {
    let (place, what) = words;
    let why = why(step, cause);
    match (hint, why.strip_suffix(')')) {
        (Some(hint), Some(why)) => anyhow!("{place}: {what}: {why}; {hint})"),
        (Some(hint), None) => anyhow!("{place}: {what}: {why} ({hint})"),
        (None, _) => anyhow!("{place}: {what}: {why}"),
    }
}

fn why(step: Step, cause: Cause) -> String {
    match cause {
        // Engines take these words for "command not found", so only here. runc
        // says them of a working directory too.
        Cause::Errno(Errno::ENOENT)
            if matches!(
                step,
                Step::Executable | Step::Exec | Step::WorkingDirectory
            ) =>
        {
            "no such file or directory (ENOENT)".into()
        }
        Cause::Errno(Errno::ENOEXEC) => {
            "exec format error (ENOEXEC; a program of another machine, or a script without #!?)"
                .into()
        }
        Cause::Errno(errno) | Cause::Parameter(_, errno) => log::errno_text(errno),
        Cause::Exit(status) => format!("exit status {status}"),
        Cause::Signal(number) => match Signal::try_from(number) {
            Ok(signal) => format!("ended by {signal}"),
            Err(_) => format!("ended by signal {number}"),
        },
        // With the decimal that callers of runc know.
        Cause::TimedOut(seconds) => format!("hook ran past specified timeout of {seconds}.0s"),
        Cause::Refused(refusal) => match refusal {
            Refusal::NotOrdinaryDirectory => "must be mounted on ordinary directory",
            Refusal::InsideProc => "cannot be mounted because it is inside /proc",
            Refusal::OtherFile => "another file is there already",
            Refusal::OutsideRoot => "lies outside of the container's root",
            Refusal::NotInPath => "executable file not found in $PATH",
            // In the words of execve(2), by which Docker knows status 126.
            Refusal::IsDirectory => "is a directory: permission denied (EACCES)",
            Refusal::MachineRoot => {
                "is the machine's own root; set root.readonly, or the annotation rt.rootfs.overlay to \"ephemeral\""
            }
            Refusal::NoIds => "its uid_map or gid_map is empty",
            Refusal::OtherMaps => {
                "its ids are not those of linux.uidMappings and linux.gidMappings"
            }
            Refusal::NotProc => "\"/proc\" cannot be mounted because it is not of type proc",
            Refusal::Abandoned => "the runtime is gone",
            Refusal::ContainerEnded => "the container was ended meanwhile",
            Refusal::MachinesNull => {
                "is the machine's null device, and the container has none that can be opened"
            }
            Refusal::Replaced => "something else is there, put by somebody who shares the root",
        }
        .into(),
    }
}

/// Whether the container is to manage cgroups below its own, by the rule of
/// config-linux.md, "Cgroup ownership".
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

fn entry(namespaces: &Namespaces, settings: &Settings) -> Entry {
    match namespaces.place(Kind::Mount) {
        Place::New if settings.no_pivot => Entry::Move,
        Place::New => Entry::Pivot,
        Place::Shared | Place::Joined { .. } => Entry::Chroot,
    }
}

/// Who is to write the ids of a user namespace.
fn mapper(settings: &Settings, host: &Host) -> Mapper {
    let has = |one| settings.caller.grantable.contains(&one);
    Mapper {
        uid: host.caller.uid,
        gid: host.caller.gid,
        privileged: has(Capability::CAP_SETUID) && has(Capability::CAP_SETGID),
    }
}

/// Nobody can become who has no id outside of a new user namespace.
fn refuse_unmapped(process: &Process, namespaces: &Namespaces) -> Result<()> {
    let Some(maps) = namespaces.new_maps() else {
        return Ok(());
    };
    let uid = process.uid();
    ensure!(
        maps.has_uid(uid),
        "process.user.uid: {uid} is not mapped in linux.uidMappings"
    );
    for (place, gid) in process.gids() {
        ensure!(
            maps.has_gid(gid),
            "{place}: {gid} is not mapped in linux.gidMappings"
        );
        ensure!(
            !maps.refuses_groups() || place == "process.user.gid",
            "{place}: a user namespace made without privileges has no additional groups"
        );
    }
    Ok(())
}

/// What the file system must know of namespaces and cgroups.
fn facts(namespaces: &Namespaces, cgroups: &Cgroups, host: &Host) -> Facts {
    let paths = cgroups.paths();
    let place = |mount: &Path, own: &Path| {
        // Above the root of a cgroup namespace nothing is in sight.
        let inside = (own.components()).filter(|part| matches!(part, Component::Normal(_)));
        mount.join(inside.collect::<PathBuf>())
    };
    let unified = |mount: &Path, own: &Path| UnifiedFacts {
        directory: paths.get(UNIFIED).cloned(),
        callers: place(mount, own),
    };
    let (hierarchies, unified) = match &host.cgroups {
        CgroupLayout::V2 { mount, own } => (Vec::new(), Some(unified(mount, own))),
        CgroupLayout::V1 {
            hierarchies,
            unified: beside,
        } => {
            let hierarchies = hierarchies.iter().filter_map(|hierarchy| {
                Some(HierarchyFacts {
                    controllers: hierarchy.controllers.clone(),
                    name: hierarchy.mount.file_name()?.to_str()?.to_owned(),
                    directory: paths.get(hierarchy.controllers.first()?).cloned(),
                    callers: place(&hierarchy.mount, &hierarchy.own),
                })
            });
            let beside = beside.as_ref().map(|tree| unified(&tree.mount, &tree.own));
            (hierarchies.collect(), beside)
        }
    };
    Facts {
        mount_setattr: host.kernel.mount_setattr,
        user_namespace: *namespaces.place(Kind::User) != Place::Shared
            || !host.caller.initial_user_namespace,
        cgroup_namespace: *namespaces.place(Kind::Cgroup) == Place::New,
        certain_cgroups: cgroups.are_certain(),
        hierarchies,
        notify: None,
        unified,
    }
}

#[cfg(test)]
mod tests;
