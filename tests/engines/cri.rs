//! The CRI: containerd as the kubelet uses it, through gRPC and WebSockets.

mod checkpoint;
mod container;
mod exec;
mod limits;
mod mounts;
mod nginx;
mod pod;
mod security;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::command;
use crate::containerd::{BUSYBOX, Containerd, Test};
use crate::environment::{self, Daemon};

pub(crate) fn features() -> Vec<Test> {
    [
        pod::TESTS,
        container::TESTS,
        exec::TESTS,
        limits::TESTS,
        security::TESTS,
        mounts::TESTS,
        nginx::TESTS,
        checkpoint::TESTS,
    ]
    .concat()
}

/// Debian's Python, which has the modules that the client needs.
const PYTHON: &str = "/usr/bin/python3";

/// Why the client cannot run here, if so.
pub(crate) fn skip_reason() -> Option<String> {
    if !Path::new("/usr/lib/cni/bridge").exists() {
        return Some("containernetworking-plugins is not installed".to_owned());
    }
    let skip_reason = environment::missing_program(&["protoc", "ip", "python3"]);
    skip_reason.or_else(|| {
        let mut import = Command::new(PYTHON);
        import.args(["-c", "import grpc, websocket, google.protobuf"]);
        let output = command::run(&mut import);
        let last = output.stderr.lines().last().unwrap_or_default().to_owned();
        (output.status != 0).then(|| format!("python3 lacks a module: {last}"))
    })
}

/// The parent cgroup of a daemon's pods.
pub(crate) fn cgroup(name: &str) -> String {
    format!("{name}-cri")
}

/// The name of a daemon's bridge. Each daemon has its own, because two daemons could give the same address to pods.
fn bridge(network: u8) -> String {
    format!("rt{}-{network}", std::process::id())
}

/// Writes the CNI configuration of a daemon's bridge.
pub(crate) fn write_network(directory: &Path, network: u8) {
    let part = 64 + std::process::id() % 128;
    let subnet = format!("10.{part}.{network}.0/24");
    let conf = json!({
        "cniVersion": "0.4.0",
        "name": "rt",
        "plugins": [{
            "type": "bridge",
            "bridge": bridge(network),
            "isGateway": true,
            "ipam": {
                "type": "host-local",
                "dataDir": directory.join("ipam"),
                "ranges": [[{ "subnet": subnet }]],
            },
        }],
    });
    fs::create_dir_all(directory.join("cni")).unwrap();
    fs::write(directory.join("cni/10-rt.conflist"), conf.to_string()).unwrap();
}

pub(crate) fn remove_network(network: u8) {
    let mut ip = Command::new("ip");
    command::run_cleanup(ip.args(["link", "delete", &bridge(network)]));
}

/// The gRPC client `cri/client.py`, in the role of the kubelet.
pub(crate) struct Client {
    socket: PathBuf,
    _daemon: Daemon,
}

impl Client {
    pub(crate) fn start(containerd: &Containerd) -> Client {
        let [socket, api] = ["client", "api.pb"].map(|name| containerd.path().join(name));
        let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/cri");
        let mut protoc = Command::new("protoc");
        protoc
            .arg("-I")
            .arg(&vendor)
            .arg("--descriptor_set_out")
            .arg(&api);
        command::run(protoc.arg(vendor.join("api.proto"))).ok();
        let mut client = Command::new(PYTHON);
        client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/cri/client.py"));
        client.arg(&socket).arg(containerd.socket()).arg(&api);
        let daemon = Daemon::start(&client, containerd.path().join("client.log"));
        let client = Client {
            socket,
            _daemon: daemon,
        };
        command::wait_until("the CRI answers", 30, || {
            client.call("Version", json!({})).is_ok()
        });
        client
    }

    /// Calls a method of the CRI's RuntimeService. Messages are JSON.
    pub(crate) fn call(&self, name: &str, request: Value) -> Result<Value, String> {
        self.ask(&json!({ "call": format!("RuntimeService/{name}"), "request": request }))
    }

    #[track_caller]
    pub(crate) fn ok(&self, name: &str, request: Value) -> Value {
        let request_text = request.to_string();
        let answer = self.call(name, request);
        answer.unwrap_or_else(|error| panic!("{name} {request_text}: {error}"))
    }

    /// Opens a WebSocket stream, performs `steps`, and returns the output by channel number.
    pub(crate) fn stream(&self, url: &str, steps: &Value, first: u8) -> Result<Value, String> {
        self.ask(&json!({ "stream": url, "steps": steps, "first": first }))
    }

    fn ask(&self, request: &Value) -> Result<Value, String> {
        let context = |error| format!("{}: {error}", self.socket.display());
        let mut stream = UnixStream::connect(&self.socket).map_err(context)?;
        writeln!(stream, "{request}").map_err(context)?;
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .map_err(context)?;
        let mut answer: Value =
            serde_json::from_str(&line).map_err(|e| format!("{line:?}: {e}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["answer"].take()),
        }
    }
}

/// A pod. Dropping it stops and removes it.
pub(crate) struct Pod<'a> {
    pub(crate) daemon: &'a Containerd,
    pub(crate) id: String,
    config: Value,
}

impl<'a> Pod<'a> {
    /// A pod with the kubelet's defaults.
    #[track_caller]
    pub(crate) fn new(daemon: &'a Containerd, name: &str) -> Pod<'a> {
        Pod::with(daemon, name, json!({}))
    }

    /// A pod with additions to its PodSandboxConfig.
    #[track_caller]
    pub(crate) fn with(daemon: &'a Containerd, name: &str, more: Value) -> Pod<'a> {
        let mut config = json!({
            "metadata": { "name": name, "uid": name, "namespace": "tests" },
            "hostname": name.replace('_', "-"),
            "log_directory": daemon.scratch(name),
            "linux": {
                "cgroup_parent": daemon.pod_parent(),
                "security_context": { "namespace_options": { "pid": "CONTAINER" } },
            },
        });
        merge(&mut config, more);
        let answer = client(daemon).ok("RunPodSandbox", json!({ "config": config }));
        let id = answer["pod_sandbox_id"].as_str().unwrap().to_owned();
        Pod { daemon, id, config }
    }

    #[track_caller]
    pub(crate) fn call(&self, name: &str, mut request: Value) -> Value {
        request["pod_sandbox_id"] = self.id.clone().into();
        client(self.daemon).ok(name, request)
    }

    pub(crate) fn status(&self) -> Value {
        self.call("PodSandboxStatus", json!({}))["status"].take()
    }

    pub(crate) fn address(&self) -> String {
        self.status()["network"]["ip"].as_str().unwrap().to_owned()
    }

    /// Creates a container, with additions to its ContainerConfig.
    ///
    /// # Errors
    /// The message of containerd, when it refuses.
    pub(crate) fn create(&self, name: &str, more: Value) -> Result<Container<'a>, String> {
        let mut config = json!({
            "metadata": { "name": name },
            "image": { "image": BUSYBOX },
            "log_path": format!("{name}.log"),
            "linux": { "security_context": { "namespace_options": { "pid": "CONTAINER" } } },
        });
        merge(&mut config, more);
        let request = json!({
            "pod_sandbox_id": self.id,
            "config": config,
            "sandbox_config": self.config,
        });
        let answer = client(self.daemon).call("CreateContainer", request)?;
        let log = Path::new(self.config["log_directory"].as_str().unwrap());
        Ok(Container {
            daemon: self.daemon,
            id: answer["container_id"].as_str().unwrap().to_owned(),
            log: log.join(format!("{name}.log")),
        })
    }

    /// Creates and starts a container.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, more: Value) -> Container<'a> {
        let container = self.create(name, more).unwrap_or_else(|e| panic!("{e}"));
        container.call("StartContainer", json!({}));
        container
    }

    /// Starts a container that sleeps.
    #[track_caller]
    pub(crate) fn idle(&self, more: Value) -> Container<'a> {
        self.run("idle", more)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        for call in ["StopPodSandbox", "RemovePodSandbox"] {
            let _ = client(self.daemon).call(call, json!({ "pod_sandbox_id": self.id }));
        }
    }
}

/// A container. It is removed with its pod.
pub(crate) struct Container<'a> {
    daemon: &'a Containerd,
    pub(crate) id: String,
    log: PathBuf,
}

/// The result of a process in a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExecResult {
    pub(crate) status: i64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Container<'_> {
    pub(crate) fn try_call(&self, name: &str, mut request: Value) -> Result<Value, String> {
        request["container_id"] = self.id.clone().into();
        client(self.daemon).call(name, request)
    }

    #[track_caller]
    pub(crate) fn call(&self, name: &str, request: Value) -> Value {
        self.try_call(name, request)
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn status(&self) -> Value {
        self.call("ContainerStatus", json!({}))["status"].take()
    }

    pub(crate) fn state(&self) -> String {
        self.status()["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits for the container's end and returns its exit status.
    #[track_caller]
    pub(crate) fn wait(&self) -> i64 {
        command::wait_until("the container ends", 30, || {
            self.state() == "CONTAINER_EXITED"
        });
        self.status()["exit_code"].as_i64().unwrap()
    }

    /// The pid of the container's process on the host.
    pub(crate) fn pid(&self) -> u32 {
        let answer = self.call("ContainerStatus", json!({ "verbose": true }));
        let info: Value = serde_json::from_str(answer["info"]["info"].as_str().unwrap()).unwrap();
        info["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// ExecSync. `timeout` is in seconds; 0 means none.
    pub(crate) fn exec(&self, args: &[&str], timeout: u32) -> Result<ExecResult, String> {
        let answer = self.try_call("ExecSync", json!({ "cmd": args, "timeout": timeout }))?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Ok(ExecResult {
            status: answer["exit_code"].as_i64().unwrap_or(-1),
            stdout: text("stdout"),
            stderr: text("stderr"),
        })
    }

    /// Runs a shell script and returns its output. Panics unless it succeeds.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let ran = self
            .exec(&["sh", "-c", script], 30)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ran.status, 0, "{script}: {ran:?}");
        ran.stdout.trim().to_owned()
    }

    /// Runs a shell script and returns its standard error. Panics if it succeeds.
    #[track_caller]
    pub(crate) fn sh_fails(&self, script: &str) -> String {
        let ran = self
            .exec(&["sh", "-c", script], 30)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_ne!(ran.status, 0, "{script}: {ran:?}");
        ran.stderr
    }

    /// A field of /proc/1/status in the container.
    #[track_caller]
    pub(crate) fn proc_status(&self, line: &str) -> String {
        let seen = self.sh(&format!("grep {line}: /proc/1/status"));
        seen.split_whitespace().nth(1).unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Opens a stream: `Exec` or `Attach`.
    #[track_caller]
    pub(crate) fn stream(&self, call: &str, request: Value, steps: &Value) -> Value {
        let answer = self.call(call, request);
        let url = answer["url"].as_str().unwrap();
        let output = client(self.daemon).stream(url, steps, 0);
        output.unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

fn client(daemon: &Containerd) -> &Client {
    daemon.cri.as_ref().expect("the client of a selected test")
}

/// Merges `more` into `config`, recursively.
fn merge(config: &mut Value, more: Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                merge(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, more) => *config = more,
    }
}
