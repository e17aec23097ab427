//! The subcommands of the probe that act in the container: wait, sleep, open, read, write, make system calls.
#![allow(clippy::disallowed_methods, reason = "the probe starts itself")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, Read, Write};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev};
use serde_json::{Map, Value, json};

use crate::{kernel, report};

fn errno(error: &Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Prints the report, with the results of further checks under `asked`; each key is the text of the check.
///
/// The checks are `sysctl NAME`, `read PATH`, `write PATH`, `node MAJOR MINOR` and `call NUMBER ARGUMENTS..`. With
/// `enter` the probe waits for a line on stdin after the report, because the last output of a process may be lost when
/// its terminal closes.
pub(crate) fn report(checks: &[&str]) -> i32 {
    let mut seen = report::report();
    let checks_to_run = checks.iter().filter(|check| **check != "enter");
    let results: Map<String, Value> = checks_to_run
        .map(|check| ((*check).to_owned(), json!(run_check(check))))
        .collect();
    seen["asked"] = Value::Object(results);
    let status = crate::print(&seen.to_string());
    if checks.contains(&"enter") {
        drop(std::io::stdin().read_line(&mut String::new()));
    }
    status
}

fn run_check(check: &str) -> String {
    let arguments: Vec<&str> = check.split(' ').collect();
    let result = match arguments.as_slice() {
        ["sysctl", name] => read(&format!("/proc/sys/{}", name.replace('.', "/"))),
        ["read", path] => read(path),
        ["write", path] => write(path, "written by the probe\n"),
        ["node", major, minor] => node(major, minor),
        ["call", number, arguments @ ..] => call(number, arguments),
        _ => return format!("unknown check: {check}"),
    };
    result.unwrap_or_else(|errno| format!("{errno:?}"))
}

/// Creates a character device, opens it and removes it.
fn node(major: &str, minor: &str) -> nix::Result<String> {
    let path = "/dev/node-of-the-probe";
    mknod(path, "c", major, minor)?;
    let opened = open_device(path, "r");
    fs::remove_file(path).map_err(|e| errno(&e))?;
    opened
}

/// Makes a system call by its number. Missing arguments are 0.
fn call(number: &str, texts: &[&str]) -> nix::Result<String> {
    let parse = |text: &str| text.parse().map_err(|_| Errno::ENOTSUP);
    let mut arguments = [0; 6];
    for (argument, text) in arguments.iter_mut().zip(texts) {
        *argument = parse(text)?;
    }
    kernel::syscall(parse(number)?, arguments).map(|()| "ok".to_owned())
}

pub(crate) fn sleep() -> i32 {
    std::thread::sleep(std::time::Duration::from_secs(1000));
    0
}

/// Ends the first thread and sleeps in a second one.
pub(crate) fn lose_first_thread() -> i32 {
    std::thread::spawn(sleep);
    crate::print("lost");
    kernel::end_this_thread()
}

/// Gives up a capability in the first thread, and sleeps in a second one that has it.
pub(crate) fn keep_in_thread(name: &str) -> i32 {
    use caps::CapSet::{Bounding, Effective, Inheritable, Permitted};
    let Ok(capability) = name.parse() else {
        return 1;
    };
    std::thread::spawn(sleep);
    let sets = [Bounding, Effective, Inheritable, Permitted];
    let mut dropped = sets
        .map(|set| caps::drop(None, set, capability))
        .into_iter();
    if dropped.any(|dropped| dropped.is_err()) {
        return 1;
    }
    sleep()
}

/// As a hook: writes the report and the state from standard input to a file.
pub(crate) fn hook(file: &str) -> i32 {
    let seen = report::report();
    let mut input = String::new();
    let read = std::io::stdin().read_to_string(&mut input);
    let state: Value = serde_json::from_str(&input).unwrap_or(Value::Null);
    let written = fs::write(file, json!({"seen": seen, "state": state}).to_string());
    i32::from(read.is_err() || written.is_err())
}

/// As a hook without arguments: the environment variable HOOK_FILE names the file.
pub(crate) fn hook_from_environment() -> i32 {
    let file = std::env::vars().find(|(name, _)| name == "HOOK_FILE");
    file.map_or(1, |(_, file)| hook(&file))
}

/// Prints "ready", then the number of the first signal that arrives.
///
/// It blocks the signals and waits for them, because the kernel drops signals with the default action that are sent to
/// PID 1 of a namespace (pid_namespaces(7)).
pub(crate) fn wait_signal() -> i32 {
    kernel::block_signals();
    crate::print("ready");
    match kernel::next_signal() {
        Some(number) => crate::print(&number.to_string()),
        None => 1,
    }
}

/// Starts a child that sleeps, prints its pid, and sleeps too.
pub(crate) fn spawn_sleep() -> i32 {
    match Command::new("/probe").arg("sleep").spawn() {
        Ok(child) => {
            crate::print(&child.id().to_string());
            sleep()
        }
        Err(error) => crate::print(&error.to_string()),
    }
}

/// Prints "ready", then the program of each process whose `exe` link it can read, except its own program.
pub(crate) fn watch() -> i32 {
    crate::print("ready");
    let mut seen = BTreeSet::new();
    loop {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(program) = fs::read_link(entry.path().join("exe")) else {
                continue;
            };
            let program = program.to_string_lossy().into_owned();
            if program != "/probe" && seen.insert(program.clone()) {
                crate::print(&program);
            }
        }
    }
}

pub(crate) fn read(path: &str) -> nix::Result<String> {
    let bytes = fs::read(path).map_err(|e| errno(&e))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

pub(crate) fn readlink(path: &str) -> nix::Result<String> {
    let target = fs::read_link(path).map_err(|e| errno(&e))?;
    Ok(target.to_string_lossy().into_owned())
}

pub(crate) fn write(path: &str, text: &str) -> nix::Result<String> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| errno(&e))?;
    file.write_all(text.as_bytes()).map_err(|e| errno(&e))?;
    Ok("ok".into())
}

/// Opens a device. Returns "ok", or the error of open(2).
pub(crate) fn open_device(path: &str, mode: &str) -> nix::Result<String> {
    let access = if mode == "w" {
        OFlag::O_WRONLY
    } else {
        OFlag::O_RDONLY
    };
    open(
        path,
        access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
        Mode::empty(),
    )?;
    Ok("ok".into())
}

/// Makes system calls one after the other and prints "ok" or the error of each. A call is `NUMBER/ARG/ARG..`, or
/// `x86:NUMBER/ARG..` for the 32-bit entry point.
pub(crate) fn syscalls(calls: &[&str]) -> i32 {
    let statuses = calls.iter().map(|call| {
        let result = match call.strip_prefix("x86:") {
            Some(call) => parse_call(call).and_then(|(number, args)| call_i386(number, args)),
            None => parse_call(call).and_then(|(number, args)| kernel::call_native(number, args)),
        };
        match result {
            Ok(()) => crate::print("ok"),
            Err(errno) => crate::print(&format!("{errno:?}")),
        }
    });
    statuses.max().unwrap_or(0)
}

/// Makes the call in a second thread. Prints "alive" after 300 ms, by when the call has been made.
pub(crate) fn syscall_in_thread(call: &str) -> i32 {
    let call = call.to_owned();
    std::thread::spawn(move || {
        parse_call(&call).and_then(|(number, args)| kernel::call_native(number, args))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    crate::print("alive")
}

#[cfg(target_arch = "x86_64")]
use kernel::call_i386;

#[cfg(not(target_arch = "x86_64"))]
fn call_i386(_: u64, _: [u64; 6]) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// Parses `NUMBER/ARG/ARG..`. Numbers are decimal, or hexadecimal after `0x`.
fn parse_call(call: &str) -> nix::Result<(u64, [u64; 6])> {
    let number = |text: &str| {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| Errno::EINVAL)
    };
    let mut parts = call.split('/');
    let first = number(parts.next().unwrap_or_default())?;
    let mut args = [0; 6];
    for (arg, text) in args.iter_mut().zip(parts) {
        *arg = number(text)?;
    }
    Ok((first, args))
}

pub(crate) fn mknod(path: &str, kind: &str, major: &str, minor: &str) -> nix::Result<String> {
    let number = |text: &str| text.parse().map_err(|_| Errno::EINVAL);
    let kind = if kind == "b" {
        SFlag::S_IFBLK
    } else {
        SFlag::S_IFCHR
    };
    let device = makedev(number(major)?, number(minor)?);
    nix::sys::stat::mknod(path, kind, Mode::from_bits_truncate(0o600), device)?;
    Ok("ok".into())
}
