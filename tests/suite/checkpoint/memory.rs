//! Memory that goes over the network, at once or when it is used, and pages of earlier images.

use std::fs;
use std::io::{Read, pipe};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Counter;
use crate::harness::{
    Bundle, HostState, Kind, Running, differs, skip, trials, wait_until, withheld_capabilities,
};
use crate::runner::Test;

pub(super) fn tests() -> Vec<Test> {
    trials![
        a_page_server_receives_the_memory,
        the_memory_is_fetched_when_it_is_used,
        pages_of_a_pre_dump_that_are_written_again_are_removed,
    ]
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A command of CRIU that runs beside. It is killed at the end if it still runs.
struct Beside(Child);

impl Beside {
    fn start(images: &Path, arguments: &[&str]) -> Beside {
        let mut command = Command::new("criu");
        command.args(arguments).arg("--images-dir").arg(images);
        let command = command.args(["--log-file", "beside.log"]);
        let streams = command.stdin(Stdio::null()).stdout(Stdio::null());
        Beside(streams.stderr(Stdio::null()).spawn().unwrap())
    }

    #[track_caller]
    fn assert_ended(mut self) {
        wait_until("the end of criu", || self.0.try_wait().unwrap().is_some());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A connection would be the only one that it serves.
fn wait_for_listener(port: u16) {
    let listens = format!("0100007F:{port:04X} 00000000:0000 0A");
    wait_until("the page server", || {
        fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&listens)
    });
}

fn has_pages(images: &Path) -> bool {
    let mut names = fs::read_dir(images).unwrap().flatten();
    names.any(|entry| entry.file_name().to_str().unwrap().starts_with("pages-"))
}

fn a_page_server_receives_the_memory() {
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    let (received, port) = (
        counter.bundle.runtime().home().join("received"),
        free_port(),
    );
    fs::create_dir(&received).unwrap();
    let number = port.to_string();
    let server = ["page-server", "--address", "127.0.0.1", "--port", &number];
    let server = Beside::start(&received, &server);
    wait_for_listener(port);
    let address = format!("127.0.0.1:{port}");
    counter.checkpoint(&["--page-server", &address]).assert_ok();
    counter.assert_gone();
    server.assert_ended();
    assert!(!has_pages(&counter.images()));
    assert!(has_pages(&received));
    for entry in fs::read_dir(&received).unwrap().flatten() {
        fs::copy(entry.path(), counter.images().join(entry.file_name())).unwrap();
    }
    counter.restore(&[]).assert_ok();
    counter.wait_for_more();
}

/// CRIU serves the memory through a pipe of 4 MiB.
fn has_no_large_pipes() -> bool {
    let limit = fs::read_to_string("/proc/sys/fs/pipe-max-size").unwrap();
    let is_small = limit.trim().parse::<u64>().unwrap() < 4 << 20;
    is_small && withheld_capabilities().contains("CAP_SYS_RESOURCE")
}

/// The container is restored under another name, because the first one ends when its memory has been
/// fetched.
fn the_memory_is_fetched_when_it_is_used() {
    let mut counter = Counter::new(Bundle::new());
    let check = Command::new("criu")
        .args(["check", "--feature", "uffd-noncoop"])
        .output();
    if !check.is_ok_and(|check| check.status.success()) {
        skip("this kernel cannot restore memory later (userfaultfd(2))");
    }
    differs(
        Kind::Runc,
        "leaves the cgroup of the container whose memory is fetched",
    );
    if has_no_large_pipes() {
        skip("the largest pipe is too small for CRIU (fs.pipe-max-size) without CAP_SYS_RESOURCE");
    }
    let before = HostState::of(&counter.bundle);
    counter.start();
    let port = free_port();
    let checkpoint = serve_memory(&counter, port);
    let work = counter.bundle.runtime().home().join("work");
    fs::create_dir(&work).unwrap();
    let port = port.to_string();
    let fetcher = "lazy-pages --page-server --address 127.0.0.1 --port";
    let mut fetcher: Vec<&str> = fetcher.split(' ').collect();
    fetcher.extend([&port, "-W", work.to_str().unwrap()]);
    let fetcher = Beside::start(&counter.images(), &fetcher);
    let socket = work.join("lazy-pages.socket");
    wait_until("criu lazy-pages", || socket.exists());
    let first = counter.bundle.id().to_owned();
    counter.bundle = counter.bundle.with_id(&format!("{first}-second"));
    counter.restore(&["--lazy-pages"]).assert_ok();
    counter.wait_for_more();
    fetcher.assert_ended();
    checkpoint.wait().assert_ok();
    counter.wait_for_more();
    counter.bundle.container().delete_force().assert_ok();
    counter.bundle = counter.bundle.with_id(&first);
    counter.assert_gone();
    before.assert_unchanged(&counter.bundle);
}

/// A checkpoint that waits for somebody to fetch the memory.
fn serve_memory(counter: &Counter, port: u16) -> Running {
    let (mut status, status_end) = pipe().unwrap();
    fcntl(&status_end, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let (number, server) = (
        status_end.as_raw_fd().to_string(),
        format!("127.0.0.1:{port}"),
    );
    let mut flags = vec!["--lazy-pages", "--status-fd", &number];
    flags.extend(["--page-server", &server]);
    let checkpoint = counter.checkpoint_call(&[], "images", &flags).start();
    drop(status_end);
    let mut told = [1];
    let read = status.read_exact(&mut told);
    read.unwrap_or_else(|e| panic!("no byte on --status-fd: {e}; {}", checkpoint.stderr()));
    assert_eq!(told, [0]);
    checkpoint
}

fn pages_of_a_pre_dump_that_are_written_again_are_removed() {
    let mut counter = Counter::new(Bundle::new());
    counter.start();
    let first = counter.checkpoint_to("first", &["--pre-dump"]);
    if first.stderr.contains("missing features") || first.stderr.contains("CONFIG_MEM_SOFT_DIRTY") {
        skip("the installed CRIU does not work with this kernel");
    }
    first.assert_ok();
    let pages = counter.bundle.runtime().home().join("first/pages-1.img");
    let blocks = || fs::metadata(&pages).unwrap().blocks();
    let before = blocks();
    counter.wait_for_more();
    let flags = ["--parent-path", "../first", "--auto-dedup"];
    counter.checkpoint(&flags).assert_ok();
    assert!(blocks() < before, "{} of {before} blocks", blocks());
    counter.assert_gone();
    counter.restore(&["--auto-dedup"]).assert_ok();
    counter.wait_for_more();
}
