//! Steps with cgroups of Slurm: its limits hold for the container, and it can end the container without the runtime.

use super::{Cluster, Test};

pub(super) const TESTS: &[Test] = &[
    ("cgroup_of_the_step", cgroup_of_the_step),
    ("cgroup_memory", cgroup_memory),
    ("cgroup_cancel", cgroup_cancel),
];

fn cgroup_of_the_step(cluster: &Cluster) {
    let script = "srun -p cgroup --container=$BUNDLE grep -o slurm_.*/step_0 /proc/self/cgroup";
    let output = cluster.root(script).ok();
    let node = format!("slurm_{}/", cluster.node(7));
    assert!(output.starts_with(&node), "{output}");
}

fn cgroup_memory(cluster: &Cluster) {
    let script = "srun -p cgroup --mem=60M --container=$BUNDLE sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1'";
    let output = cluster.root(script);
    assert!(
        output.status != 0 && output.stderr.contains("Out Of Memory"),
        "{output}"
    );
}

fn cgroup_cancel(cluster: &Cluster) {
    let script = "srun -p cgroup --job-name=cgroup --container=$BUNDLE sh -c 'echo up $SLURM_JOB_ID; sleep 1000; true' >$OUT/cgroup &
         until grep -q up $OUT/cgroup; do sleep 0.1; done; scancel --name=cgroup; wait";
    cluster.root(script).ok();
    let text = cluster.out("cgroup");
    let job = text.lines().next().unwrap().split(' ').nth(1).unwrap();
    cluster.assert_nothing_left(job);
}
