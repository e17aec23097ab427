//! The cgroups that a container will have on this host, before any of them is created.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Error, Result, bail, ensure};
use oci_spec::runtime::Linux;

use super::plan::cgroups_path::CgroupsPath;
use super::plan::devices::Policy;
use super::plan::limits::Limits;
use super::plan::setting::Setting;
use super::systemd::manager::Systemd;
use super::systemd::record::UnitRecord;
use super::systemd::scope::Scope;
use super::{v1, v2};
use crate::host::{CgroupLayout, Hierarchy, Host, UNIFIED};
use crate::log;

/// The cgroups planned for a container. Nothing is created yet.
#[derive(Debug)]
pub(crate) struct Cgroups {
    pub(in crate::cgroups) layout: Layout,
    /// The unit that systemd makes, with the systemd driver.
    pub(in crate::cgroups) scope: Option<Scope>,
    pub(in crate::cgroups) requirement: Requirement,
    /// The configuration sets `linux.cgroupsPath`, so having no cgroup at all is an error.
    pub(in crate::cgroups) path_is_configured: bool,
    /// Fields that are set and have no effect on any current kernel.
    pub(in crate::cgroups) ignored: Vec<&'static str>,
}

/// What the command line says about a container's cgroups (`--rootless`, `--cgroup-manager`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CgroupMode {
    /// `Required` for root of the host, `IfAllowed` for any other caller.
    #[default]
    ByPrivileges,
    /// The container has cgroups of its own, or is not created.
    Required,
    /// The container has the cgroups that the caller may create, and goes without the others.
    IfAllowed,
    /// The container has no cgroup of its own and stays in the caller's.
    Disabled,
}

/// Whether a container can do without cgroups of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Requirement {
    /// A refusal of the kernel is an error.
    Required,
    /// A user may create cgroups only below a cgroup that was delegated. When the kernel
    /// refuses and no limit depends on the cgroup, the container stays in the caller's.
    IfAllowed,
}

/// The container's cgroups by the host's version of cgroups.
#[derive(Debug)]
pub(in crate::cgroups) enum Layout {
    /// No cgroups are asked for.
    None,
    /// One cgroup in each v1 hierarchy, and one in the v2 hierarchy that may be mounted
    /// beside them ("hybrid").
    V1(Vec<HierarchyCgroup>),
    V2(UnifiedCgroup),
}

/// The container's cgroup in one of several hierarchies.
#[derive(Debug)]
pub(in crate::cgroups) struct HierarchyCgroup {
    pub(in crate::cgroups) controllers: Vec<String>,
    /// The mount point of the hierarchy.
    pub(in crate::cgroups) mount: PathBuf,
    /// The cgroup, relative to `mount`.
    pub(in crate::cgroups) path: PathBuf,
    pub(in crate::cgroups) settings: Vec<Setting>,
    pub(in crate::cgroups) entry: Entry,
}

/// The container's cgroup on a host with v2 alone.
#[derive(Debug)]
pub(in crate::cgroups) struct UnifiedCgroup {
    /// The mount point of the hierarchy.
    pub(in crate::cgroups) mount: PathBuf,
    /// The cgroup, relative to `mount`.
    pub(in crate::cgroups) path: PathBuf,
    pub(in crate::cgroups) settings: Vec<Setting>,
    /// The host uid to which the cgroup is delegated.
    pub(in crate::cgroups) owner: Option<u32>,
    /// The device rules; `None` when all devices are allowed.
    pub(in crate::cgroups) devices: Option<Policy>,
    pub(in crate::cgroups) entry: Entry,
}

/// How the first process gets into a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Entry {
    /// It is created there (clone3(2), `CLONE_INTO_CGROUP`; v2 only).
    CloneInto,
    /// It is moved there. In a cgroup with `pids.max` 0 no process can be created, but one
    /// can still be moved in.
    Move,
}

impl Cgroups {
    /// Plans the cgroups from the configuration and what is known of the host. `id` is the
    /// path when the configuration sets none.
    ///
    /// # Errors
    /// When a value is invalid, or the host has no controller for a limit. The error names the
    /// field: `linux.resources.memory.limit: ...`.
    pub(crate) fn plan(
        id: &str,
        linux: Option<&Linux>,
        mode: CgroupMode,
        host: &Host,
    ) -> Result<Cgroups> {
        let configured = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let path = CgroupsPath::plan(id, configured, host.caller.is_host_root())?;
        let systemds = configured.and_then(CgroupsPath::systemd_warning);
        if let Some(warning) = systemds.filter(|_| mode != CgroupMode::Disabled) {
            log::defer_warning(warning);
        }
        Cgroups::plan_at(&path, linux, mode, host, None)
    }

    /// The same with the systemd driver. `annotations` may set properties of the unit.
    ///
    /// # Errors
    /// As [`Cgroups::plan`], and when systemd cannot be used and the container cannot do without
    /// it: it has limits, or `linux.cgroupsPath` is set.
    pub(crate) fn plan_systemd<'a>(
        id: &str,
        (linux, annotations): (
            Option<&Linux>,
            impl Iterator<Item = (&'a String, &'a String)>,
        ),
        mode: CgroupMode,
        host: &Host,
        systemd: &Systemd,
    ) -> Result<Cgroups> {
        let is_v2 = matches!(host.cgroups, CgroupLayout::V2 { .. });
        let configured = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let facts = match &systemd.found {
            Ok(facts) => facts,
            Err(reason) => return without_systemd(id, linux, mode, host, reason),
        };
        let scope = Scope::plan(
            id,
            configured,
            annotations,
            (&systemd.manager, facts),
            is_v2,
        )?;
        let path = CgroupsPath::Absolute(scope.cgroup.clone());
        Cgroups::plan_at(&path, linux, mode, host, Some(scope))
    }

    fn plan_at(
        path: &CgroupsPath,
        linux: Option<&Linux>,
        mode: CgroupMode,
        host: &Host,
        mut scope: Option<Scope>,
    ) -> Result<Cgroups> {
        let is_root = host.caller.is_host_root();
        let requirement = mode.requirement(is_root);
        let configured = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let limits = Limits::plan(resources)?;
        limits.check_swap()?;
        // Only root of the host can make device nodes and set device rules.
        let policy = Some(Policy::plan(resources)?).filter(|_| is_root);
        let settings = settings(&limits, &host.cgroups)?;
        if let Some(scope) = &mut scope {
            let is_v2 = matches!(host.cgroups, CgroupLayout::V2 { .. });
            scope.limit(&settings, policy.as_ref(), is_v2);
        }
        let layout = match &host.cgroups {
            _ if mode == CgroupMode::Disabled => {
                refuse_limits(&settings)?;
                Layout::None
            }
            CgroupLayout::V1 {
                hierarchies,
                unified,
            } => {
                let mut all = v1_cgroups(hierarchies, path, settings, policy.as_ref())?;
                let unified = unified.as_ref();
                all.extend(unified.map(|unified| hybrid_cgroup(unified, path, requirement)));
                Layout::V1(all)
            }
            CgroupLayout::V2 { mount, own } => Layout::V2(UnifiedCgroup {
                mount: mount.clone(),
                // The caller is a process of `own`, and a cgroup with processes cannot enable
                // controllers for its children (cgroup-v2.rst, "No Internal Process
                // Constraint"). So a relative path starts at the parent.
                path: path.below(own.parent().unwrap_or(own)),
                owner: None,
                devices: policy.filter(|policy| !policy.allows_all()),
                entry: match most_tasks(&settings) {
                    Some(0) => Entry::Move,
                    // The placeholder is the one task that may be in the scope.
                    Some(1) if scope.is_some() => Entry::Move,
                    // The kernel may refuse to let a user's process in. When it refuses a
                    // move, the container can still go without the cgroup.
                    _ if requirement == Requirement::IfAllowed => Entry::Move,
                    _ => Entry::CloneInto,
                },
                settings,
            }),
        };
        Ok(Cgroups {
            layout,
            scope,
            requirement,
            path_is_configured: configured.is_some_and(|path| !path.as_os_str().is_empty()),
            ignored: limits.ignored,
        })
    }

    /// Delegates the container's cgroup to the host uid `owner` (config-linux.md, "Cgroup
    /// ownership"). Cgroups of v1 are never delegated: that is not safe there.
    pub(crate) fn delegate_to(&mut self, owner: u32) {
        if let Layout::V2(unified) = &mut self.layout {
            unified.owner = Some(owner);
        }
    }

    /// Whether the container is not created without these cgroups.
    pub(crate) fn are_required(&self) -> bool {
        self.requirement == Requirement::Required
    }

    /// The unit that systemd will make. It is recorded before it exists.
    pub(crate) fn unit(&self) -> Option<&UnitRecord> {
        self.scope.as_ref().map(Scope::record)
    }

    /// Controller to absolute directory, as state.json has it: `""` is v2. In v1 each
    /// controller has a key, and so has the named hierarchy `name=systemd`.
    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        match &self.layout {
            Layout::None => BTreeMap::new(),
            Layout::V2(unified) => [(UNIFIED.to_owned(), unified.mount.join(&unified.path))].into(),
            Layout::V1(cgroups) => cgroups
                .iter()
                .flat_map(|cgroup| {
                    let path = cgroup.mount.join(&cgroup.path);
                    let controllers = cgroup.controllers.iter();
                    controllers.map(move |name| (name.clone(), path.clone()))
                })
                .collect(),
        }
    }

    /// The directories that do not exist now and that [`Cgroups::wire`] will make, deepest
    /// first. They are recorded beforehand, so that they can be removed after a runtime that
    /// was killed half way.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        let cgroup = |mount: &PathBuf, path: &PathBuf| (mount.clone(), mount.join(path));
        let cgroups: Vec<(PathBuf, PathBuf)> = match &self.layout {
            Layout::None => Vec::new(),
            Layout::V2(unified) => vec![cgroup(&unified.mount, &unified.path)],
            Layout::V1(all) => all.iter().map(|v1| cgroup(&v1.mount, &v1.path)).collect(),
        };
        let mut missing = Vec::new();
        for (mount, cgroup) in cgroups {
            let below_mount = cgroup.ancestors().take_while(|path| *path != mount);
            // The slices above a scope of v2 are systemd's.
            let is_systemds = self.scope.is_some() && matches!(self.layout, Layout::V2(_));
            let below_mount = below_mount.take(if is_systemds { 1 } else { usize::MAX });
            let absent = below_mount.take_while(|path| path.symlink_metadata().is_err());
            missing.extend(absent.map(Path::to_owned));
        }
        missing
    }
}

/// The number of tasks that a cgroup with these settings can have. `None` without a limit.
fn most_tasks(settings: &[Setting]) -> Option<u64> {
    let mut settings = settings.iter().rev();
    let last = settings.find(|setting| setting.file == "pids.max");
    last.and_then(|setting| setting.value.trim().parse().ok())
}

impl CgroupMode {
    fn requirement(self, is_root: bool) -> Requirement {
        match (self, is_root) {
            (CgroupMode::Required, _) | (CgroupMode::ByPrivileges, true) => Requirement::Required,
            (CgroupMode::IfAllowed | CgroupMode::Disabled, _)
            | (CgroupMode::ByPrivileges, false) => Requirement::IfAllowed,
        }
    }
}

/// The plan where systemd cannot be used for the `reason`: a container that needs no cgroup stays
/// in the caller's.
fn without_systemd(
    id: &str,
    linux: Option<&Linux>,
    mode: CgroupMode,
    host: &Host,
    reason: &Error,
) -> Result<Cgroups> {
    let is_required = mode.requirement(host.caller.is_host_root()) == Requirement::Required;
    let configured = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let is_configured = configured.is_some_and(|path| !path.as_os_str().is_empty());
    let reason = log::format_error(reason);
    ensure!(
        !is_required && !is_configured,
        "linux.cgroupsPath: {reason}"
    );
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let settings = settings(&Limits::plan(resources)?, &host.cgroups)?;
    if let Some(limit) = first_limit(&settings) {
        bail!("{}: {reason}", limit.place());
    }
    Cgroups::plan(id, linux, CgroupMode::Disabled, host)
}

/// The limits as settings of the host's version.
fn settings(limits: &Limits, layout: &CgroupLayout) -> Result<Vec<Setting>> {
    match layout {
        CgroupLayout::V1 { .. } => v1::settings::settings(limits),
        CgroupLayout::V2 { .. } => v2::settings::settings(limits),
    }
}

/// Refuses limits when the container will have no cgroup to enforce them.
fn refuse_limits(settings: &[Setting]) -> Result<()> {
    match first_limit(settings) {
        Some(limit) => bail!(
            "{}: the container has no cgroup (--cgroup-manager disabled)",
            limit.place()
        ),
        None => Ok(()),
    }
}

/// The first setting that needs a cgroup.
fn first_limit(settings: &[Setting]) -> Option<&Setting> {
    let is_unlimited = |setting: &Setting| matches!(setting.value.as_ref(), "max" | "-1");
    settings.iter().find(|setting| !is_unlimited(setting))
}

/// The cgroups in the v1 hierarchies, each with the settings of its controllers.
fn v1_cgroups(
    hierarchies: &[Hierarchy],
    path: &CgroupsPath,
    mut settings: Vec<Setting>,
    policy: Option<&Policy>,
) -> Result<Vec<HierarchyCgroup>> {
    let has = |hierarchy: &Hierarchy, name: &str| hierarchy.controllers.iter().any(|c| c == name);
    if let Some(policy) = policy {
        let has_devices = |hierarchy| has(hierarchy, "devices");
        // Rules that allow everything need no devices controller.
        if !policy.allows_all() || hierarchies.iter().any(has_devices) {
            settings.extend(policy.v1_settings()?);
        }
    }
    for setting in &settings {
        let controller = setting.controller.as_ref();
        ensure!(
            hierarchies
                .iter()
                .any(|hierarchy| has(hierarchy, controller)),
            "{}: this host has no {controller} controller (cgroup v1: /proc/self/cgroup)",
            setting.place()
        );
    }
    let cgroup = |hierarchy: &Hierarchy| HierarchyCgroup {
        controllers: hierarchy.controllers.clone(),
        mount: hierarchy.mount.clone(),
        path: path.below(&hierarchy.own),
        settings: settings
            .iter()
            .filter(|setting| has(hierarchy, &setting.controller))
            .cloned()
            .collect(),
        entry: Entry::Move,
    };
    Ok(hierarchies.iter().map(cgroup).collect())
}

/// The cgroup in the v2 hierarchy that is mounted beside v1 hierarchies.
fn hybrid_cgroup(
    unified: &Hierarchy,
    path: &CgroupsPath,
    requirement: Requirement,
) -> HierarchyCgroup {
    HierarchyCgroup {
        controllers: unified.controllers.clone(),
        mount: unified.mount.clone(),
        path: path.below(&unified.own),
        settings: Vec::new(),
        entry: match requirement {
            Requirement::Required => Entry::CloneInto,
            Requirement::IfAllowed => Entry::Move,
        },
    }
}

impl HierarchyCgroup {
    /// Whether this is the v2 hierarchy beside those of v1.
    pub(in crate::cgroups) fn is_unified(&self) -> bool {
        self.controllers.iter().any(|name| name == UNIFIED)
    }

    /// Whether this is the hierarchy without controllers that systemd uses in v1.
    pub(in crate::cgroups) fn is_named(&self) -> bool {
        self.controllers.iter().any(|name| name == "name=systemd")
    }
}
