//! Which command lines are run here, and why others are not.

/// The beginnings of commands that can be run here. `docker` is a stand-in; the others change only the directory in
/// which they run.
const RUN: &[&str] = &[
    "rt ",
    "cd ",
    "cp /bin/busybox ",
    "docker create ",
    "docker export ",
    "echo ",
    "gzip ",
    "jq ",
    "mkdir ",
    "tar -C rootfs ",
    "xargs ",
];

/// The beginnings of command lines that are not run, with the reason.
const LEFT_OUT: &[(&str, &[&str])] = &[
    (
        "builds or tests the whole project, as the gate does",
        &[
            "cargo ",
            "RT_TESTS=all cargo ",
            "RT_TESTS=all RT_ENGINES=",
            "RT_RUNTIME_TOOLS=",
            "tests/run",
            "make",
        ],
    ),
    (
        "installs files or packages: tests/package does so in a directory of its own",
        &[
            "sudo make ",
            "sudo apt ",
            "debootstrap ",
            "cp target/",
            "chroot ",
            "man -l ",
        ],
    ),
    (
        "calls an engine, or a program for images: tests/engines calls all engines but nerdctl",
        &[
            "docker run ",
            "docker checkpoint ",
            "docker start ",
            "docker info ",
            "docker inspect ",
            "docker save ",
            "docker swarm ",
            "docker service ",
            "docker-compose ",
            "dockerd ",
            "sudo ctr ",
            "sudo podman ",
            "sudo nerdctl ",
            "podman ",
            "buildah ",
            "skopeo ",
            "umoci ",
            "export BUILDAH_RUNTIME=",
        ],
    ),
    (
        "reads the states of an engine that does not run here",
        &["sudo rt --root /run/"],
    ),
    (
        "changes the host",
        &[
            "sudo systemctl ",
            "sudo ln ",
            "sudo semanage ",
            "sudo restorecon ",
            "sudo mount -t resctrl ",
        ],
    ),
    (
        "runs as long as the container: tests/suite/events.rs and stats.rs run such commands",
        &[
            "rt events --interval ",
            "rt stats --interval ",
            "rt stats web",
        ],
    ),
    (
        "needs Slurm, which tests/engines/slurm starts",
        &["srun ", "sudo setpriv --reuid=alice "],
    ),
    (
        "needs CRIU: tests/suite/checkpoint runs such commands",
        &["rt checkpoint ", "rt restore "],
    ),
    ("looks at a network that is not there", &["nft list "]),
    (
        "changes the host's network: tests/suite/network does so in a network namespace of its own",
        &["ip link add ", "ip address add "],
    ),
    (
        "needs a CPU with groups of resctrl",
        &["rt update --l3-cache-schema "],
    ),
    (
        "needs a systemd, as tests/suite/systemd has",
        &[
            "systemd-run --user ",
            "systemctl status ",
            "rt --systemd-cgroup ",
        ],
    ),
    (
        "is typed in a container, or makes one that needs a terminal: tests/suite/nested does so",
        &[
            "sh examples/nested/make ",
            "rt run --bundle /tmp/nested ",
            "rt run --bundle /bundle ",
            "mkdir /sys/fs/cgroup/init",
            "echo 0 > /sys/fs/cgroup/init/",
        ],
    ),
];

/// What to do with a command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    Run,
    LeaveOut,
    Undecided,
}

pub(super) fn decide(line: &str) -> Decision {
    let can_run = |command: &String| RUN.iter().any(|start| command.starts_with(start));
    if starts().any(|start| line.starts_with(start)) {
        Decision::LeaveOut
    } else if commands(line).iter().all(can_run) {
        Decision::Run
    } else {
        Decision::Undecided
    }
}

/// The entries of the list that no line begins with.
pub(super) fn unused(lines: &[String]) -> Vec<&'static str> {
    let is_unused = |start: &&str| !lines.iter().any(|line| line.starts_with(start));
    starts().filter(is_unused).collect()
}

fn starts() -> impl Iterator<Item = &'static str> {
    LEFT_OUT
        .iter()
        .flat_map(|(_, starts)| starts.iter().copied())
}

/// The simple commands of a command line, without sudo.
fn commands(line: &str) -> Vec<String> {
    let outside_of_quotes: Vec<&str> = line.split('\'').step_by(2).collect();
    let line = outside_of_quotes.join("quoted");
    let line = line.replace("$(", "|").replace("2>&1", "");
    let commands = line.split(['|', '&', ';']).map(str::trim);
    let commands = commands.filter(|command| !command.is_empty());
    let without_sudo = |command: &str| command.trim_start_matches("sudo ").to_owned() + " ";
    commands.map(without_sudo).collect()
}
