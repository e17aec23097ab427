//! The example of a whole service: a page from a container on a bridge, at a port of the host.

use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::Host;
use crate::harness::{needs, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![the_example_serves_a_page_until_ctrl_c]
}

/// What of the host must be as before.
const SHOW: &str = "ip -details link | grep -v 'tx queue' && ip -4 route show table all && ip -6 route show table all \
    && ip address && nft list ruleset && ls -A /run/rt 2>/dev/null; cat /proc/sys/net/ipv4/ip_forward";

fn the_example_serves_a_page_until_ctrl_c() {
    needs("perl", "perl-base");
    let host = Host::with_nft();
    let before = host.sh(SHOW);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web");
    let run = host.runtime().call(&["run", example.to_str().unwrap()]);
    let running = run.start();
    running.wait_for("http://127.0.0.1:8080");
    let ask = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let page = host.sh(&format!("bash -c {ask:?}"));
    assert!(page.contains("200 OK"), "{page}");
    assert!(page.contains("Served from a container"), "{page}");
    kill(Pid::from_raw(running.pid()), Signal::SIGINT).unwrap();
    running.wait().assert_code(128 + Signal::SIGINT as i32);
    host.assert_clean();
    assert_eq!(host.sh(SHOW), before);
}
