//! `linux.memoryPolicy`: the memory nodes of all processes of the container (set_mempolicy(2)).

use anyhow::ensure;
use nix::libc;
use oci_spec::runtime::{
    LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode,
};
use serde::{Deserialize, Serialize};

use super::numbers::Numbers;
use crate::step::{Progress, Step};
use crate::sys::{self, NodeMask};

/// `MPOL_PREFERRED_MANY` (Linux 5.15) and `MPOL_WEIGHTED_INTERLEAVE` (Linux 6.9) of
/// linux/mempolicy.h.
const PREFERRED_MANY: libc::c_int = 5;
const WEIGHTED_INTERLEAVE: libc::c_int = 6;

/// What `linux.memoryPolicy` may contain (features-linux.md, "Memory policy").
#[derive(Serialize)]
pub(crate) struct MemoryPolicyFeatures {
    modes: [Mode; 7],
    flags: [Flag; 3],
}

pub(crate) fn features() -> MemoryPolicyFeatures {
    MemoryPolicyFeatures {
        modes: [
            Mode::MpolDefault,
            Mode::MpolBind,
            Mode::MpolInterleave,
            Mode::MpolWeightedInterleave,
            Mode::MpolPreferred,
            Mode::MpolPreferredMany,
            Mode::MpolLocal,
        ],
        flags: [
            Flag::MpolFNumaBalancing,
            Flag::MpolFRelativeNodes,
            Flag::MpolFStaticNodes,
        ],
    }
}

/// `linux.memoryPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemoryPolicy {
    mode: Mode,
    flags: Vec<Flag>,
    /// The numbers of the nodes, in ascending order.
    nodes: Vec<usize>,
}

impl MemoryPolicy {
    pub(crate) fn plan(listed: &LinuxMemoryPolicy) -> anyhow::Result<MemoryPolicy> {
        let (mode, flags) = (listed.mode(), listed.flags().clone().unwrap_or_default());
        let nodes = match listed.nodes().as_deref() {
            None | Some("") => Vec::new(),
            Some(list) => nodes(list)?,
        };
        match mode {
            Mode::MpolDefault | Mode::MpolLocal => ensure!(
                nodes.is_empty(),
                "linux.memoryPolicy.nodes: {mode} has no nodes; remove them"
            ),
            Mode::MpolBind
            | Mode::MpolInterleave
            | Mode::MpolWeightedInterleave
            | Mode::MpolPreferredMany => ensure!(
                !nodes.is_empty(),
                "linux.memoryPolicy.nodes: {mode} needs at least one node, such as \"0\""
            ),
            // Without a node it means the node of the CPU.
            Mode::MpolPreferred => {}
        }
        let both = [Flag::MpolFStaticNodes, Flag::MpolFRelativeNodes];
        ensure!(
            !both.iter().all(|flag| flags.contains(flag)),
            "linux.memoryPolicy.flags: {} and {} exclude each other",
            both[0],
            both[1]
        );
        Ok(MemoryPolicy { mode, flags, nodes })
    }

    pub(super) fn describe(&self) -> String {
        format!("set {}", self.decision())
    }

    /// For `rt check --plan`: `MPOL_BIND, nodes 0 1, MPOL_F_STATIC_NODES`.
    pub(super) fn decision(&self) -> String {
        let numbers: Vec<String> = self.nodes.iter().map(usize::to_string).collect();
        let nodes = (!numbers.is_empty()).then(|| format!(", nodes {}", numbers.join(" ")));
        let flags = self.flags.iter().map(|flag| format!(", {flag}"));
        let rest: String = nodes.into_iter().chain(flags).collect();
        format!("{}{rest}", self.mode)
    }

    /// Comes after the process has entered its cgroup, because the nodes are those of its cpuset.
    ///
    /// # Errors
    /// `EINVAL` when none of the nodes is in the cpuset, or the kernel does not have the mode or
    /// the combination with a flag; `ENOSYS` when the kernel has no NUMA support.
    pub(super) fn apply(&self, at: &Progress) -> nix::Result<()> {
        at.enter(Step::MemoryPolicy);
        let mut mask: NodeMask = [0; size_of::<NodeMask>()];
        for node in &self.nodes {
            mask[node / 8] |= 1 << (node % 8);
        }
        sys::set_mempolicy(self.mode(), &mask)
    }

    fn mode(&self) -> libc::c_int {
        let mode = match self.mode {
            Mode::MpolDefault => libc::MPOL_DEFAULT,
            Mode::MpolBind => libc::MPOL_BIND,
            Mode::MpolInterleave => libc::MPOL_INTERLEAVE,
            Mode::MpolWeightedInterleave => WEIGHTED_INTERLEAVE,
            Mode::MpolPreferred => libc::MPOL_PREFERRED,
            Mode::MpolPreferredMany => PREFERRED_MANY,
            Mode::MpolLocal => libc::MPOL_LOCAL,
        };
        self.flags.iter().fold(mode, |mode, flag| {
            mode | match flag {
                Flag::MpolFNumaBalancing => libc::MPOL_F_NUMA_BALANCING,
                Flag::MpolFRelativeNodes => libc::MPOL_F_RELATIVE_NODES,
                Flag::MpolFStaticNodes => libc::MPOL_F_STATIC_NODES,
            }
        })
    }
}

fn nodes(list: &str) -> anyhow::Result<Vec<usize>> {
    let nodes = Numbers::<{ size_of::<NodeMask>() }>::parse(list, "memory nodes");
    let nodes = nodes.map_err(|error| error.context("linux.memoryPolicy.nodes"))?;
    Ok(nodes.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(json: Value) -> anyhow::Result<MemoryPolicy> {
        MemoryPolicy::plan(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_mode_has_the_kernels_form() {
        let json =
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]});
        let policy = plan(json).unwrap();
        assert_eq!(policy.mode(), 3 | 1 << 15);
        assert_eq!(
            policy.describe(),
            "set MPOL_INTERLEAVE, nodes 2 3, MPOL_F_STATIC_NODES"
        );
        let numbers = [
            ("DEFAULT", "", 0),
            ("PREFERRED", "", 1),
            ("BIND", "0", 2),
            ("LOCAL", "", 4),
            ("PREFERRED_MANY", "0", 5),
            ("WEIGHTED_INTERLEAVE", "0", 6),
        ];
        for (mode, nodes, number) in numbers {
            let json = json!({"mode": format!("MPOL_{mode}"), "nodes": nodes});
            assert_eq!(plan(json).unwrap().mode(), number);
        }
    }

    #[test]
    fn nodes_and_flags_fit_the_mode() {
        let both = ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"];
        for (json, expected) in [
            (
                json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
                "nodes: MPOL_LOCAL has no nodes",
            ),
            (
                json!({"mode": "MPOL_BIND"}),
                "nodes: MPOL_BIND needs at least one node",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "1024"}),
                "nodes: \"1024\" is not a list of memory nodes below 1024",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": both}),
                "flags: MPOL_F_STATIC_NODES and",
            ),
        ] {
            let error = format!("{:#}", plan(json).unwrap_err());
            let expected = format!("linux.memoryPolicy.{expected}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
