//! Planned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::Linux;

use super::plan::amount::Amount;
use super::plan::cgroups_path::Place;
use super::plan::device_program::assemble;
use super::plan::devices::{Policy, Verdict};
use super::plan::limits::Limits;
use super::plan::setting::Setting;
use super::{v1, v2};
use crate::host::{CgroupLayout, Hierarchy, Host, UNIFIED};
use crate::sys::BpfInstruction;

/// Where a container's processes are accounted and limited: decided, nothing touched yet.
#[derive(Debug)]
pub(crate) struct Cgroups {
    pub(in crate::cgroups) tree: Tree,
    pub(in crate::cgroups) need: Need,
    /// The configuration names a place, which is not to be passed over.
    pub(in crate::cgroups) named: bool,
    /// Fields that are set, and that no kernel of today has anything for.
    pub(in crate::cgroups) ignored: Vec<&'static str>,
}

/// What the command line says about a container's cgroups (`--rootless`,
/// `--cgroup-manager`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CgroupMode {
    /// The rights of the caller decide whether it can do without.
    #[default]
    ByPrivileges,
    /// It has cgroups of its own, whoever the caller is.
    Required,
    /// It has those that the caller may make, and does without the others.
    IfAllowed,
    /// It has none and stays in the caller's.
    Disabled,
}

/// Whether a container can do without cgroups of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Need {
    /// The caller rules the machine: it always has them.
    Strict,
    /// The caller is a user, who may make them only where somebody has handed
    /// over a part of the tree. Without a limit to keep, the caller's own do.
    WhereAllowed,
}

#[derive(Debug)]
pub(in crate::cgroups) enum Tree {
    /// None is wanted.
    None,
    /// One cgroup in each tree of version 1, and in that of version 2 beside them.
    V1(Vec<Branch>),
    /// The one of version 2.
    V2(Unified),
}

/// A container's cgroup in one tree among several.
#[derive(Debug)]
pub(in crate::cgroups) struct Branch {
    pub(in crate::cgroups) controllers: Vec<String>,
    /// Where the tree is mounted.
    pub(in crate::cgroups) mount: PathBuf,
    /// The cgroup, relative to `mount`.
    pub(in crate::cgroups) path: PathBuf,
    pub(in crate::cgroups) settings: Vec<Setting>,
    pub(in crate::cgroups) entry: Entry,
}

/// A container's cgroup of version 2.
#[derive(Debug)]
pub(in crate::cgroups) struct Unified {
    pub(in crate::cgroups) mount: PathBuf,
    /// The cgroup, relative to `mount`.
    pub(in crate::cgroups) path: PathBuf,
    pub(in crate::cgroups) settings: Vec<Setting>,
    /// The user, as the machine numbers it, who may make cgroups below.
    pub(in crate::cgroups) owner: Option<u32>,
    /// Judges the use of devices; `None` when all is allowed.
    pub(in crate::cgroups) program: Option<Vec<BpfInstruction>>,
    pub(in crate::cgroups) entry: Entry,
}

/// How the first process comes into a cgroup of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Entry {
    /// It is born there.
    Birth,
    /// It is moved, for a cgroup that may have no tasks lets none be born, but
    /// takes those that come.
    Move,
}

impl Cgroups {
    /// Decides from the configuration and the facts about the machine alone.
    /// `id` gives the path when the configuration has none.
    ///
    /// # Errors
    /// A value that is none, or a limit that this machine has no controller
    /// for, with its place: `linux.resources.memory.limit: ...`.
    pub(crate) fn plan(
        id: &str,
        linux: Option<&Linux>,
        wish: CgroupMode,
        host: &Host,
    ) -> Result<Cgroups> {
        let rules = host.caller.is_host_root();
        let need = match (wish, rules) {
            (CgroupMode::Required, _) | (CgroupMode::ByPrivileges, true) => Need::Strict,
            (CgroupMode::IfAllowed | CgroupMode::Disabled, _)
            | (CgroupMode::ByPrivileges, false) => Need::WhereAllowed,
        };
        let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
        let place = Place::plan(id, path, rules)?;
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let limits = Limits::plan(resources)?;
        limits.check_swap()?;
        // Nobody but root of the machine makes devices, or keeps rules for them.
        let policy = Some(Policy::plan(resources)?).filter(|_| rules);
        let tree = match &host.cgroups {
            layout if wish == CgroupMode::Disabled => {
                refuse_limits(&limits, layout)?;
                Tree::None
            }
            CgroupLayout::V1 {
                hierarchies,
                unified,
            } => {
                let mut all = branches(hierarchies, &place, &limits, policy.as_ref())?;
                all.extend(unified.as_ref().map(|tree| beside(tree, &place, need)));
                Tree::V1(all)
            }
            CgroupLayout::V2 { mount, own } => Tree::V2(Unified {
                mount: mount.clone(),
                // A cgroup with processes has no children with controllers, and
                // the caller is in its own: a sibling it is.
                path: place.below(own.parent().unwrap_or(own)),
                settings: v2::settings::settings(&limits)?,
                owner: None,
                program: policy.as_ref().and_then(assemble),
                entry: match limits.pids {
                    Some(Amount::Of(0)) => Entry::Move,
                    // Whether a user may be in there shows when one is moved.
                    _ if need == Need::WhereAllowed => Entry::Move,
                    Some(_) | None => Entry::Birth,
                },
            }),
        };
        Ok(Cgroups {
            tree,
            need,
            named: path.is_some_and(|path| !path.as_os_str().is_empty()),
            ignored: limits.ignored,
        })
    }

    /// Hands the container's cgroup to the user `owner` of the machine
    /// (config-linux.md, "Cgroup ownership"). Never one of version 1, where that
    /// is not safe.
    pub(crate) fn hand_over(&mut self, owner: u32) {
        if let Tree::V2(unified) = &mut self.tree {
            unified.owner = Some(owner);
        }
    }

    /// Whether it will have the cgroups that it is to have, or none at all.
    pub(crate) fn are_certain(&self) -> bool {
        self.need == Need::Strict
    }

    /// Controller to absolute directory, as state.json has it: `""` for version
    /// 2, else one key for each controller, `name=systemd` included.
    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        match &self.tree {
            Tree::None => BTreeMap::new(),
            Tree::V2(unified) => [(UNIFIED.to_owned(), unified.mount.join(&unified.path))].into(),
            Tree::V1(branches) => branches
                .iter()
                .flat_map(|branch| {
                    let path = branch.mount.join(&branch.path);
                    branch
                        .controllers
                        .iter()
                        .map(move |name| (name.clone(), path.clone()))
                })
                .collect(),
        }
    }
}

impl Cgroups {
    /// The directories that [`Cgroups::wire`] will have to make, as things are
    /// now, deepest first: what a runtime that is killed meanwhile leaves.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        let leaf = |mount: &PathBuf, path: &PathBuf| (mount.clone(), mount.join(path));
        let leaves: Vec<(PathBuf, PathBuf)> = match &self.tree {
            Tree::None => Vec::new(),
            Tree::V2(unified) => vec![leaf(&unified.mount, &unified.path)],
            Tree::V1(all) => all.iter().map(|one| leaf(&one.mount, &one.path)).collect(),
        };
        let mut missing = Vec::new();
        for (mount, leaf) in leaves {
            let above = leaf.ancestors().take_while(|path| *path != mount);
            let absent = above.take_while(|path| path.symlink_metadata().is_err());
            missing.extend(absent.map(Path::to_owned));
        }
        missing
    }
}

/// Without a cgroup nobody would keep a limit.
fn refuse_limits(limits: &Limits, layout: &CgroupLayout) -> Result<()> {
    let settings = match layout {
        CgroupLayout::V1 { .. } => v1::settings::settings(limits)?,
        CgroupLayout::V2 { .. } => v2::settings::settings(limits)?,
    };
    let unlimited = |setting: &Setting| matches!(setting.value.as_ref(), "max" | "-1");
    match settings.iter().find(|setting| !unlimited(setting)) {
        Some(Setting { place, .. }) => {
            bail!("{place}: no cgroup is to keep it (--cgroup-manager disabled)")
        }
        None => Ok(()),
    }
}

/// The cgroups of version 1, each with the settings of its controllers.
fn branches(
    hierarchies: &[Hierarchy],
    place: &Place,
    limits: &Limits,
    policy: Option<&Policy>,
) -> Result<Vec<Branch>> {
    let has = |branch: &Hierarchy, name: &str| branch.controllers.iter().any(|own| own == name);
    let mut settings = v1::settings::settings(limits)?;
    if let Some(policy) = policy {
        let free = policy.default == Verdict::Allow && policy.rules.is_empty();
        let devices = |hierarchy| has(hierarchy, "devices");
        if !free || hierarchies.iter().any(devices) {
            settings.extend(policy.lines()?);
        }
    }
    for Setting {
        place, controller, ..
    } in &settings
    {
        ensure!(
            hierarchies
                .iter()
                .any(|hierarchy| has(hierarchy, controller)),
            "{place}: this machine has no {controller} controller (cgroup v1: /proc/self/cgroup)"
        );
    }
    let branch = |hierarchy: &Hierarchy| Branch {
        controllers: hierarchy.controllers.clone(),
        mount: hierarchy.mount.clone(),
        path: place.below(&hierarchy.own),
        settings: settings
            .iter()
            .filter(|setting| has(hierarchy, setting.controller))
            .cloned()
            .collect(),
        entry: Entry::Move,
    };
    Ok(hierarchies.iter().map(branch).collect())
}

/// The cgroup of version 2 beside those of version 1.
fn beside(tree: &Hierarchy, place: &Place, need: Need) -> Branch {
    Branch {
        controllers: tree.controllers.clone(),
        mount: tree.mount.clone(),
        path: place.below(&tree.own),
        settings: Vec::new(),
        entry: match need {
            Need::Strict => Entry::Birth,
            Need::WhereAllowed => Entry::Move,
        },
    }
}

impl Branch {
    /// Version 2 beside version 1.
    pub(in crate::cgroups) fn is_unified(&self) -> bool {
        self.controllers.iter().any(|name| name == UNIFIED)
    }
}
