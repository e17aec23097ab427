//! Jobs of an ordinary user, whose containers have a user namespace.

use super::{Cluster, Test, sorted, write_script};
use crate::command::wait_until;

pub(super) const TESTS: &[Test] = &[
    ("rootless", rootless),
    ("rootless_batch", rootless_batch),
    ("rootless_cancel", rootless_cancel),
];

fn rootless(cluster: &Cluster) {
    let script = "srun -N3 --container=$BUNDLE sh -c 'echo $SLURM_JOB_ID $(id -u) $(awk \"{print \\$2}\" /proc/self/uid_map); exit 4'";
    let output = cluster.user(script);
    assert_eq!(output.status, 4, "{output}");
    let lines = sorted(&output.stdout);
    let job = lines[0].split(' ').next().unwrap();
    let expected = format!("{job} 0 {}", cluster.user.uid);
    assert_eq!(lines, [expected.as_str(); 3], "{output}");
    cluster.assert_nothing_left(job);
}

fn rootless_batch(cluster: &Cluster) {
    let script = cluster.path("rootless.sh");
    write_script(
        &script,
        "echo $(id -u) $OF; touch /etc/mine 2>/dev/null || echo refused",
    );
    let line = format!(
        "sbatch --wait --parsable --container=$BUNDLE -o $OUT/user {}",
        script.display()
    );
    let job = cluster.user(&line).ok();
    let text = cluster.out("user");
    assert!(text.starts_with("0 bundle\nrefused\n"), "{text}");
    cluster.assert_nothing_left(&job);
}

/// Slurm 22.05 cleans up as root. The containers are the user's.
fn rootless_cancel(cluster: &Cluster) {
    let script = cluster.path("endless.sh");
    write_script(&script, "echo up; sleep 1000; true");
    let line = format!(
        "sbatch --parsable --container=$BUNDLE -o $OUT/endless {}",
        script.display()
    );
    let job = cluster.user(&line).ok();
    wait_until("the job has started", 60, || {
        cluster.out_so_far("endless").contains("up\n")
    });
    cluster.user(&format!("scancel --full {job}")).ok();
    cluster.wait_for_state(&job, "CANCELLED");
    cluster.assert_nothing_left(&job);
}
