//! Tables of the kernel's older interface, which iptables-legacy(8) reads and changes.

use std::path::PathBuf;

use anyhow::Result;

use super::{DOCKER_USER, comment};
use crate::network::nat::program;
use crate::trusted_proc::Proc;

/// The table `filter` of one family, as iptables-legacy(8) lists it.
pub(in crate::network::nat) struct Tables {
    program: PathBuf,
    listed: String,
}

/// The file that names the tables of the family, and the program for them.
const FAMILIES: [(&str, &str); 2] = [
    ("net/ip_tables_names", "iptables-legacy"),
    ("net/ip6_tables_names", "ip6tables-legacy"),
];

/// The tables that there are. A kernel without this interface, or one that nobody has used, has
/// none.
///
/// # Errors
/// When the program fails.
pub(super) fn read(proc: &Proc) -> Result<Vec<Tables>> {
    let mut tables = Vec::new();
    for (names, program) in FAMILIES {
        let names = proc.read(names).unwrap_or_default();
        if !names.lines().any(|name| name == "filter") {
            continue;
        }
        if let Some(program) = program::find(program) {
            let listed = program::iptables(&program, &["-S"])?;
            tables.push(Tables { program, listed });
        }
    }
    Ok(tables)
}

impl Tables {
    /// Adds the rules for the bridge that are not there.
    ///
    /// # Errors
    /// When the program fails.
    pub(in crate::network::nat) fn accept(&self, bridge: &str) -> Result<()> {
        let lines: Vec<&str> = self.listed.lines().collect();
        let chain = if lines.contains(&"-N DOCKER-USER") {
            DOCKER_USER
        } else if lines.contains(&"-P FORWARD DROP") {
            "FORWARD"
        } else {
            return Ok(());
        };
        let start = format!("-A {chain} ");
        let rules: Vec<&&str> = lines
            .iter()
            .filter(|line| line.starts_with(&start))
            .collect();
        let returns = rules.last().is_some_and(|rule| rule.ends_with("-j RETURN"));
        let missing = specifications(bridge).into_iter();
        let missing = missing.filter(|rule| !self.has(chain, rule));
        for (before, rule) in missing.enumerate() {
            let number = (rules.len() + before).to_string();
            let place = if returns {
                vec!["-I", chain, &number]
            } else {
                vec!["-A", chain]
            };
            self.change(&place, &rule)?;
        }
        Ok(())
    }

    /// Deletes the rules of [`Tables::accept`].
    ///
    /// # Errors
    /// When the program fails.
    pub(in crate::network::nat) fn forget(&self, bridge: &str) -> Result<()> {
        for chain in [DOCKER_USER, "FORWARD"] {
            for rule in specifications(bridge) {
                if self.has(chain, &rule) {
                    self.change(&["-D", chain], &rule)?;
                }
            }
        }
        Ok(())
    }

    /// iptables(8) puts a comment with a dot in quotes.
    fn has(&self, chain: &str, rule: &str) -> bool {
        let wanted = format!("-A {chain} {rule}");
        let mut lines = self.listed.lines();
        lines.any(|line| line.replace('"', "") == wanted)
    }

    fn change(&self, place: &[&str], rule: &str) -> Result<()> {
        let arguments: Vec<&str> = (place.iter().copied()).chain(rule.split(' ')).collect();
        program::iptables(&self.program, &arguments).map(drop)
    }
}

fn specifications(bridge: &str) -> [String; 2] {
    let comment = comment(bridge);
    ["-i", "-o"].map(|side| format!("{side} {bridge} -m comment --comment {comment} -j ACCEPT"))
}
