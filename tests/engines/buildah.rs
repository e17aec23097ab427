//! Buildah, as root and rootless. It calls the runtime without a monitor, and polls `state` until the container has
//! stopped.

mod bud;

use std::fs;
use std::sync::Arc;

use libtest_mimic::Arguments;

use crate::command::{self, CommandOutput};
use crate::environment::{self, Runtime};
use crate::feature::{self, Feature};
use crate::podman::{IMAGE, Mode, Podman, WAIT_FOR_SIZE, terminal};

const PROGRAMS: &[&str] = &[
    "podman",
    "buildah",
    "runc",
    "newuidmap",
    "setpriv",
    "script",
];

pub(crate) type Test = (&'static str, fn(&Store));

const TESTS: &[Test] = &[
    ("run", run),
    ("run_exit_status", run_exit_status),
    ("run_not_found", run_not_found),
    ("run_user", run_user),
    ("run_env_and_workdir", run_env_and_workdir),
    ("run_capabilities", run_capabilities),
    ("run_volume", run_volume),
    ("run_mount", run_mount),
    ("run_stdin", run_stdin),
    ("run_tty", run_tty),
    ("run_hostname_and_network", run_hostname),
    ("run_namespaces", run_namespaces),
    ("run_again", run_again),
    ("run_after_an_interrupt", run_after_an_interrupt),
    ("commit", commit),
    ("from_scratch", from_scratch),
];

/// The tests of both modes. Podman and Buildah share their stores.
pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    [
        ("buildah", Mode::Root),
        ("buildah-rootless", Mode::Rootless),
    ]
    .into_iter()
    .flat_map(|(engine, mode)| features_of(arguments, engine, mode))
    .collect()
}

/// All tests.
pub(crate) fn all() -> Vec<Test> {
    [TESTS, bud::TESTS].concat()
}

fn features_of(arguments: &Arguments, engine: &'static str, mode: Mode) -> Vec<Feature> {
    let tests = all();
    let names: Vec<&str> = tests.iter().map(|test| test.0).collect();
    let skip_reason = feature::skip_reason().or_else(|| environment::missing_program(PROGRAMS));
    let is_wanted = skip_reason.is_none() && feature::is_wanted(arguments, engine, &names);
    let new = |runtime| Store(Podman::new(mode, runtime, "-b"));
    let stores = is_wanted.then(|| Arc::new(Runtime::BOTH.map(new)));
    let feature = |&(name, test): &Test| {
        let stores = stores.clone();
        Feature {
            name: format!("{engine}::{name}"),
            run: Box::new(move |runtime| {
                let mut stores = stores.iter().flat_map(|stores| stores.iter());
                test(stores.find(|store| store.0.runtime == runtime).unwrap());
            }),
            skip_reason: skip_reason.clone(),
        }
    };
    tests.iter().map(feature).collect()
}

pub(crate) struct Store(pub(crate) Podman);

impl Store {
    fn command(&self, args: &[&str]) -> std::process::Command {
        self.0.program("buildah", args)
    }

    fn call(&self, args: &[&str]) -> CommandOutput {
        command::run(&mut self.command(args))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.call(args).ok()
    }

    /// The value of `--isolation`: rootless containers get slirp4netns instead of a bridge.
    fn isolation(&self) -> &'static str {
        match self.0.mode {
            Mode::Root => "oci",
            Mode::Rootless => "rootless",
        }
    }

    /// Creates a working container, named after the test.
    fn from(&self, name: &str) -> WorkingContainer<'_> {
        self.ok(&["from", "--pull-never", "--name", name, IMAGE]);
        WorkingContainer {
            store: self,
            name: name.to_owned(),
        }
    }

    /// Runs `buildah bud` on a directory with this Containerfile.
    fn bud(&self, name: &str, options: &[&str], text: &str) -> CommandOutput {
        let files = self.0.files(name);
        fs::write(files.join("Containerfile"), text.replace("IMAGE", IMAGE)).unwrap();
        let fixed = [
            "bud",
            "--runtime",
            self.0.runtime_path(),
            "--pull-never",
            "--isolation",
            self.isolation(),
        ];
        let tag = format!("localhost/{name}");
        self.call(
            &[
                &fixed[..],
                &["-t", &tag],
                without_network(options),
                options,
                &[files.to_str().unwrap()],
            ]
            .concat(),
        )
    }

    /// The content of a file in an image.
    fn file(&self, image: &str, path: &str) -> String {
        self.0.ok(&[
            "run",
            "--rm",
            &format!("localhost/{image}"),
            "/bin/cat",
            path,
        ])
    }
}

/// `--network none`, unless the options select a network. Most tests need no network, and netavark sets one up
/// with iptables(8), where concurrent calls conflict.
fn without_network<'a>(options: &[&str]) -> &'a [&'static str] {
    if options.contains(&"--network") {
        &[]
    } else {
        &["--network", "none"]
    }
}

/// A working container. Dropping it removes it.
struct WorkingContainer<'a> {
    store: &'a Store,
    name: String,
}

impl WorkingContainer<'_> {
    fn args<'b>(&'b self, options: &[&'b str], script: &'b str) -> Vec<&'b str> {
        let fixed = [
            "run",
            "--runtime",
            self.store.0.runtime_path(),
            "--isolation",
            self.store.isolation(),
        ];
        let network = without_network(options);
        let command = ["--", &self.name, "sh", "-c", script];
        [&fixed[..], network, options, &command].concat()
    }

    fn run(&self, options: &[&str], script: &str) -> CommandOutput {
        self.store.call(&self.args(options, script))
    }

    #[track_caller]
    fn sh(&self, options: &[&str], script: &str) -> String {
        self.run(options, script).ok()
    }
}

impl Drop for WorkingContainer<'_> {
    fn drop(&mut self) {
        self.store.call(&["rm", &self.name]);
    }
}

fn run(s: &Store) {
    let c = s.from("run");
    let output = c.run(&[], "echo out; echo err >&2; cat /proc/1/comm; true");
    assert_eq!(output.stdout, "out\nsh\n");
    assert!(output.stderr.contains("err\n"), "{output:?}");
    assert_eq!(output.status, 0);
}

fn run_exit_status(s: &Store) {
    let c = s.from("run_exit_status");
    for status in [1, 5, 255] {
        let output = c.run(&[], &format!("exit {status}")).fails(status);
        assert!(
            output.contains(&format!("exit status {status}")),
            "{output}"
        );
    }
}

fn run_not_found(s: &Store) {
    let c = s.from("run_not_found");
    let runtime = s.0.runtime_path();
    let output = s.call(&[
        "run",
        "--runtime",
        runtime,
        "--isolation",
        s.isolation(),
        "--network",
        "none",
        &c.name,
        "absent",
    ]);
    assert_ne!(output.status, 0);
    assert!(
        output.stderr.contains("executable file not found in $PATH"),
        "{output:?}"
    );
}

fn run_user(s: &Store) {
    let c = s.from("run_user");
    assert_eq!(
        c.sh(&["--user", "user"], "id -u; id -g; echo $HOME"),
        "1000\n1000\n/home/user"
    );
    assert_eq!(c.sh(&["--user", "12:34"], "id -u; id -g"), "12\n34");
}

fn run_env_and_workdir(s: &Store) {
    let c = s.from("run_env");
    s.ok(&[
        "config",
        "--env",
        "WORD=configured",
        "--workingdir",
        "/home/user",
        &c.name,
    ]);
    assert_eq!(
        c.sh(&["--env", "MORE=given"], "echo $WORD $MORE; pwd"),
        "configured given\n/home/user"
    );
    assert_eq!(c.sh(&["--workingdir", "/tmp"], "pwd"), "/tmp");
}

fn run_capabilities(s: &Store) {
    let c = s.from("run_capabilities");
    let effective = |options: &[&str]| {
        let output = c.sh(options, "grep CapEff /proc/self/status | cut -f2");
        u64::from_str_radix(&output, 16).unwrap()
    };
    let plain = effective(&[]);
    assert_eq!(effective(&["--cap-add", "CAP_NET_ADMIN"]), plain | 1 << 12);
    assert_eq!(effective(&["--cap-drop", "CAP_CHOWN"]), plain & !1);
    assert!(c.sh(&[], "grep Seccomp: /proc/self/status").ends_with('2'));
}

fn run_volume(s: &Store) {
    let c = s.from("run_volume");
    let files = s.0.files("run_volume");
    fs::write(files.join("in"), "seen").unwrap();
    let option = format!("{}:/data", files.display());
    assert_eq!(
        c.sh(&["-v", &option], "cat /data/in; echo back >/data/out"),
        "seen"
    );
    assert_eq!(fs::read_to_string(files.join("out")).unwrap(), "back\n");
    c.run(&["-v", &format!("{option}:ro")], "touch /data/x")
        .fails(1);
}

fn run_mount(s: &Store) {
    let c = s.from("run_mount");
    let output = c.sh(
        &["--mount", "type=tmpfs,dst=/scratch,tmpfs-size=1048576"],
        "df -k /scratch | tail -n 1",
    );
    assert_eq!(output.split_whitespace().nth(1), Some("1024"), "{output}");
}

fn run_stdin(s: &Store) {
    let c = s.from("run_stdin");
    let args = c.args(&[], "read a; echo $a; cat");
    assert_eq!(
        command::run_with(&mut s.command(&args), b"one\ntwo").ok(),
        "one\ntwo"
    );
}

fn run_tty(s: &Store) {
    let c = s.from("run_tty");
    let script = format!("tty; {WAIT_FOR_SIZE}; echo sized; read x; echo \"<$x>\"; exit 3");
    let mut terminal = terminal(s.command(&c.args(&["--tty"], &script)));
    terminal.expect("sized");
    terminal.type_text("typed\n");
    terminal.expect("<typed>");
    let (status, output) = terminal.wait();
    assert!(output.contains("/dev/pts/0"), "{output}");
    assert_eq!(status, Some(3));
}

fn run_hostname(s: &Store) {
    let c = s.from("run_hostname");
    let output = c.sh(
        &["--hostname", "named", "--network", "none"],
        "hostname; ip -o link | cut -d : -f 2 | grep -v tunl",
    );
    assert!(output.starts_with("named\n lo"), "{output}");
    assert!(!output.contains("eth0"), "{output}");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let output = c.sh(&["--network", "host"], "readlink /proc/self/ns/net");
    assert_eq!(output, host.to_str().unwrap());
}

fn run_namespaces(s: &Store) {
    let c = s.from("run_namespaces");
    let link = |kind: &str| format!("readlink /proc/self/ns/{kind}");
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")] {
        // A rootless container with `--ipc host` bind-mounts the host's /dev/mqueue, which must exist.
        if kind == "ipc" && s.0.mode == Mode::Rootless && !fs::exists("/dev/mqueue").unwrap() {
            continue;
        }
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let host = host.to_str().unwrap();
        assert_eq!(c.sh(&[option, "host"], &link(kind)), host, "{kind}");
        assert_ne!(c.sh(&[option, "container"], &link(kind)), host, "{kind}");
    }
}

fn run_again(s: &Store) {
    let c = s.from("run_again");
    for _ in 0..3 {
        c.sh(&[], "echo line >>/file");
    }
    assert_eq!(c.sh(&[], "wc -l </file"), "3");
}

/// Buildah ends its polling with `kill` and `delete`.
fn run_after_an_interrupt(s: &Store) {
    let c = s.from("run_after_an_interrupt");
    let args = c.args(&[], "exec sleep 7531");
    let inner = s.command(&args);
    let mut timeout = std::process::Command::new("timeout");
    timeout.args(["-k", "20", "-s", "INT", "1"]);
    timeout.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        timeout.env(name, value.unwrap());
    }
    timeout.current_dir("/");
    assert_ne!(command::run(&mut timeout).status, 0);
    assert_eq!(c.sh(&[], "echo again"), "again");
}

fn commit(s: &Store) {
    let c = s.from("commit");
    c.sh(&[], "echo kept >/file; chown user /file; chmod 4711 /file");
    s.ok(&["config", "--cmd", "cat /file", &c.name]);
    s.ok(&["commit", "-q", &c.name, "localhost/committed"]);
    assert_eq!(s.file("committed", "/file"), "kept");
    let args = [
        "run",
        "--rm",
        "localhost/committed",
        "/bin/stat",
        "-c",
        "%a %U",
        "/file",
    ];
    assert_eq!(s.0.ok(&args), "4711 user");
}

fn from_scratch(s: &Store) {
    s.ok(&["from", "--name", "scratched", "scratch"]);
    let c = WorkingContainer {
        store: s,
        name: "scratched".to_owned(),
    };
    s.ok(&["copy", &c.name, "/bin/busybox", "/bin/sh"]);
    assert_eq!(c.sh(&[], "echo /*"), "/bin /dev /etc /proc /run /sys");
    s.ok(&["commit", "-q", &c.name, "localhost/scratched"]);
    assert_eq!(
        s.0.ok(&[
            "run",
            "--rm",
            "localhost/scratched",
            "/bin/sh",
            "-c",
            "echo ran"
        ]),
        "ran"
    );
}
