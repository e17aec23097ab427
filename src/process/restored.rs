//! Compares a restored process with the plan: the images may have come from anywhere.

use anyhow::{Context, Result, ensure};
use caps::Capability;
use nix::unistd::Pid;

use super::Process;
use super::capabilities::bits;
use crate::trusted_proc::Proc;

impl Process {
    /// Whether a process of the container may have this capability.
    pub(crate) fn may_have(&self, capability: Capability) -> bool {
        self.capabilities.bounding.contains(&capability)
    }

    /// # Errors
    /// When the process `pid` has a higher limit than config.json sets, or is safer from the OOM killer, although it cannot have
    /// changed that itself.
    pub(crate) fn compare(&self, pid: Pid, proc: &Proc) -> Result<()> {
        if self.may_have(Capability::CAP_SYS_RESOURCE) {
            return Ok(());
        }
        self.limits.compare(pid)?;
        let Some(score) = &self.oom_score else {
            return Ok(());
        };
        let found = proc.read_record(&format!("{pid}/oom_score_adj"));
        let found = found.context("/proc")?;
        let number = |text: &str| text.trim().parse::<i32>().context("process.oomScoreAdj");
        ensure!(
            number(&found)? >= number(&score.text)?,
            "process.oomScoreAdj: a process of the images has {}",
            found.trim()
        );
        Ok(())
    }

    /// # Errors
    /// When a thread with this `status` (proc_pid_status(5)) has a capability that config.json does not grant, or
    /// lacks no_new_privs or a seccomp filter.
    pub(crate) fn compare_thread(&self, status: &str) -> Result<()> {
        let field = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(key, _)| *key == name);
            let (_, value) = found.with_context(|| format!("/proc: status: no {name}"))?;
            anyhow::Ok(value.trim())
        };
        let granted = bits(&self.capabilities.bounding);
        for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let value = field(name)?;
            let set = u64::from_str_radix(value, 16).context(name)?;
            ensure!(
                set & !granted == 0,
                "process.capabilities.bounding: a process of the images has more: {name} is {value}"
            );
        }
        ensure!(
            !self.no_new_privileges || field("NoNewPrivs")? == "1",
            "process.noNewPrivileges: a process of the images may gain privileges: \
             CRIU restores no_new_privs since version 3.19"
        );
        ensure!(
            self.seccomp.is_none() || field("Seccomp")? == "2",
            "linux.seccomp: a process of the images has no filter"
        );
        Ok(())
    }

    /// The same for the security label of the container's process, which others may have changed
    /// for themselves.
    ///
    /// # Errors
    /// When it is not the one of config.json.
    pub(crate) fn compare_label(&self, pid: Pid, proc: &Proc) -> Result<()> {
        let wanted = match (&self.app_armor, &self.selinux_label) {
            (Some(apparmor), _) => ("process.apparmorProfile", apparmor.profile.clone()),
            (None, Some(label)) => ("process.selinuxLabel", label.0.text()),
            (None, None) => return Ok(()),
        };
        let (place, wanted) = wanted;
        let current = proc.read(&format!("{pid}/attr/current")).context("/proc")?;
        let current = current.trim_end_matches(['\0', '\n']);
        // AppArmor: `profile (enforce)`.
        let is_it = current == wanted || current == format!("{wanted} (enforce)");
        ensure!(is_it, "{place}: the process of the images has {current:?}");
        Ok(())
    }
}
