//! Slurm: seven nodes, each a `slurmd` of its own, on one isolated host. The runtime is the one in oci.conf.

mod cgroup;
mod configuration;
mod ends;
mod jobs;
mod users;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use serde_json::{Value, json};

use crate::cgroups;
use crate::command::{self, CommandOutput, wait_until};
use crate::environment::{self, Directory, Runtime};
use crate::feature::{self, Feature};
use crate::host::Host;
use crate::image;
use crate::user::User;
use configuration::{ADDRESS, Form};

/// A test's name and its function.
type Test = (&'static str, fn(&Cluster));

/// The programs that all tests need. They come from Debian's packages slurm-wlm and munge.
const PROGRAMS: &[&str] = &[
    "slurmctld",
    "slurmd",
    "srun",
    "sbatch",
    "munged",
    "runc",
    "nsenter",
    "busybox",
    "script",
];

pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let skip_reason = feature::skip_reason().or_else(|| {
        let missing = environment::missing_program(PROGRAMS)?;
        Some(format!("{missing} (packages slurm-wlm and munge)"))
    });
    let all = [jobs::TESTS, ends::TESTS, users::TESTS, cgroup::TESTS].concat();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let wanted = skip_reason.is_none() && feature::is_wanted(arguments, "slurm", &names);
    let clusters = wanted.then(|| Arc::new(Runtime::BOTH.map(Cluster::start)));
    let feature = |&(name, test): &Test| {
        let clusters = clusters.clone();
        Feature {
            name: format!("slurm::{name}"),
            run: Box::new(move |runtime| {
                let clusters = clusters.as_ref().expect("the clusters of a selected test");
                test(&clusters[usize::from(runtime == Runtime::Runc)]);
            }),
            skip_reason: skip_reason.clone(),
        }
    };
    all.iter().map(feature).collect()
}

/// As in docs/slurm.md.
const PROLOG: &str =
    r#"exec install -d -m 700 -o "$SLURM_JOB_USER" "/run/containers/$SLURM_JOB_USER""#;

/// The cluster of one runtime. Dropping it kills the daemons and their jobs.
struct Cluster {
    host: Host,
    runtime: Runtime,
    user: User,
    directory: Directory,
}

impl Cluster {
    fn start(runtime: Runtime) -> Cluster {
        let name = format!("sl-{}", runtime.name());
        let directory = Directory::new(&name);
        let user = User::new(&name);
        let host = Host::start("slurm", directory.path());
        let cluster = Cluster {
            host,
            runtime,
            user,
            directory,
        };
        cluster.write_bundle("bundle", None);
        cluster.write_bundle("rootless", Some(&cluster.user));
        fs::create_dir_all(cluster.path("state")).unwrap();
        fs::create_dir_all(cluster.path("out")).unwrap();
        cluster.user.chown(&cluster.path("out"));
        for form in Form::ALL {
            let directory = cluster.path(form.partition());
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("slurm.conf"), cluster.slurm_conf(form)).unwrap();
            fs::write(
                directory.join("cgroup.conf"),
                "CgroupAutomount=no\nConstrainRAMSpace=yes\n",
            )
            .unwrap();
            fs::write(directory.join("oci.conf"), cluster.oci_conf(form)).unwrap();
        }
        let prolog = cluster.path("prolog.sh");
        write_script(&prolog, PROLOG);
        fs::set_permissions(&prolog, Permissions::from_mode(0o755)).unwrap();
        cluster.start_daemons();
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The name of a node, which is also in the name of a container's cgroup. All hosts have the same cgroups.
    fn node(&self, number: u32) -> String {
        format!("{}{number}", self.node_prefix())
    }

    fn node_prefix(&self) -> String {
        format!("{}{}n", self.runtime.name(), std::process::id())
    }

    /// A bundle of `spec`, with a /tmp of its own: there Slurm mounts the script of a batch job.
    fn write_bundle(&self, name: &str, user: Option<&User>) {
        let bundle = self.path(name);
        image::busybox(&bundle.join("rootfs"));
        let mut spec = Command::new(self.runtime.path());
        spec.arg("spec").current_dir(&bundle);
        command::run(spec.args(user.map(|_| "--rootless"))).ok();
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        if let Some(user) = user {
            let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
            config["linux"]["uidMappings"] = map(user.uid);
            config["linux"]["gidMappings"] = map(user.gid);
        }
        config["process"]["cwd"] = "/var/www".into();
        config["process"]["env"] = json!(["PATH=/bin", "OF=bundle"]);
        let tmp = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" });
        config["mounts"].as_array_mut().unwrap().push(tmp);
        fs::write(&file, config.to_string()).unwrap();
    }

    fn start_daemons(&self) {
        let directory = self.directory.path().display();
        self.host.sh(&format!(
            "ip addr add {ADDRESS}/32 dev lo; mkdir /run/munge /run/containers
             head -c 128 /dev/urandom > /run/munge/key; chmod 400 /run/munge/key
             munged --key-file=/run/munge/key --socket=/run/munge/socket --pid-file=/run/munge/pid \
                 --log-file={directory}/munged.log --seed-file=/run/munge/seed"
        ));
        command::run(&mut self.command(Form::Run, "slurmctld")).ok();
        for form in Form::ALL {
            for number in form.nodes() {
                self.start_node(form, number);
            }
        }
        let nodes: usize = Form::ALL.iter().map(|form| form.nodes().count()).sum();
        wait_until("all nodes are idle", 60, || {
            let idle = self.root("sinfo -h -N -t idle -o %N").stdout;
            idle.lines().count() == nodes
        });
    }

    fn start_node(&self, form: Form, number: u32) {
        let mut slurmd = self.command(form, "slurmd");
        command::run(slurmd.args(["-N", &self.node(number)])).ok();
    }

    /// A command on the host with the configuration of this form, and nothing else of this program's environment.
    fn command(&self, form: Form, program: &str) -> Command {
        let mut env = self.host.command("env");
        env.args(["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let conf = self.path(form.partition()).join("slurm.conf");
        env.arg(format!("SLURM_CONF={}", conf.display()))
            .arg(program);
        env.current_dir(self.directory.path());
        env
    }

    /// Runs a shell script on the host as root. `$BUNDLE` is the bundle and `$OUT` the directory for output.
    fn root(&self, script: &str) -> CommandOutput {
        self.root_with(script, b"")
    }

    /// The same with input.
    fn root_with(&self, script: &str, input: &[u8]) -> CommandOutput {
        let mut env = self.command(Form::Run, "env");
        env.arg(format!("BUNDLE={}", self.path("bundle").display()));
        self.run(env, script, input)
    }

    /// The same as the user, whose bundle has a user namespace.
    fn user(&self, script: &str) -> CommandOutput {
        let mut setpriv = self.command(Form::Run, "setpriv");
        let name = self.user.name();
        setpriv.args(["--reuid", name, "--regid", name, "--init-groups", "env"]);
        setpriv.arg(format!("BUNDLE={}", self.path("rootless").display()));
        self.run(setpriv, script, b"")
    }

    fn run(&self, mut command: Command, script: &str, input: &[u8]) -> CommandOutput {
        command.arg(format!("OUT={}", self.path("out").display()));
        command::run_with(command.args(["sh", "-c", script]), input)
    }

    /// The text of a file that a job has written.
    fn out(&self, name: &str) -> String {
        let file = self.path("out").join(name);
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }

    /// The same while the job runs: empty before it writes.
    fn out_so_far(&self, name: &str) -> String {
        fs::read_to_string(self.path("out").join(name)).unwrap_or_default()
    }

    /// What `scontrol` shows of a job for a key such as `JobState`.
    fn job(&self, job: &str, key: &str) -> String {
        let shown = self.root(&format!("scontrol show job {job}")).stdout;
        let mut words = shown
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        words
            .find(|word| word.0 == key)
            .map_or_else(String::new, |word| word.1.to_owned())
    }

    #[track_caller]
    fn wait_for_state(&self, job: &str, state: &str) {
        let what = format!("job {job} is {state}");
        wait_until(&what, 110, || self.job(job, "JobState") == state);
    }

    /// The ids of a job's containers.
    fn containers(&self, job: &str) -> Vec<String> {
        let all = self.host.sh("ls /run/containers/*");
        let own = format!(".{job}.");
        all.lines()
            .filter(|id| id.contains(&own))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until a job has a container, and returns its id.
    #[track_caller]
    fn wait_for_container(&self, job: &str) -> String {
        let mut containers = Vec::new();
        wait_until("the job has a container", 60, || {
            containers = self.containers(job);
            !containers.is_empty()
        });
        containers.remove(0)
    }

    /// Waits until there is neither a container of the job nor its cgroup, a bundle in the spool directory or a
    /// daemon of one of its steps.
    #[track_caller]
    fn assert_nothing_left(&self, job: &str) {
        let directory = self.directory.path().display();
        let node = self.node_prefix();
        let script = format!(
            "ls -d /run/containers/*/*.{job}.* {directory}/spool-*/oci-job{job:0>5}-* 2>/dev/null || :
             find /sys/fs/cgroup -name '{node}*.{job}.*' 2>/dev/null || :
             pgrep -a -f '^slurmstepd: .{job}[.]' || :"
        );
        let mut left = String::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            left = self.host.sh(&script);
            if left.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("left of job {job}:\n{left}");
    }
}

impl Drop for Cluster {
    /// Slurm and containers that could not be deleted leave cgroups, which can go once no process is in them.
    fn drop(&mut self) {
        let init = format!("/proc/{}", self.host.init());
        self.host.kill();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Path::new(&init).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let node = self.node_prefix();
        let slurm = format!("slurm_{node}");
        for hierarchy in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let all = fs::read_dir(hierarchy.path())
                .into_iter()
                .flatten()
                .flatten();
            let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let own: Vec<String> = names
                .filter(|name| name.starts_with(&node) || name.starts_with(&slurm))
                .collect();
            own.iter().for_each(|name| cgroups::remove(name));
        }
    }
}

/// The lines of a text, sorted.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Writes a batch script.
fn write_script(file: &Path, text: &str) {
    fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
}
