//! Compares the restored processes with the bundle, before they run: the images may have come from
//! anywhere, and CRIU does what they say.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use caps::Capability;
use nix::unistd::Pid;

use crate::container::state::ProcessStat;
use crate::plan::Plan;
use crate::rootfs::Staged;
use crate::trusted_proc::Proc;

/// `init` is the container's process, and `criu` is in the container's cgroups.
///
/// # Errors
/// When a process has, sees or may do more than the bundle allows.
pub(super) fn compare(
    (init, criu): (Pid, Pid),
    (plan, staged): (&Plan, &Staged),
    proc: &Proc,
) -> Result<()> {
    plan.namespaces.compare_init(init, proc)?;
    plan.process.compare_label(init, proc)?;
    let may_mount = plan.process.may_have(Capability::CAP_SYS_ADMIN);
    plan.rootfs.compare(init, (staged, may_mount), proc)?;
    let cgroups = cgroups_of(&criu.to_string(), proc)?;
    let mut seen = BTreeSet::from([mount_namespace(&init.to_string(), proc)?]);
    // Not the processes of the cgroups: the images say in which a process is.
    for pid in proc.tree(init).context("/proc")? {
        let stat = ProcessStat::read(proc, pid.as_raw())?;
        if stat.is_none_or(|stat| stat.has_ended()) {
            continue;
        }
        plan.process.compare(pid, proc)?;
        for tid in proc.threads(pid).context("/proc")? {
            let thread = format!("{pid}/task/{tid}");
            let status = proc.read_record(&format!("{thread}/status"));
            let status = status.context("/proc")?;
            if status.contains("\nState:\tZ") {
                continue;
            }
            plan.process.compare_thread(&status)?;
            plan.namespaces.compare(&thread, proc)?;
            ensure!(
                are_below(&cgroups_of(&thread, proc)?, &cgroups),
                "linux.cgroupsPath: a process of the images is in another cgroup"
            );
            if seen.insert(mount_namespace(&thread, proc)?) {
                ensure!(
                    may_mount,
                    "process.capabilities.bounding: a process of the images has a mount namespace of its own"
                );
                plan.rootfs.compare_other(&thread, init, proc)?;
            }
        }
    }
    Ok(())
}

fn mount_namespace(process: &str, proc: &Proc) -> Result<OsString> {
    proc.link_text(&format!("{process}/ns/mnt"))
        .context("/proc")
}

/// The lines of proc_pid_cgroup(5): a hierarchy, and the path of the cgroup.
fn cgroups_of(process: &str, proc: &Proc) -> Result<Vec<(String, String)>> {
    let text = proc.read_record(&format!("{process}/cgroup"));
    let text = text.context("/proc")?;
    let lines = text.lines().map(|line| {
        let (hierarchy, path) = line.rsplit_once(":/").context("/proc: cgroup")?;
        Ok((hierarchy.to_owned(), format!("/{path}")))
    });
    lines.collect()
}

fn are_below(cgroups: &[(String, String)], above: &[(String, String)]) -> bool {
    cgroups.iter().all(|(hierarchy, path)| {
        let above = above.iter().find(|(other, _)| other == hierarchy);
        above.is_some_and(|(_, above)| Path::new(path).starts_with(above))
    })
}
