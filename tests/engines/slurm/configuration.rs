//! slurm.conf and oci.conf of the nodes.

use super::Cluster;
use crate::environment::Runtime;

/// The host's only address. Slurm resolves no name on a host that has no other address than those of the loopback.
pub(super) const ADDRESS: &str = "10.79.0.1";

/// How the runtime is called, and the nodes of the partition of that name. oci.conf lies beside the slurm.conf that a
/// node has read, so each form has a directory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `RunTimeRun`, on three nodes.
    Run,
    /// The same, on two nodes, one of which is lost during a test.
    Lost,
    /// `RunTimeCreate` and `RunTimeStart`, on one node.
    Create,
    /// The same on a node whose steps have cgroups. `rt` leaves the container in that of its step.
    Cgroup,
}

impl Form {
    pub(super) const ALL: [Form; 4] = [Form::Run, Form::Lost, Form::Create, Form::Cgroup];

    pub(super) fn partition(self) -> &'static str {
        match self {
            Form::Run => "run",
            Form::Lost => "lost",
            Form::Create => "create",
            Form::Cgroup => "cgroup",
        }
    }

    pub(super) fn nodes(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Form::Run => 1..=3,
            Form::Lost => 4..=5,
            Form::Create => 6..=6,
            Form::Cgroup => 7..=7,
        }
    }
}

impl Cluster {
    /// The nodes differ in how they keep track of processes only.
    pub(super) fn slurm_conf(&self, form: Form) -> String {
        let (proctrack, task) = match form {
            Form::Cgroup => ("cgroup", "cgroup"),
            Form::Run | Form::Lost | Form::Create => ("pgid", "none"),
        };
        let directory = self.directory.path().display();
        let mut text = format!(
            "ClusterName=test\nSlurmctldHost=slurm({ADDRESS})\n\
             AuthType=auth/munge\nAuthInfo=socket=/run/munge/socket,cred_expire=5\n\
             SlurmUser=root\nProlog={directory}/prolog.sh\nStateSaveLocation={directory}/state\nSlurmdSpoolDir={directory}/spool-%n\n\
             SlurmctldPidFile={directory}/slurmctld.pid\nSlurmdPidFile={directory}/%n.pid\n\
             SlurmctldLogFile={directory}/slurmctld.log\nSlurmdLogFile={directory}/%n.log\nSlurmdDebug=debug\n\
             ProctrackType=proctrack/{proctrack}\nTaskPlugin=task/{task}\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core_Memory\nDefMemPerCPU=100\n\
             SchedulerParameters=batch_sched_delay=1,sched_interval=1\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             ReturnToService=2\nSlurmdTimeout=8\nKillWait=3\nDebugFlags=NO_CONF_HASH\nSlurmdParameters=config_overrides\n"
        );
        for form in Form::ALL {
            let nodes: Vec<String> = form.nodes().map(|number| self.node(number)).collect();
            for (number, node) in form.nodes().zip(&nodes) {
                text += &format!(
                    "NodeName={node} NodeHostname=slurm NodeAddr={ADDRESS} Port={} CPUs=8 RealMemory=4000\n",
                    17000 + number
                );
            }
            let is_default = if form == Form::Run { "YES" } else { "NO" };
            text += &format!(
                "PartitionName={} Nodes={} Default={is_default} State=UP\n",
                form.partition(),
                nodes.join(",")
            );
        }
        text
    }

    /// As in docs/slurm.md, with other paths.
    pub(super) fn oci_conf(&self, form: Form) -> String {
        const AS_USER: &str = "setpriv --reuid=%u --regid=$(id -g %u) --keep-groups";
        const STREAMS: &str = "</proc/$PPID/fd/0 >>/proc/$PPID/fd/1 2>>/proc/$PPID/fd/2";
        let mut runtime = format!(
            "{} --root=/run/containers/%u",
            self.runtime.path().display()
        );
        if form == Form::Cgroup && self.runtime == Runtime::Rt {
            runtime += " --cgroup-manager=disabled";
        }
        let id = "%n.%u.%j.%s.%t";
        let mut text = format!(
            "RunTimeQuery=\"{AS_USER} {runtime} state {id}\"\n\
             RunTimeKill=\"{AS_USER} {runtime} kill -a {id}\"\n\
             RunTimeDelete=\"{AS_USER} {runtime} delete --force {id}\"\n"
        );
        text += &match form {
            Form::Run | Form::Lost => format!("RunTimeRun=\"exec {runtime} run -b %b {id}\"\n"),
            Form::Create | Form::Cgroup => format!(
                "RunTimeCreate=\"{runtime} create -b %b {id} {STREAMS}\"\n\
                 RunTimeStart=\"{runtime} start {id}\"\n"
            ),
        };
        text
    }
}
