//! A bus that refuses, answers garbage, falls silent or ends: one line, and nothing is left.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use serde_json::json;

use crate::harness::{Bundle, HostState, Outcome, only_in_the_matrix, only_rt, trials};
use crate::runner::Test;

pub(crate) fn tests() -> Vec<Test> {
    trials![
        a_bus_that_fails_leaves_nothing,
        a_bus_that_never_answers_is_given_up,
        a_property_that_could_run_programs_is_refused,
        without_systemd_a_container_is_refused_with_a_remedy,
    ]
}

/// What the bus does at one of the calls. It answers those before.
#[derive(Clone, Copy)]
enum Fault {
    /// It ends the connection.
    Ends,
    Garbage,
    Refuses,
    /// It says nothing more, until the other end gives up.
    Silent,
    /// The job of the scope ends with this result.
    Result(&'static str),
}

/// Runs the bundle with a bus that fails, and returns the line of the error.
fn refusal(bundle: &Bundle, call: &'static str, fault: Fault) -> String {
    let socket = bundle.runtime().home().join(format!("bus-{call}"));
    drop(std::fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            // The runtime may end the connection at any time.
            let _ = connection.and_then(|connection| serve(connection, call, fault));
        }
    });
    let address = format!("unix:path={}", socket.display());
    let outcome = run(bundle, &address);
    outcome.assert_code(1).one_line().to_owned()
}

fn run(bundle: &Bundle, address: &str) -> Outcome {
    let path = bundle.path().to_str().unwrap();
    let args = ["--systemd-cgroup", "run", "-b", path, bundle.id()];
    let call = bundle.runtime().call(&args);
    call.with(|command| command.env("DBUS_SYSTEM_BUS_ADDRESS", address))
        .run()
}

fn a_bus_that_fails_leaves_nothing() {
    only_rt("the messages are those of rt");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    bundle.write();
    let before = HostState::of(&bundle);
    for (call, fault, expected) in [
        ("AUTH", Fault::Ends, "closed the connection"),
        ("AUTH", Fault::Garbage, "is no line of D-Bus"),
        ("AUTH", Fault::Refuses, "refused: REJECTED"),
        ("Hello", Fault::Ends, "closed the connection"),
        ("Hello", Fault::Garbage, "no message of D-Bus"),
        ("Hello", Fault::Refuses, "Hello: org.example.No: not today"),
        (
            "AddMatch",
            Fault::Refuses,
            "AddMatch: org.example.No: not today",
        ),
        ("Get", Fault::Refuses, "property Version: not today"),
        ("Get", Fault::Garbage, "no message of D-Bus"),
        ("StartTransientUnit", Fault::Ends, "closed the connection"),
        ("StartTransientUnit", Fault::Garbage, "no message of D-Bus"),
        (
            "StartTransientUnit",
            Fault::Refuses,
            "scope: not today; systemctl status runc-",
        ),
        ("JobRemoved", Fault::Ends, "closed the connection"),
        (
            "JobRemoved",
            Fault::Result("failed"),
            "the job has ended with \"failed\"",
        ),
        (
            "JobRemoved",
            Fault::Result("done"),
            "systemd has made no cgroup",
        ),
    ] {
        let line = refusal(&bundle, call, fault);
        assert!(line.contains(expected), "{call}: {line}");
        assert!(line.contains("linux.cgroupsPath: "), "{call}: {line}");
    }
    before.assert_unchanged(&bundle);
}

fn a_bus_that_never_answers_is_given_up() {
    only_in_the_matrix(); // Each call waits for 30 s.
    only_rt("the messages are those of rt");
    let bundle = Bundle::new().args(&["/probe", "sleep"]);
    bundle.write();
    let before = HostState::of(&bundle);
    for call in ["AUTH", "StartTransientUnit", "JobRemoved"] {
        let line = refusal(&bundle, call, Fault::Silent);
        assert!(line.contains("no answer after 30 s"), "{call}: {line}");
    }
    before.assert_unchanged(&bundle);
}

/// CVE-2024-3154. Nothing is asked of systemd but its version.
fn a_property_that_could_run_programs_is_refused() {
    only_rt("runc passes every property");
    for name in ["ExecStartPre", "User", "Environment", "DeviceAllow"] {
        let key = format!("org.systemd.property.{name}");
        let bundle = Bundle::new().set("/annotations", json!({ &key: "'x'" }));
        bundle.write();
        let line = refusal(&bundle, "StartTransientUnit", Fault::Refuses);
        let expected = format!("annotations: {key}: not passed to systemd");
        assert!(line.contains(&expected), "{line}");
    }
}

fn without_systemd_a_container_is_refused_with_a_remedy() {
    only_rt("the message is that of rt");
    let bundle = Bundle::new();
    bundle.write();
    let outcome = run(&bundle, "unix:path=/nonexistent/bus");
    let outcome = outcome.assert_code(1);
    let expected = "linux.cgroupsPath: systemd: connect to unix:path=/nonexistent/bus: ";
    let line = outcome.one_line();
    assert!(line.contains(expected), "{outcome}");
    assert!(
        line.ends_with("--cgroup-manager cgroupfs works without it"),
        "{outcome}"
    );
}

/// Answers calls until the fault.
fn serve(mut connection: UnixStream, faulty: &str, fault: Fault) -> std::io::Result<()> {
    let mut received = Vec::new();
    while !received.ends_with(b"BEGIN\r\n") {
        receive(&mut connection, &mut received)?;
    }
    received.clear();
    let fails = |connection: &mut UnixStream, reply: u32, plain: bool| match fault {
        Fault::Ends | Fault::Result(_) => Ok(()),
        Fault::Garbage => connection.write_all(&[b'x'; 2000]),
        Fault::Refuses if plain => connection.write_all(b"REJECTED EXTERNAL\r\nREJECTED\r\n"),
        Fault::Refuses => connection.write_all(&message(3, reply, "", "s", &text("not today"))),
        Fault::Silent => connection.read(&mut [0]).map(drop),
    };
    if faulty == "AUTH" {
        return fails(&mut connection, 0, true);
    }
    connection.write_all(b"DATA\r\nOK 0123456789abcdef\r\n")?;
    loop {
        while received.len() < 16 || received.len() < length(&received) {
            receive(&mut connection, &mut received)?;
        }
        let call: Vec<u8> = received.drain(..length(&received)).collect();
        let is = |member: &str| {
            call.windows(member.len())
                .any(|part| part == member.as_bytes())
        };
        let serial = number(&call, 8);
        if faulty != "JobRemoved" && is(faulty) {
            return fails(&mut connection, serial, false);
        }
        // Its arguments are an object path and nothing else.
        let job = "/org/freedesktop/systemd1/job/7";
        let answer = match () {
            () if is("StartTransientUnit") => message(2, serial, "", "o", &text(job)),
            () if is("StopUnit") || is("ResetFailedUnit") => {
                message(3, serial, "", "s", &text("not loaded"))
            }
            () if is("Version") => {
                let value = [&[1, b's', 0, 0][..], &text("252")].concat();
                message(2, serial, "", "v", &value)
            }
            () => message(2, serial, "", "s", &text(":1.5")),
        };
        connection.write_all(&answer)?;
        if is("StartTransientUnit") {
            let Fault::Result(result) = fault else {
                return fails(&mut connection, serial, false);
            };
            let mut body = 7u32.to_le_bytes().to_vec();
            for argument in [job, "x.scope", result] {
                body.resize(body.len().next_multiple_of(4), 0);
                body.extend(text(argument));
            }
            connection.write_all(&message(4, 0, "JobRemoved", "uoss", &body))?;
        }
    }
}

fn receive(connection: &mut UnixStream, to: &mut Vec<u8>) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    let length = connection.read(&mut chunk)?;
    if length == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    to.extend_from_slice(&chunk[..length]);
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The length of the message that `bytes` starts with.
fn length(bytes: &[u8]) -> usize {
    let fields = (16 + number(bytes, 12) as usize).next_multiple_of(8);
    fields + number(bytes, 4) as usize
}

fn text(text: &str) -> Vec<u8> {
    [
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
        &[0],
    ]
    .concat()
}

/// A message of a kind: 2 is an answer, 3 an error, 4 a signal.
fn message(kind: u8, reply: u32, member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut field = |code: u8, kind: u8, value: &[u8]| {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([code, 1, kind, 0]);
        fields.extend(value);
    };
    field(
        8,
        b'g',
        &[&[signature.len() as u8], signature.as_bytes(), &[0]].concat(),
    );
    if kind == 4 {
        field(3, b's', &text(member));
    } else {
        field(5, b'u', &reply.to_le_bytes());
    }
    if kind == 3 {
        let name = if text("not loaded") == body {
            "org.freedesktop.systemd1.NoSuchUnit"
        } else {
            "org.example.No"
        };
        field(4, b's', &text(name));
    }
    let mut message = vec![b'l', kind, 0, 1];
    message.extend((body.len() as u32).to_le_bytes());
    message.extend(1u32.to_le_bytes());
    message.extend((fields.len() as u32).to_le_bytes());
    message.extend(fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    message
}
