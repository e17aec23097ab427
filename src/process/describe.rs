//! Describes the steps of a process: the place in config.json, and the action.

use super::{Process, capabilities, init, stdio};
use crate::step::Step;

impl Process {
    /// Describes a position in this plan: the place in config.json, and the action. `None`
    /// when the step belongs to another module.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let item = usize::from(item);
        if step == Step::Limit {
            return self.limits.describe(item);
        }
        let (place, action) = self.place_and_action(step, item)?;
        Some((place.to_owned(), action))
    }

    fn place_and_action(&self, step: Step, item: usize) -> Option<(&'static str, String)> {
        let (uid, gid) = (self.credentials.uid, self.credentials.gid);
        Some(match step {
            Step::PassedDescriptors if self.passed.count() > 0 => {
                ("--preserve-fds", "pass descriptors".to_owned())
            }
            Step::TerminalSize => ("process.consoleSize", "set".to_owned()),
            Step::ConsoleSocket => ("process.terminal", "send to the console socket".to_owned()),
            Step::ControllingTerminal => (
                "process.terminal",
                "make it the controlling terminal".to_owned(),
            ),
            Step::Signals => ("process", "reset signals".to_owned()),
            Step::Session => ("process", "start a session".to_owned()),
            Step::OomScore => ("process.oomScoreAdj", self.oom_score.as_ref()?.describe()),
            Step::IoPriority => ("process.ioPriority", self.io_priority.as_ref()?.describe()),
            Step::MemoryPolicy => (
                "linux.memoryPolicy",
                self.memory_policy.as_ref()?.describe(),
            ),
            Step::Personality => ("linux.personality", self.personality?.describe()),
            Step::Affinity => match &self.affinity {
                Some(affinity) => ("process.execCPUAffinity.final", format!("{affinity:?}")),
                None => ("process", "reset CPU affinity".to_owned()),
            },
            Step::WorkingDirectory => ("process.cwd", self.working_directory.describe()),
            Step::StandardIo => (
                "process.user.uid",
                format!("{} for user {uid}", stdio::NAMES.get(item)?),
            ),
            Step::BoundingSet => (
                "process.capabilities.bounding",
                "drop capabilities that are not listed".to_owned(),
            ),
            Step::Groups => ("process.user.additionalGids", "set groups".to_owned()),
            Step::Gid => ("process.user.gid", format!("become group {gid}")),
            Step::Uid => ("process.user.uid", format!("become user {uid}")),
            Step::Capabilities => {
                let (place, action) = capabilities::ITEMS.get(item)?;
                (place, (*action).to_owned())
            }
            Step::NoNewPrivileges => ("process.noNewPrivileges", "set".to_owned()),
            Step::Home => ("process.env", format!("find HOME of user {uid}")),
            Step::Executable => ("process.args[0]", self.command.describe()),
            Step::InitProgram => ("annotations: rt.init", format!("execute rt as user {uid}")),
            Step::InitProcess => match item {
                init::EXECUTE => ("annotations: rt.init", "execute rt".to_owned()),
                _ => ("annotations: rt.init", "clone the process".to_owned()),
            },
            Step::Descriptors => ("process", "close other descriptors".to_owned()),
            Step::Seccomp => ("linux.seccomp", "install the filter".to_owned()),
            Step::Exec => ("process.args[0]", self.command.describe()),
            _ => return self.labels(step),
        })
    }

    fn labels(&self, step: Step) -> Option<(&'static str, String)> {
        Some(match step {
            Step::Keyring => {
                let keyring = self.keyring.as_ref()?.describe();
                match &self.selinux_label {
                    Some(label) => ("process.selinuxLabel", label.describe_keyring(&keyring)),
                    None => ("process", keyring),
                }
            }
            Step::SelinuxLabel => (
                "process.selinuxLabel",
                self.selinux_label.as_ref()?.describe(),
            ),
            Step::AppArmor => (
                "process.apparmorProfile",
                self.app_armor.as_ref()?.describe(),
            ),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::plan::tests::plan;

    #[test]
    fn a_position_has_a_description() {
        let process = plan(
            r#"{"user": {"uid": 7, "gid": 8}, "cwd": "/data", "args": ["sh"], "oomScoreAdj": -5,
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}"#,
        )
        .unwrap();
        let description = |step, item| {
            let (place, what) = process.describe(step, item).unwrap();
            format!("{place}: {what}")
        };
        assert_eq!(
            description(Step::Keyring, 0),
            "process: join session keyring _ses.web"
        );
        assert_eq!(
            description(Step::OomScore, 0),
            "process.oomScoreAdj: set -5"
        );
        assert_eq!(
            description(Step::WorkingDirectory, 0),
            "process.cwd: enter \"/data\""
        );
        assert_eq!(
            description(Step::StandardIo, 2),
            "process.user.uid: standard error for user 7"
        );
        assert_eq!(
            description(Step::Capabilities, 1),
            "process.capabilities.ambient: set"
        );
        assert_eq!(
            description(Step::Capabilities, 2),
            "linux.seccomp: keep CAP_SYS_ADMIN until the filter is installed"
        );
        assert_eq!(
            description(Step::Seccomp, 0),
            "linux.seccomp: install the filter"
        );
        assert_eq!(
            description(Step::Executable, 0),
            r#"process.args[0]: exec: "sh""#
        );
        assert_eq!(description(Step::Exec, 0), r#"process.args[0]: exec: "sh""#);
        assert_eq!(
            description(Step::Limit, 0),
            "process.rlimits[0]: RLIMIT_CORE"
        );
        assert_eq!(process.describe(Step::Limit, 1), None);
        assert_eq!(process.describe(Step::Mount, 0), None);
        assert_eq!(process.describe(Step::StandardIo, 3), None);
    }
}
