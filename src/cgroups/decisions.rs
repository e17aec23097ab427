//! The decisions about cgroups, limits and device rules, as text.

use std::path::Path;

use super::cgroupfs::refusal::Dependents;
use super::plan::devices::{Policy, Verdict};
use super::plan::setting::{OnRefusal, Setting};
use super::planned::{Cgroups, Entry, HierarchyCgroup, Layout, Requirement, UnifiedCgroup};
use crate::decisions::{Decisions, list, word};

impl Cgroups {
    /// Adds the cgroups, with what is written to them in turn.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        to.line(match &self.layout {
            Layout::None => "none: the container stays in the caller's cgroups",
            Layout::V1(_) => "version 1",
            Layout::V2(_) => "version 2",
        });
        for field in &self.ignored {
            to.line(format!("{field}: no effect"));
        }
        if let Some(scope) = &self.scope {
            to.line(scope.decision());
        }
        match &self.layout {
            Layout::None => {}
            Layout::V1(cgroups) => cgroups
                .iter()
                .for_each(|cgroup| cgroup.decisions(self.requirement, to)),
            Layout::V2(cgroup) => cgroup.decisions(self.requirement, to),
        }
        if self.requirement == Requirement::IfAllowed && self.path_is_configured {
            to.line("refuse the container if it gets no cgroup at all: linux.cgroupsPath is set");
        }
    }
}

impl HierarchyCgroup {
    fn decisions(&self, of_container: Requirement, to: &mut Decisions) {
        let requirement = self.requirement(of_container);
        let path = self.mount.join(&self.path);
        to.group(heading(&path, requirement, self.dependents()), |to| {
            settings(&self.settings, to);
            to.line(entry(self.entry));
        });
    }
}

impl UnifiedCgroup {
    fn decisions(&self, requirement: Requirement, to: &mut Decisions) {
        let path = self.mount.join(&self.path);
        to.group(heading(&path, requirement, self.dependents()), |to| {
            settings(&self.settings, to);
            match &self.devices {
                Some(policy) => policy.decisions(to),
                None => to.line("devices: no rules"),
            }
            if let Some(owner) = self.owner {
                to.line(format!("delegate to uid {owner} of the host"));
            }
            to.line(entry(self.entry));
        });
    }
}

fn heading(path: &Path, requirement: Requirement, dependents: Dependents) -> String {
    let path = word(path.display());
    match (requirement, dependents.limit) {
        (Requirement::IfAllowed, None) => format!("{path}, or none if the kernel refuses"),
        (Requirement::Required, _) | (Requirement::IfAllowed, Some(_)) => path,
    }
}

fn entry(entry: Entry) -> &'static str {
    match entry {
        Entry::CloneInto => "init is created here (CLONE_INTO_CGROUP)",
        Entry::Move => "init is moved here",
    }
}

/// A line for each file, with all the values that are written to it in turn.
fn settings(settings: &[Setting], to: &mut Decisions) {
    for of_file in settings.chunk_by(|one, next| one.file == next.file) {
        let [first, ..] = of_file else { continue };
        let values = list(of_file.iter().map(|setting| &setting.value));
        let on_refusal = match first.on_refusal {
            OnRefusal::Fail => "",
            OnRefusal::IgnoreMissingFile => "; skipped if this kernel has no such file",
            OnRefusal::RetryAfterNext => "; if invalid at present, again after the next file",
        };
        to.line(format!("{} = {values}{on_refusal}", first.file));
    }
}

impl Policy {
    /// The rules in order, of which the last about a device and a kind of access decides.
    fn decisions(&self, to: &mut Decisions) {
        let verb = |verdict| match verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        };
        to.line(format!("devices: {} all", verb(self.default)));
        for alike in self.rules.chunk_by(|one, next| one.verdict == next.verdict) {
            let [first, ..] = alike else { continue };
            let rules = alike.iter().map(|rule| rule.devices.line(rule.access));
            to.line(format!("devices: {} {}", verb(first.verdict), list(rules)));
        }
    }
}
