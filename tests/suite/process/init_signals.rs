//! Signals, stops and job control below the init of `rt.init`.

use crate::runner::Test;
use serde_json::json;

use super::init::with_init;
use crate::harness::{Bundle, Container, alive, stat, trials, wait_until};
use crate::terminal::Session;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        every_signal_reaches_the_process,
        a_signal_that_the_process_handles_does_not_end_it,
        a_stop_and_a_continue_are_passed_on,
        a_shell_on_a_terminal_controls_its_jobs,
        the_keys_of_a_terminal_reach_a_process_without_a_shell,
        a_terminal_that_hangs_up_ends_the_process,
    ]
}

/// Those that end a process by default, including the real-time signals.
fn every_signal_reaches_the_process() {
    let left_out = [
        // The C library of the tests makes what they start ignore these.
        32,
        33,
        // Their default is not to end the process.
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    let fatal = (1..=64).filter(|number| !left_out.contains(number));
    for number in fatal {
        let limits = json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]);
        let bundle = with_init(Bundle::new()).set("/process/rlimits", limits);
        let bundle = bundle.sh("echo up; exec sleep 1000");
        let running = bundle.call("run", &[]).start();
        running.wait_for("up");
        bundle.container().kill(&number.to_string()).assert_ok();
        drop(running.wait().assert_code(128 + number));
    }
}

fn a_signal_that_the_process_handles_does_not_end_it() {
    let script = "for one in HUP TERM USR1 WINCH URG CONT; do trap \"echo got $one\" $one; done
        echo up; sleep 1000 & while :; do wait $!; done";
    let bundle = with_init(Bundle::new()).sh(script);
    let container = bundle.run_detached();
    container.wait_for("up");
    for signal in ["HUP", "TERM", "USR1", "WINCH", "URG", "CONT"] {
        container.kill(signal).assert_ok();
        container.wait_for(&format!("got {signal}\n"));
    }
}

fn a_stop_and_a_continue_are_passed_on() {
    let bundle = with_init(Bundle::new()).sh("echo up; exec sleep 1000");
    let container = bundle.run_detached();
    container.wait_for("up");
    let process = child_of(&container);
    for signal in ["TSTP", "TTIN", "TTOU"] {
        container.kill(signal).assert_ok();
        wait_until("the process to stop", || state(process) == 'T');
        assert_eq!(container.status(), "running");
        container.kill("CONT").assert_ok();
        wait_until("the process to continue", || state(process) == 'S');
    }
    // A stop from inside, which nothing passed on.
    let exec = container.call("exec", &["/bin/sh", "-c", "kill -TSTP 2"]);
    exec.assert_ok();
    container.kill("USR1").assert_ok();
    container.wait_stopped();
    assert!(!alive(process));
}

fn with_terminal() -> Bundle {
    with_init(Bundle::new()).set("/process/terminal", json!(true))
}

/// The job announces each state in which the next key may come.
const JOB: &str = "#!/bin/sh
n=0
trap 'n=$((n + 1)); echo continued $n' CONT
echo started
sleep 1000 &
while :; do wait $!; done
";

fn a_shell_on_a_terminal_controls_its_jobs() {
    let bundle = with_terminal().executable("job", JOB).args(&["/bin/sh"]);
    let mut session = Session::start(&bundle);
    let terminal = &mut session.terminal;
    for (keys, said) in [
        ("/job\r", "started\n"),
        ("\x1a", "Stopped"),
        ("bg\r", "continued 1\n"),
        ("jobs\r", "Running"),
        ("fg\r", "continued 2\n"),
        ("\x03", ""),
        ("echo sta''tus $?\r", "status 130\n"),
    ] {
        terminal.type_keys(keys);
        terminal.expect(said);
    }
    terminal.type_keys("exit 5\r");
    session.assert_end(5);
}

/// Without a shell nothing could continue a stopped process, so ^Z does not stop it for good.
fn the_keys_of_a_terminal_reach_a_process_without_a_shell() {
    let bundle = with_terminal().sh(
        "trap 'echo continued' CONT; trap 'echo interrupted; exit 4' INT
        echo up; sleep 1000 & while :; do wait $!; done",
    );
    let mut session = Session::start(&bundle);
    session.terminal.expect("up");
    session.terminal.type_keys("\x1a");
    session.terminal.expect("continued");
    session.terminal.type_keys("\x03");
    session.terminal.expect("interrupted");
    session.assert_end(4);
}

fn a_terminal_that_hangs_up_ends_the_process() {
    let bundle = with_terminal().sh("echo up; exec sleep 1000");
    let mut session = Session::start(&bundle);
    session.terminal.expect("up");
    let process = child_of(&bundle.container());
    session.hang_up();
    wait_until("the process to end", || !alive(process));
}

/// The pid on the host of the process, the only child of PID 1.
fn child_of(container: &Container) -> i32 {
    let pid = container.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.unwrap().trim().parse().unwrap()
}

fn state(pid: i32) -> char {
    stat(pid, 3).unwrap_or('?')
}
