//! The decisions about the process, as text.

use nix::sys::signal::Signal;

use super::capabilities::{Capabilities, names_of};
use super::command::{Command, File, HomeSource};
use super::credentials::{Credentials, Groups};
use super::rlimits::Limit;
use super::{Passed, Process, StdioOwnership};
use crate::decisions::{Decisions, list, word};

impl Process {
    /// Adds the attributes of the process, in the order in which they are set.
    pub(crate) fn decisions(&self, to: &mut Decisions) {
        self.surroundings(to);
        self.stdio(to);
        self.credentials.decisions(to);
        self.capabilities.decisions(to);
        if let Some(capability) = self.temporary_capability() {
            to.line(format!("{capability}: kept to install the seccomp filter"));
        }
        if let Some(label) = &self.selinux_label {
            let label = word(label.0.text());
            to.line(format!("SELinux label {label} from execve(2) on"));
        }
        if let Some(apparmor) = &self.app_armor {
            let profile = word(&apparmor.profile);
            to.line(format!("AppArmor profile {profile} from execve(2) on"));
        }
        to.line(if self.no_new_privileges {
            "no_new_privs: set"
        } else {
            "no_new_privs: not set"
        });
        if self.is_absent {
            to.line("no process: the container cannot be started");
        } else {
            self.command.decisions(to);
        }
        for limit in &self.limits.0 {
            to.line(limit.decision());
        }
        self.passed.decisions(to);
        if self.init.is_some() {
            to.line("PID 1: rt-init, with these attributes but only the standard streams; the process is its child");
        }
        match &self.seccomp {
            Some(filter) => filter.decisions(to),
            None => to.line("seccomp filter: none"),
        }
    }

    /// What the process inherits from the caller or not.
    fn surroundings(&self, to: &mut Decisions) {
        let ignored = self.ignored_signals.iter().map(|signal| {
            Signal::try_from(*signal).map_or(signal.to_string(), |signal| signal.to_string())
        });
        if !self.ignored_signals.is_empty() {
            to.line(format!("signals not ignored any more: {}", list(ignored)));
        }
        to.line(match &self.oom_score {
            Some(score) => format!("oom_score_adj: {}", score.text),
            None => "oom_score_adj: the caller's".to_owned(),
        });
        to.line(match &self.io_priority {
            Some(priority) => format!("I/O priority: {}", priority.name()),
            None => "I/O priority: the caller's".to_owned(),
        });
        to.line(match &self.scheduler {
            Some(scheduler) => format!("scheduling policy: {}", scheduler.decision()),
            None => "scheduling policy: the caller's".to_owned(),
        });
        to.line(match &self.memory_policy {
            Some(policy) => format!("memory policy: {}", policy.decision()),
            None => "memory policy: the caller's".to_owned(),
        });
        to.line(match self.personality {
            Some(personality) => format!("personality: {}", personality.name()),
            None => "personality: the caller's".to_owned(),
        });
        to.line(match &self.keyring {
            Some(keyring) => format!("session keyring: {}", word(keyring.name.to_string_lossy())),
            None => "session keyring: the caller's".to_owned(),
        });
    }

    fn stdio(&self, to: &mut Decisions) {
        to.line(match &self.terminal {
            Some(terminal) => match &terminal.size {
                Some(size) => format!("terminal: {} rows, {} columns", size.rows, size.columns),
                None => "terminal: default size".to_owned(),
            },
            None => "terminal: none".to_owned(),
        });
        to.line(match self.streams {
            StdioOwnership::Transferred => "owner of the standard streams: the user",
            StdioOwnership::Kept => {
                "owner of the standard streams: the user, of pipes and sockets only"
            }
        });
        let path = word(self.working_directory.path.to_string_lossy());
        to.line(format!("working directory {path}"));
    }
}

impl Credentials {
    fn decisions(&self, to: &mut Decisions) {
        let groups = match &self.groups {
            Groups::Listed(groups) => list(groups),
            Groups::Inherited => "the caller's".to_owned(),
        };
        let (uid, gid, umask) = (self.uid, self.gid, self.umask.bits());
        to.line(format!("user {uid}:{gid}, groups: {groups}"));
        to.line(format!("umask {umask:04o}"));
    }
}

impl Capabilities {
    /// Sets that are equal share a line.
    fn decisions(&self, to: &mut Decisions) {
        let mut sets = vec![
            ("bounding", &self.bounding),
            ("permitted", &self.permitted),
            ("effective", &self.effective),
            ("inheritable", &self.inheritable),
            ("ambient", &self.ambient),
        ];
        while let Some((_, set)) = sets.first().copied() {
            let equal: Vec<&str> = sets
                .extract_if(.., |(_, other)| *other == set)
                .map(|(name, _)| name)
                .collect();
            let (names, capabilities) = (list(equal), list(names_of(set)));
            to.line(format!("capabilities {names}: {capabilities}"));
        }
    }
}

impl Command {
    fn decisions(&self, to: &mut Decisions) {
        let args: Vec<String> = self
            .args
            .iter()
            .map(|one| word(one.to_string_lossy()))
            .collect();
        for variable in &self.env {
            to.line(format!("env {}", word(variable.to_string_lossy())));
        }
        if self.home == HomeSource::Passwd {
            to.line("env HOME=, from /etc/passwd of the container");
        }
        to.line(match &self.file {
            File::Path(path) => format!("executable {}", word(path.to_string_lossy())),
            File::Search(paths) => {
                let paths = list(paths.iter().map(|path| word(path.to_string_lossy())));
                format!("executable: the first of {paths}")
            }
        });
        to.line(format!("args {}", args.join(" ")));
    }
}

impl Limit {
    fn decision(&self) -> String {
        let text = |limit| match limit {
            u64::MAX => "unlimited".to_owned(),
            number => number.to_string(),
        };
        format!(
            "{}: soft {}, hard {}",
            self.name,
            text(self.soft),
            text(self.hard)
        )
    }
}

impl Passed {
    fn decisions(self, to: &mut Decisions) {
        let numbers = list((0..3).chain(self.numbers()));
        let sockets = match self.activated {
            0 => String::new(),
            count => format!("; {count} from 3 on by socket activation"),
        };
        to.line(format!("open descriptors: {numbers}{sockets}"));
    }
}
