//! Slurm: six nodes, each a `slurmd` of its own, on one isolated host. The runtime is the one in oci.conf.

mod ends;
mod jobs;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Arguments;
use serde_json::{Value, json};

use crate::command::{self, CommandOutput, wait_until};
use crate::environment::{self, Directory, Runtime};
use crate::feature::{self, Feature};
use crate::host::Host;
use crate::image;
use crate::user::User;

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

/// The host's only address. Slurm resolves no name on a host that has no other address than those of the loopback.
const ADDRESS: &str = "10.79.0.1";

pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let skip_reason = feature::skip_reason().or_else(|| {
        let missing = environment::missing_program(PROGRAMS)?;
        Some(format!("{missing} (packages slurm-wlm and munge)"))
    });
    let all = [jobs::TESTS, ends::TESTS, users::TESTS].concat();
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

/// How the runtime is called, and the nodes of the partition of that name. oci.conf lies beside the slurm.conf that a
/// node has read, so each form has a directory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `RunTimeRun`, on three nodes.
    Run,
    /// The same, on two nodes, one of which is lost during a test.
    Lost,
    /// `RunTimeCreate` and `RunTimeStart`, on one node.
    Create,
}

impl Form {
    const ALL: [Form; 3] = [Form::Run, Form::Lost, Form::Create];

    fn partition(self) -> &'static str {
        match self {
            Form::Run => "run",
            Form::Lost => "lost",
            Form::Create => "create",
        }
    }

    fn nodes(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Form::Run => 1..=3,
            Form::Lost => 4..=5,
            Form::Create => 6..=6,
        }
    }
}

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
            fs::write(directory.join("slurm.conf"), cluster.slurm_conf()).unwrap();
            fs::write(directory.join("oci.conf"), cluster.oci_conf(form)).unwrap();
        }
        cluster.start_daemons();
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The name of a node, which is also in the name of a container's cgroup. All hosts have the same cgroups.
    fn node(&self, number: u32) -> String {
        format!("{}{}n{number}", self.runtime.name(), std::process::id())
    }

    fn slurm_conf(&self) -> String {
        let directory = self.directory.path().display();
        let mut text = format!(
            "ClusterName=test\nSlurmctldHost=slurm({ADDRESS})\n\
             AuthType=auth/munge\nAuthInfo=socket=/run/munge/socket,cred_expire=5\n\
             SlurmUser=root\nStateSaveLocation={directory}/state\nSlurmdSpoolDir={directory}/spool-%n\n\
             SlurmctldPidFile={directory}/slurmctld.pid\nSlurmdPidFile={directory}/%n.pid\n\
             SlurmctldLogFile={directory}/slurmctld.log\nSlurmdLogFile={directory}/%n.log\nSlurmdDebug=debug\n\
             ProctrackType=proctrack/pgid\nTaskPlugin=task/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
             SchedulerParameters=batch_sched_delay=1,sched_interval=1\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             ReturnToService=2\nSlurmdTimeout=8\nKillWait=3\nSlurmdParameters=config_overrides\n"
        );
        for form in Form::ALL {
            let nodes: Vec<String> = form.nodes().map(|number| self.node(number)).collect();
            for (number, node) in form.nodes().zip(&nodes) {
                text += &format!(
                    "NodeName={node} NodeHostname=slurm NodeAddr={ADDRESS} Port={} CPUs=8\n",
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
    fn oci_conf(&self, form: Form) -> String {
        const AS_USER: &str = "setpriv --reuid=%u --regid=$(id -g %u) --keep-groups";
        const STREAMS: &str = "</proc/$PPID/fd/0 >>/proc/$PPID/fd/1 2>>/proc/$PPID/fd/2";
        let runtime = format!(
            "{} --root=/run/containers/%u",
            self.runtime.path().display()
        );
        let id = "%n.%u.%j.%s.%t";
        let mut text = format!(
            "RunTimeQuery=\"{AS_USER} {runtime} state {id}\"\n\
             RunTimeKill=\"{AS_USER} {runtime} kill -a {id}\"\n\
             RunTimeDelete=\"{AS_USER} {runtime} delete --force {id}\"\n"
        );
        text += &match form {
            Form::Run | Form::Lost => format!("RunTimeRun=\"exec {runtime} run -b %b {id}\"\n"),
            Form::Create => format!(
                "RunTimeCreate=\"{runtime} create -b %b {id} {STREAMS}\"\n\
                 RunTimeStart=\"{runtime} start {id}\"\n"
            ),
        };
        text
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
        let user = &self.user;
        self.host.sh(&format!(
            "ip addr add {ADDRESS}/32 dev lo; mkdir -p /run/munge /run/containers/root
             install -d -m 700 -o {uid} -g {gid} /run/containers/{name}
             head -c 128 /dev/urandom > /run/munge/key; chmod 400 /run/munge/key
             munged --key-file=/run/munge/key --socket=/run/munge/socket --pid-file=/run/munge/pid \
                 --log-file={directory}/munged.log --seed-file=/run/munge/seed",
            uid = user.uid,
            gid = user.gid,
            name = user.name(),
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
        let mut env = self.command(Form::Run, "env");
        env.arg(format!("BUNDLE={}", self.path("bundle").display()));
        self.run(env, script, b"")
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
        let (runtime, pid) = (self.runtime.name(), std::process::id());
        let script = format!(
            "ls -d /run/containers/*/*.{job}.* {directory}/spool-*/oci-job{job:0>5}-* 2>/dev/null || :
             find /sys/fs/cgroup -name '{runtime}{pid}n*.{job}.*' 2>/dev/null || :
             pgrep -a -f '^slurmstepd: .{job}[.]' || :"
        );
        let mut left = String::new();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while std::time::Instant::now() < deadline {
            left = self.host.sh(&script);
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        panic!("left of job {job}:\n{left}");
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
