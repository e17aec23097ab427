//! Jobs that are ended: by a signal, by the user, by their time limit, by the loss of their node.

use super::configuration::Form;
use super::{Cluster, Test, write_script};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("exit_status", exit_status),
    ("killed_by_the_runtime", killed_by_the_runtime),
    ("cancel", cancel),
    (
        "cancel_of_one_that_ignores_it",
        cancel_of_one_that_ignores_it,
    ),
    ("cancel_of_three_nodes", cancel_of_three_nodes),
    ("signal", signal),
    ("time_limit", time_limit),
    ("node_lost", node_lost),
];

fn exit_status(cluster: &Cluster) {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("sh -c \"kill -TERM \\$\\$\"; exit $?", 143),
    ] {
        let output = cluster.root(&format!("srun -N1 --container=$BUNDLE sh -c '{script}'"));
        assert_eq!(output.status, status, "{output}");
    }
}

/// Signal 9 ends the process: the runtime exits with 137, and so does the step.
fn killed_by_the_runtime(cluster: &Cluster) {
    let job = sleeping(cluster, "killed", "echo up; exec sleep 1000");
    let id = cluster.wait_for_container(&job);
    wait_for_output(cluster, "killed");
    let runtime = cluster.runtime.path().display().to_string();
    cluster.host.sh(&format!(
        "{runtime} --root=/run/containers/root kill {id} KILL"
    ));
    cluster.wait_for_state(&job, "FAILED");
    assert_eq!(cluster.job(&job, "ExitCode"), "137:0");
    cluster.assert_nothing_left(&job);
}

/// SIGTERM reaches the process, which ends by itself.
fn cancel(cluster: &Cluster) {
    let job = sleeping(
        cluster,
        "cancel",
        "trap \"echo ending; exit 0\" TERM; echo up; sleep 1000 & wait",
    );
    wait_for_output(cluster, "cancel");
    cluster.root(&format!("scancel --full {job}")).ok();
    cluster.wait_for_state(&job, "CANCELLED");
    cluster.assert_nothing_left(&job);
    assert!(
        cluster.out("cancel").contains("ending\n"),
        "{}",
        cluster.out("cancel")
    );
}

/// The kernel drops SIGTERM for PID 1, so that SIGKILL follows.
fn cancel_of_one_that_ignores_it(cluster: &Cluster) {
    let job = sleeping(cluster, "ignores", "echo up; sleep 1000; true");
    wait_for_output(cluster, "ignores");
    cluster.root(&format!("scancel --full {job}")).ok();
    cluster.wait_for_state(&job, "CANCELLED");
    cluster.assert_nothing_left(&job);
}

fn cancel_of_three_nodes(cluster: &Cluster) {
    let script = "srun -N3 --job-name=three --container=$BUNDLE sh -c 'echo up $SLURM_JOB_ID; sleep 1000; true' >$OUT/three & 
         until [ $(wc -l <$OUT/three) = 3 ]; do sleep 0.1; done; scancel --name=three; wait";
    cluster.root(script).ok();
    let text = cluster.out("three");
    let job = text.lines().next().unwrap().split(' ').nth(1).unwrap();
    cluster.assert_nothing_left(job);
}

fn signal(cluster: &Cluster) {
    let script = "trap \"echo usr1; exit 4\" USR1; echo up; while :; do sleep 0.1; done";
    let job = sleeping(cluster, "signal", script);
    wait_for_output(cluster, "signal");
    cluster
        .root(&format!("scancel --signal=USR1 --full {job}"))
        .ok();
    cluster.wait_for_state(&job, "FAILED");
    let text = cluster.out("signal");
    assert!(text.starts_with("up\nusr1\n"), "{text}");
    assert_eq!(cluster.job(&job, "ExitCode"), "4:0");
    cluster.assert_nothing_left(&job);
}

/// The smallest limit is a minute.
fn time_limit(cluster: &Cluster) {
    let job = cluster
        .root("sbatch --parsable -t 1 -N1 -o $OUT/limit --wrap 'srun --container='$BUNDLE' sleep 1000'")
        .ok();
    cluster.wait_for_container(&job);
    cluster.wait_for_state(&job, "TIMEOUT");
    cluster.assert_nothing_left(&job);
}

/// The daemon of the node is killed. Slurm starts the job again on the other node, and when the daemon is back, it
/// ends what has stayed.
fn node_lost(cluster: &Cluster) {
    let script = cluster.path("lost.sh");
    write_script(
        &script,
        "echo up on $SLURM_JOB_NODELIST >&2; sleep 1000; true",
    );
    let [lost, other] = [4, 5].map(|number| cluster.node(number));
    cluster
        .root(&format!(
            "scontrol update NodeName={other} State=DRAIN Reason=test"
        ))
        .ok();
    let job = cluster.root(&format!(
        "sbatch --parsable -p lost --requeue --open-mode=append --container=$BUNDLE -o $OUT/lost {}",
        script.display()
    ));
    let job = job.ok();
    let first = format!("up on {lost}\n");
    wait_until("it runs on the first node", 60, || {
        cluster.out_so_far("lost") == first
    });
    cluster
        .root(&format!("scontrol update NodeName={other} State=RESUME"))
        .ok();
    cluster.host.sh(&format!(
        "kill -KILL $(cat {})",
        cluster.path(&format!("{lost}.pid")).display()
    ));
    wait_until("it runs on the other node", 110, || {
        cluster
            .out_so_far("lost")
            .contains(&format!("up on {other}\n"))
    });
    cluster.start_node(Form::Lost, 4);
    wait_until("the first node has no container", 60, || {
        cluster
            .containers(&job)
            .iter()
            .all(|id| id.starts_with(&other))
    });
    cluster.root(&format!("scancel {job}")).ok();
    cluster.assert_nothing_left(&job);
}

/// Submits a batch job whose script is in a container, and returns its id.
fn sleeping(cluster: &Cluster, name: &str, script: &str) -> String {
    let file = cluster.path(&format!("{name}.sh"));
    write_script(&file, script);
    let line = format!(
        "sbatch --parsable --container=$BUNDLE -o $OUT/{name} {}",
        file.display()
    );
    cluster.root(&line).ok()
}

#[track_caller]
fn wait_for_output(cluster: &Cluster, name: &str) {
    wait_until("the job has started", 60, || {
        cluster.out_so_far(name).contains("up\n")
    });
}
