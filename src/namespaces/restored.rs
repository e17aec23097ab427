//! Compares the namespaces of a restored process with the plan.

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use super::{Kind, Namespaces, Place};
use crate::trusted_proc::Proc;

impl Namespaces {
    /// # Errors
    /// When the process `pid` shares a namespace with the host that config.json does not share, or
    /// has other ids than config.json maps.
    pub(crate) fn compare(&self, pid: Pid, proc: &Proc) -> Result<()> {
        for kind in Kind::all() {
            let of = |pid: &str| proc.link_text(&format!("{pid}/ns/{}", kind.file()));
            let shares = of("self").context("/proc")? == of(&pid.to_string()).context("/proc")?;
            match self.place(kind) {
                // CRIU always makes a new time namespace.
                Place::Shared => ensure!(
                    shares || kind == Kind::Time,
                    "linux.namespaces: the images have a {kind} namespace, and config.json has none"
                ),
                Place::New => ensure!(
                    !shares,
                    "linux.namespaces: the images have no {kind} namespace of their own"
                ),
                Place::Joined { .. } => {}
            }
        }
        let Some(maps) = self.new_maps() else {
            return Ok(());
        };
        for (name, map) in [("uid", &maps.uids), ("gid", &maps.gids)] {
            let text = proc.read(&format!("{pid}/{name}_map")).context("/proc")?;
            let numbers = |text: &str| -> Vec<Vec<u64>> {
                let lines = text.lines().map(|line| {
                    let numbers = line.split_whitespace();
                    numbers.filter_map(|number| number.parse().ok()).collect()
                });
                lines.collect()
            };
            ensure!(
                numbers(&text) == numbers(&map.lines()),
                "linux.{name}Mappings: the images have others"
            );
        }
        Ok(())
    }
}
