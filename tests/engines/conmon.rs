//! The calls of CRI-O. Debian has no CRI-O, but it has conmon, through which CRI-O creates containers; for
//! everything else CRI-O calls the runtime directly.

mod calls;
mod start;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Arguments;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use serde_json::{Value, json};

use crate::cgroups;
use crate::command::{self, CommandOutput};
use crate::environment::{self, Directory, Runtime};
use crate::feature::{self, Feature};
use crate::image;

/// A test's name and its function.
type Test = (&'static str, fn(&Environment));

/// A script that sleeps. The second command keeps the shell from replacing itself with `sleep`.
const IDLE: &str = "sleep 1000; true";

pub(crate) fn features(arguments: &Arguments) -> Vec<Feature> {
    let skip_reason =
        feature::skip_reason().or_else(|| environment::missing_program(&["conmon", "runc"]));
    let all = [start::TESTS, calls::TESTS].concat();
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let wanted = skip_reason.is_none() && feature::is_wanted(arguments, "conmon", &names);
    let environments = wanted.then(|| Arc::new(Runtime::BOTH.map(Environment::new)));
    let feature = |&(name, test): &Test| {
        let environments = environments.clone();
        Feature {
            name: format!("conmon::{name}"),
            run: Box::new(move |runtime| {
                let environments = environments
                    .as_ref()
                    .expect("the environment of a selected test");
                test(
                    environments
                        .iter()
                        .find(|env| env.runtime == runtime)
                        .unwrap(),
                );
            }),
            skip_reason: skip_reason.clone(),
        }
    };
    all.iter().map(feature).collect()
}

/// The root file system, the bundles and the state of the containers of one runtime.
struct Environment {
    runtime: Runtime,
    directory: Directory,
}

impl Environment {
    fn new(runtime: Runtime) -> Environment {
        let directory = Directory::new(&format!("cm-{}", runtime.name()));
        image::busybox(&directory.join("rootfs"));
        for name in ["root", "exits", "attach"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        Environment { runtime, directory }
    }

    /// `RUNTIME --root DIRECTORY ARGS`, as CRI-O calls it.
    fn runtime(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.runtime.path());
        command
            .arg("--root")
            .arg(self.directory.join("root"))
            .args(args);
        command
    }

    fn call(&self, args: &[&str]) -> CommandOutput {
        command::run(&mut self.runtime(args))
    }

    /// A bundle whose process runs a shell script.
    fn bundle(&self, id: &str, script: &str, terminal: bool) -> PathBuf {
        let bundle = self.directory.join(id);
        fs::create_dir_all(&bundle).unwrap();
        command::run(
            Command::new(self.runtime.path())
                .arg("spec")
                .current_dir(&bundle),
        )
        .ok();
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["process"]["terminal"] = terminal.into();
        config["root"] = json!({ "path": self.directory.join("rootfs"), "readonly": true });
        config["linux"]["cgroupsPath"] = format!("/{}/{id}", self.parent()).into();
        let tmp = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" });
        config["mounts"].as_array_mut().unwrap().push(tmp);
        fs::write(&file, config.to_string()).unwrap();
        bundle
    }

    fn parent(&self) -> String {
        format!("rt-conmon-{}-{}", std::process::id(), self.runtime.name())
    }

    /// A conmon command. conmon waits for a byte on descriptor 4 and reports the result as JSON on descriptor 3,
    /// which is the file `report` of the bundle.
    fn conmon(&self, bundle: &Path, id: &str, report: &str, more: &[&str]) -> Command {
        let start = bundle.join("start");
        fs::write(&start, [0]).unwrap();
        let script = r#"exec conmon "$@" 3>"$REPORT" 4<"$START""#;
        let mut conmon = Command::new("sh");
        conmon.args(["-c", script, "conmon"]);
        conmon
            .env("REPORT", bundle.join(report))
            .env("START", start);
        conmon.env("_OCI_SYNCPIPE", "3").env("_OCI_STARTPIPE", "4");
        conmon
            .arg("-b")
            .arg(bundle)
            .args(["-c", id, "-n", id, "-u", id]);
        conmon.arg("--exit-dir").arg(self.directory.join("exits"));
        conmon
            .arg("-l")
            .arg(bundle.join(format!("{report}.log")))
            .args(["--log-level", "info"]);
        conmon
            .arg("-P")
            .arg(bundle.join(format!("{report}.conmon-pid")));
        conmon.arg("-p").arg(bundle.join(format!("{report}.pid")));
        conmon.arg("--persist-dir").arg(bundle);
        conmon.arg("-r").arg(self.runtime.path());
        let root = format!("--root={}", self.directory.join("root").display());
        conmon.args(["--runtime-arg", &root]);
        conmon
            .arg("--socket-dir-path")
            .arg(self.directory.join("attach"));
        conmon.args(more);
        conmon
    }

    /// Creates a container through conmon and starts it.
    fn start(&self, id: &str, script: &str, more: &[&str]) -> Container<'_> {
        let container = self.create(id, script, more);
        assert!(
            container.pid() > 0,
            "{:?}",
            read_report(&container.bundle.join("report"))
        );
        self.call(&["start", id]).ok();
        container
    }

    fn create(&self, id: &str, script: &str, more: &[&str]) -> Container<'_> {
        let bundle = self.bundle(id, script, more.contains(&"-t"));
        command::run(&mut self.conmon(&bundle, id, "report", more)).ok();
        let id = id.to_owned();
        Container {
            env: self,
            id,
            bundle,
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        cgroups::remove(&self.parent());
    }
}

/// The last line of JSON that conmon has written.
fn read_report(file: &Path) -> Value {
    let mut line = String::new();
    command::wait_until("conmon reports", 20, || {
        line = fs::read_to_string(file).unwrap_or_default();
        line.ends_with('\n')
    });
    serde_json::from_str(line.lines().next_back().unwrap()).unwrap()
}

/// A container. Dropping it deletes it.
struct Container<'a> {
    env: &'a Environment,
    id: String,
    bundle: PathBuf,
}

impl Container<'_> {
    /// The pid that conmon has reported, under the key of either conmon version.
    fn pid(&self) -> i64 {
        let pid = read_report(&self.bundle.join("report"))["data"].as_i64();
        pid.or_else(|| read_report(&self.bundle.join("report"))["pid"].as_i64())
            .unwrap()
    }

    fn status(&self) -> String {
        let state = self.env.call(&["state", &self.id]).ok();
        let state: Value = serde_json::from_str(&state).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// Waits for conmon's exit file and returns the exit status in it.
    fn exit_status(&self) -> i32 {
        let file = self.env.directory.join("exits").join(&self.id);
        command::wait_until("the exit file exists", 20, || file.exists());
        fs::read_to_string(file).unwrap().parse().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bundle.join("report.log")).unwrap_or_default()
    }

    /// Writes a process specification for `exec --process`.
    fn write_process(&self, name: &str, args: &[&str], terminal: bool) -> String {
        let file = self.bundle.join(name);
        let process = json!({
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin"],
            "terminal": terminal,
            "user": { "uid": 0, "gid": 0 },
        });
        fs::write(&file, process.to_string()).unwrap();
        file.display().to_string()
    }

    /// Connects to conmon's attach socket.
    fn attach(&self, id: &str) -> OwnedFd {
        let place = self.env.directory.join("attach").join(id).join("attach");
        let kind = SockType::SeqPacket;
        let end = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        command::wait_until("conmon listens", 10, || {
            UnixAddr::new(&place).is_ok_and(|place| connect(end.as_raw_fd(), &place).is_ok())
        });
        let limit = TimeVal::seconds(60);
        setsockopt(&end, sockopt::ReceiveTimeout, &limit).unwrap();
        end
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.env.call(&["delete", "--force", &self.id]);
    }
}

/// Reads from the attach socket until the output contains `text`.
fn expect(end: &OwnedFd, text: &str) {
    let mut output = String::new();
    while !output.contains(text) {
        let mut packet = [0; 8193];
        let count = recv(end.as_raw_fd(), &mut packet, MsgFlags::empty());
        let count = count.unwrap_or_else(|e| panic!("no {text:?} in {output:?}: {e}"));
        assert!(count > 0, "no {text:?} in {output:?}");
        output += &String::from_utf8_lossy(&packet[1..count]);
    }
}

fn send_text(end: &OwnedFd, text: &str) {
    send(end.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
}
