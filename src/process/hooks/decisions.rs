//! The decisions about hooks, as text.

use super::{Hook, HookKind, Hooks};
use crate::decisions::{Decisions, list, word};

impl Hooks {
    /// Adds the hooks, in the order in which they are called.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        let used = |moment: &HookKind| !self.of(*moment).is_empty();
        if !HookKind::all().iter().any(used) {
            to.line("none");
        }
        for moment in HookKind::all().into_iter().filter(used) {
            to.group(format!("{moment}: {}", when(moment)), |to| {
                let hooks = self.of(moment).iter();
                hooks.for_each(|hook| to.line(hook.decision(moment)));
            });
        }
    }

    fn of(&self, moment: HookKind) -> &[Hook] {
        match moment {
            HookKind::Prestart => &self.prestart,
            HookKind::CreateRuntime => &self.create_runtime,
            HookKind::CreateContainer => &self.create_container,
            HookKind::StartContainer => &self.start_container,
            HookKind::Poststart => &self.later.poststart,
            HookKind::Poststop => &self.later.poststop,
        }
    }
}

fn when(moment: HookKind) -> &'static str {
    match moment {
        HookKind::Prestart | HookKind::CreateRuntime => {
            "called by rt on the host, once everything is mounted"
        }
        HookKind::CreateContainer => "called by init then, before it enters the root",
        HookKind::StartContainer => "called by init in the container, right before execve(2)",
        HookKind::Poststart => "called by rt on the host, right after execve(2)",
        HookKind::Poststop => "called by rt on the host, after the container is deleted",
    }
}

impl Hook {
    fn decision(&self, moment: HookKind) -> String {
        let args: Vec<String> = self.args.iter().map(word).collect();
        let env = match (&self.env, moment) {
            (Some(env), _) => list(env.iter().map(word)),
            (None, HookKind::StartContainer) => "that of the process".to_owned(),
            (None, _) => "none".to_owned(),
        };
        let timeout = match self.timeout {
            Some(seconds) => format!("{seconds} s"),
            None => "none".to_owned(),
        };
        let (path, args) = (word(&self.path), args.join(" "));
        format!("{path}; args {args}; env {env}; timeout {timeout}")
    }
}
