//! `checkpoint` and `restore`, with the CRIU that is installed.

mod attributes;
mod bundles;
mod flags;
mod hostile;
mod killed;
mod life;
mod memory;
mod root;
mod stricter;
mod terminal;

use std::fs;
use std::io::{PipeReader, Read, pipe};
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::json;

use crate::harness::{Bundle, Call, Container, Directory, Kind, Outcome, needs, skip, wait_until};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    let all = [
        life::tests(),
        attributes::tests(),
        bundles::tests(),
        flags::tests(),
        hostile::tests(),
        killed::tests(),
        terminal::tests(),
        memory::tests(),
        root::tests(),
        stricter::tests(),
    ];
    all.into_iter().flatten().collect()
}

/// CRIU depends on details of the kernel: a version older than the kernel often does not work.
fn needs_criu() {
    needs("criu", "criu");
    let check = Command::new("criu").arg("check").output().unwrap();
    if !String::from_utf8_lossy(&check.stdout).contains("Looks good") {
        skip("the installed CRIU does not work with this kernel");
    }
}

/// CRIU mounts cgroup v2 without options, and the host loses them: with runc always, with `rt` if that is
/// killed before it puts them back. Tests of both begin without them, so that they can compare the rest.
fn reset_options_of_cgroup_v2() {
    let mount = "mount -t cgroup2 none /mnt";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", mount])
        .status();
    assert!(status.unwrap().success());
}

/// Whether a restored process has no_new_privs again: since CRIU 3.19.
fn restores_no_new_privs() -> bool {
    let version = Command::new("criu").arg("--version").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = version
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("Version: ");
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next(), parts.next()) >= (Some(3), Some(19))
}

/// A container that counts, writes each number to an open file of the host, and prints nothing.
pub(crate) struct Counter {
    pub(crate) bundle: Bundle,
    /// On the host, bound to /data.
    files: Directory,
    /// The readers of the standard streams, which have to stay open.
    streams: Vec<PipeReader>,
}

/// Counts from where it is, without any system call that a restore could interrupt.
const COUNT: &str = "exec 3>>/data/log; i=0; while :; do i=$((i+1)); echo $i >&3; \
                     j=0; while [ $j -lt 2000 ]; do j=$((j+1)); done; done";

impl Counter {
    pub(crate) fn new(bundle: Bundle) -> Counter {
        needs_criu();
        if Kind::under_test() == Kind::Runc {
            reset_options_of_cgroup_v2();
        }
        let files = Directory::new();
        let bundle = bundle
            .folder("data")
            .sh(COUNT)
            .bind(files.path(), "/data", &["bind"])
            .set("/process/noNewPrivileges", json!(restores_no_new_privs()));
        Counter {
            bundle,
            files,
            streams: Vec::new(),
        }
    }

    /// Runs a call with pipes for output, because CRIU refuses files of the host unless they are
    /// the same, with the same size.
    fn run_piped(&mut self, call: Call) -> Outcome {
        let outcome = self.piped(call).run();
        let errors = self.streams.last_mut().unwrap();
        // The container's process may still have the other end.
        fcntl(&*errors, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut text = Vec::new();
        let _would_block = errors.read_to_end(&mut text);
        outcome.with_stderr(String::from_utf8(text).unwrap())
    }

    /// Gives a call new pipes for output and errors.
    fn piped(&mut self, call: Call) -> Call {
        let (output, output_end) = pipe().unwrap();
        let (errors, errors_end) = pipe().unwrap();
        self.streams.extend([output, errors]);
        call.with(|command| command.stdout(output_end).stderr(errors_end))
    }

    /// Starts it and waits until it counts.
    #[track_caller]
    pub(crate) fn start(&mut self) -> Container {
        let call = self.bundle.call("run", &["--detach"]);
        self.run_piped(call).assert_ok();
        self.wait_for_more();
        self.bundle.container()
    }

    fn images(&self) -> PathBuf {
        self.bundle.runtime().home().join("images")
    }

    /// The call of `checkpoint`, with the images in [`Counter::images`].
    pub(crate) fn checkpoint(&self, flags: &[&str]) -> Outcome {
        self.checkpoint_to("images", flags)
    }

    fn checkpoint_to(&self, name: &str, flags: &[&str]) -> Outcome {
        self.checkpoint_call(&[], name, flags).run()
    }

    /// The call of `checkpoint` through a program that starts the runtime.
    fn checkpoint_call(&self, before: &[&str], name: &str, flags: &[&str]) -> Call {
        let images = self.bundle.runtime().home().join(name);
        let mut args = vec!["checkpoint", "--image-path", images.to_str().unwrap()];
        args.extend(flags);
        args.push(self.bundle.id());
        self.bundle.runtime().call_through(before, &args)
    }

    /// The call of `restore`, detached.
    pub(crate) fn restore(&mut self, flags: &[&str]) -> Outcome {
        self.restore_from("images", flags)
    }

    fn restore_from(&mut self, name: &str, flags: &[&str]) -> Outcome {
        let call = self.restore_call(&[], name, flags);
        self.run_piped(call)
    }

    /// The call of `restore` through a program that starts the runtime.
    fn restore_call(&self, before: &[&str], name: &str, flags: &[&str]) -> Call {
        self.bundle.write();
        let images = self.bundle.runtime().home().join(name);
        let work = self.bundle.runtime().home().join("work");
        let mut args = vec![
            "restore",
            "--detach",
            "--image-path",
            images.to_str().unwrap(),
        ];
        args.extend(["--work-path", work.to_str().unwrap()]);
        args.extend(["--bundle", self.bundle.path().to_str().unwrap()]);
        args.extend(flags);
        args.push(self.bundle.id());
        self.bundle.runtime().call_through(before, &args)
    }

    /// Waits for a container that another process restores.
    #[track_caller]
    fn wait_running(&self) {
        wait_until("the container", || {
            let call = ["state", self.bundle.id()];
            let state = self.bundle.runtime().call(&call).run();
            state.stdout.contains("running")
        });
    }

    /// As with runc, a checkpoint removes the container.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        let state = self
            .bundle
            .runtime()
            .call(&["state", self.bundle.id()])
            .run();
        assert!(
            state.code() != 0 && state.stderr.contains("does not exist"),
            "{state}"
        );
    }

    /// Checkpoints and restores it.
    #[track_caller]
    fn round(&mut self) {
        self.checkpoint(&[]).assert_ok();
        self.assert_gone();
        self.restore(&[]).assert_ok();
        self.wait_for_more();
    }

    /// The numbers so far, which must be all from 1 on.
    #[track_caller]
    fn numbers(&self) -> usize {
        let text = fs::read_to_string(self.files.join("log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let numbers: Vec<usize> = whole.lines().map(|line| line.parse().unwrap()).collect();
        let expected: Vec<usize> = (1..=numbers.len()).collect();
        assert_eq!(numbers, expected);
        numbers.len()
    }

    /// Waits until it has counted on.
    #[track_caller]
    pub(crate) fn wait_for_more(&self) {
        let before = self.numbers();
        wait_until("the counter", || self.numbers() > before + 2);
    }
}

fn in_user_namespace(bundle: Bundle) -> Bundle {
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let bundle = bundle.namespace("user", None);
    let bundle = bundle.set("/linux/uidMappings", map.clone());
    bundle.set("/linux/gidMappings", map)
}
