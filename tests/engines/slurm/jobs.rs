//! Jobs and steps that end by themselves.

use super::{Cluster, Test, sorted, write_script};

pub(super) const TESTS: &[Test] = &[
    ("three_nodes", three_nodes),
    ("environment_and_directory", environment_and_directory),
    ("standard_streams", standard_streams),
    ("terminal", terminal),
    ("batch", batch),
    ("array_of_200_tasks", array_of_200_tasks),
    ("steps_of_one_job", steps_of_one_job),
    ("create_and_start", create_and_start),
    ("create_and_start_array", create_and_start_array),
    ("no_bundle", no_bundle),
    ("no_program", no_program),
];

/// Slurm 22.05 starts one task on each node.
fn three_nodes(cluster: &Cluster) {
    let output = cluster
        .root("srun -N3 -l --container=$BUNDLE sh -c 'echo $SLURM_JOB_ID $$ $(hostname)'")
        .ok();
    let lines = sorted(&output);
    let job = lines[0].split(' ').nth(1).unwrap();
    let name = cluster.runtime.name(); // The host name in the template of `spec`.
    let expected: Vec<String> = (0..3)
        .map(|task| format!("{task}: {job} 1 {name}"))
        .collect();
    assert_eq!(lines, expected);
    cluster.assert_nothing_left(job);
}

/// The bundle decides the working directory. The environment is the caller's, with what only the bundle has.
fn environment_and_directory(cluster: &Cluster) {
    for (given, expected) in [("GIVEN=word", "word bundle"), ("OF=caller", "caller")] {
        let output = cluster.root(&format!(
            "{given} srun -N1 --container=$BUNDLE sh -c 'pwd; echo $GIVEN $OF'"
        ));
        assert_eq!(output.ok(), format!("/var/www\n{expected}"));
    }
}

fn standard_streams(cluster: &Cluster) {
    let input: Vec<u8> = (0..200_000_u32).map(|n| b"abc\n"[n as usize % 4]).collect();
    let script = "srun -N1 --container=$BUNDLE sh -c 'tee /dev/stderr | md5sum' 2>$OUT/streams; md5sum <$OUT/streams";
    let output = cluster.root_with(script, &input).ok();
    let sums = sorted(&output);
    assert!(sums.len() == 2 && sums[0] == sums[1], "{output}");
    assert_eq!(cluster.out("streams").as_bytes(), input);
}

/// The terminal is the node's, which has no name in the container.
fn terminal(cluster: &Cluster) {
    let size = "stty rows 33 cols 99; srun -N1 --pty --container=$BUNDLE stty size";
    let output = cluster
        .root(&format!("script -qec '{size}' /dev/null"))
        .ok();
    assert!(output.contains("33 99"), "{output}");
}

/// The script runs in the container, with arguments.
fn batch(cluster: &Cluster) {
    let script = cluster.path("batch.sh");
    write_script(
        &script,
        "echo $1 in $(pwd) as $$ with $OF; echo problem >&2; exit 5",
    );
    let line = format!(
        "sbatch --wait --parsable --container=$BUNDLE -o $OUT/batch -e $OUT/batch.err {} word",
        script.display()
    );
    let job = cluster.root(&line).fails(5);
    let job = job.lines().next().unwrap().to_owned();
    assert_eq!(cluster.out("batch"), "word in /var/www as 1 with bundle\n");
    assert!(
        cluster.out("batch.err").starts_with("problem\n"),
        "{}",
        cluster.out("batch.err")
    );
    assert_eq!(cluster.job(&job, "ExitCode"), "5:0");
    cluster.assert_nothing_left(&job);
}

fn array_of_200_tasks(cluster: &Cluster) {
    let script = cluster.path("array.sh");
    write_script(
        &script,
        "echo task $SLURM_ARRAY_TASK_ID on $SLURM_JOB_NODELIST",
    );
    let line = format!(
        "mkdir -p $OUT/array; sbatch --wait --parsable --array=1-200 --container=$BUNDLE -o $OUT/array/%a {}",
        script.display()
    );
    let job = cluster.root(&line).ok();
    let mut nodes = std::collections::BTreeMap::new();
    for task in 1..=200 {
        let text = cluster.out(&format!("array/{task}"));
        let first = text.lines().next().unwrap_or_default();
        let node = first.strip_prefix(&format!("task {task} on "));
        *nodes
            .entry(
                node.unwrap_or_else(|| panic!("task {task}: {text}"))
                    .to_owned(),
            )
            .or_insert(0) += 1;
    }
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    for task in 0..200 {
        let id = job.parse::<u32>().unwrap() + task;
        assert_eq!(cluster.containers(&id.to_string()), [""; 0]);
    }
    cluster.assert_nothing_left(&job);
}

/// One after the other, and several at once, on the nodes of one allocation.
fn steps_of_one_job(cluster: &Cluster) {
    let script = cluster.path("steps.sh");
    let step = "srun --exact -N1 -n1 --container=$BUNDLE sh -c";
    write_script(
        &script,
        &format!(
            "for i in 1 2 3; do {step} \"echo step \\$SLURM_STEP_ID; exit $i\" 2>/dev/null; echo status $?; done
             for i in 4 5 6 7; do {step} \"sleep 0.5; echo together $i\" & done; wait"
        ),
    );
    let line = format!(
        "sbatch --wait --parsable -N3 -n8 --export=ALL,BUNDLE -o $OUT/steps {}",
        script.display()
    );
    let job = cluster.root(&line).ok();
    let text = cluster.out("steps");
    let (first, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| !line.starts_with("together"));
    let expected = [
        "step 0", "status 1", "step 1", "status 2", "step 2", "status 3",
    ];
    assert_eq!(first, expected, "{text}");
    assert_eq!(
        sorted(&rest.join("\n")),
        ["together 4", "together 5", "together 6", "together 7"]
    );
    cluster.assert_nothing_left(&job);
}

/// Slurm waits for the container and forgets its exit status.
fn create_and_start(cluster: &Cluster) {
    let script = "srun -p create --container=$BUNDLE sh -c 'echo $SLURM_JOB_ID; read word; echo $word; exit 3'";
    let output = cluster.root_with(script, b"hello\n").ok();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[1..], ["hello"], "{output}");
    cluster.assert_nothing_left(lines[0]);
}

fn create_and_start_array(cluster: &Cluster) {
    let script = cluster.path("created.sh");
    write_script(&script, "echo task $SLURM_ARRAY_TASK_ID");
    let line = format!(
        "mkdir -p $OUT/created; sbatch --wait --parsable -p create --array=1-20 --container=$BUNDLE -o $OUT/created/%a {}",
        script.display()
    );
    let job = cluster.root(&line).ok();
    for task in 1..=20 {
        let text = cluster.out(&format!("created/{task}"));
        assert!(
            text.starts_with(&format!("task {task}\n")),
            "task {task}: {text}"
        );
    }
    cluster.assert_nothing_left(&job);
}

fn no_bundle(cluster: &Cluster) {
    let output = cluster.root("srun -N1 --container=/no/such/bundle true");
    assert!(
        output.status != 0 && output.stderr.contains("No such file or directory"),
        "{output}"
    );
    cluster.root("srun -N3 --container=$BUNDLE true").ok();
}

fn no_program(cluster: &Cluster) {
    let said = cluster
        .root("srun -N1 --container=$BUNDLE no-such-program")
        .fails(1);
    assert!(
        said.contains("executable file not found in $PATH"),
        "{said}"
    );
}
