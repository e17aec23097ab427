//! What the probe can do inside besides reporting: wait, sleep, open, read, write.
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

/// The report, with the answers to more questions under `asked`, by their own words.
///
/// `sysctl NAME`, `read PATH`, `write PATH`, `node MAJOR MINOR`, `call NUMBER ARGUMENTS..`, and `enter`, which
/// waits after the report: what a process says last may go with its terminal.
pub(crate) fn report(more: &[&str]) -> i32 {
    let mut seen = report::report();
    let questions = more.iter().filter(|question| **question != "enter");
    let asked: Map<String, Value> = questions
        .map(|question| ((*question).to_owned(), json!(answer(question))))
        .collect();
    seen["asked"] = Value::Object(asked);
    let status = crate::say(&seen.to_string());
    if more.contains(&"enter") {
        drop(std::io::stdin().read_line(&mut String::new()));
    }
    status
}

fn answer(question: &str) -> String {
    let words: Vec<&str> = question.split(' ').collect();
    let answer = match words.as_slice() {
        ["sysctl", name] => read(&format!("/proc/sys/{}", name.replace('.', "/"))),
        ["read", path] => read(path),
        ["write", path] => write(path, "written by the probe\n"),
        ["node", major, minor] => node(major, minor),
        ["call", number, arguments @ ..] => call(number, arguments),
        _ => return format!("unknown question: {question}"),
    };
    answer.unwrap_or_else(|errno| format!("{errno:?}"))
}

/// Makes a character device, opens it and takes it away.
fn node(major: &str, minor: &str) -> nix::Result<String> {
    let path = "/dev/node-of-the-probe";
    mknod(path, "c", major, minor)?;
    let opened = open_device(path, "r");
    fs::remove_file(path).map_err(|e| errno(&e))?;
    opened
}

/// A system call by its number; arguments left out are 0.
fn call(number: &str, words: &[&str]) -> nix::Result<String> {
    let parse = |text: &str| text.parse().map_err(|_| Errno::ENOTSUP);
    let mut arguments = [0; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = parse(word)?;
    }
    kernel::syscall(parse(number)?, arguments).map(|()| "ok".to_owned())
}

pub(crate) fn sleep() -> i32 {
    std::thread::sleep(std::time::Duration::from_secs(1000));
    0
}

/// Goes on in a second thread when the first has ended.
pub(crate) fn lose_first_thread() -> i32 {
    std::thread::spawn(sleep);
    crate::say("lost");
    kernel::end_this_thread()
}

/// As a hook: writes to a file what it sees, and what it reads on standard input.
pub(crate) fn hook(file: &str) -> i32 {
    let seen = report::report();
    let mut told = String::new();
    let read = std::io::stdin().read_to_string(&mut told);
    let state: Value = serde_json::from_str(&told).unwrap_or(Value::Null);
    let written = fs::write(file, json!({"seen": seen, "state": state}).to_string());
    i32::from(read.is_err() || written.is_err())
}

/// The same, told the file by the environment.
pub(crate) fn hook_without_words() -> i32 {
    let file = std::env::vars().find(|(name, _)| name == "HOOK_FILE");
    file.map_or(1, |(_, file)| hook(&file))
}

/// Says "ready", then the number of the first signal that arrives.
///
/// Blocked signals reach even PID 1 of a namespace, which has no default actions.
pub(crate) fn wait_signal() -> i32 {
    kernel::block_signals();
    crate::say("ready");
    match kernel::next_signal() {
        Some(number) => crate::say(&number.to_string()),
        None => 1,
    }
}

/// Starts a child that sleeps, says its pid, and sleeps too.
pub(crate) fn spawn_sleep() -> i32 {
    match Command::new("/probe").arg("sleep").spawn() {
        Ok(child) => {
            crate::say(&child.id().to_string());
            sleep()
        }
        Err(error) => crate::say(&error.to_string()),
    }
}

/// Says "ready", then the program of every process that it can look at and that is not its own.
pub(crate) fn watch() -> i32 {
    crate::say("ready");
    let mut seen = BTreeSet::new();
    loop {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(program) = fs::read_link(entry.path().join("exe")) else {
                continue;
            };
            let program = program.to_string_lossy().into_owned();
            if program != "/probe" && seen.insert(program.clone()) {
                crate::say(&program);
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

/// Opens a device and says "ok", or why the kernel refused.
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

/// Makes system calls one after the other and says of each "ok" or why not:
/// `NUMBER/ARG/ARG..`, or `x86:NUMBER/ARG..` as a 32-bit program makes it.
pub(crate) fn syscalls(calls: &[&str]) -> i32 {
    let said = calls.iter().map(|call| {
        let result = match call.strip_prefix("x86:") {
            Some(call) => numbers(call).and_then(|(number, args)| elder(number, args)),
            None => numbers(call).and_then(|(number, args)| kernel::native(number, args)),
        };
        match result {
            Ok(()) => crate::say("ok"),
            Err(errno) => crate::say(&format!("{errno:?}")),
        }
    });
    said.max().unwrap_or(0)
}

/// Says "alive" when a thread of its own that makes the call must be done with it.
pub(crate) fn syscall_in_thread(call: &str) -> i32 {
    let call = call.to_owned();
    std::thread::spawn(move || {
        numbers(&call).and_then(|(number, args)| kernel::native(number, args))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    crate::say("alive")
}

#[cfg(target_arch = "x86_64")]
use kernel::elder;

#[cfg(not(target_arch = "x86_64"))]
fn elder(_: u64, _: [u64; 6]) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// Decimal, or hexadecimal after `0x`.
fn numbers(call: &str) -> nix::Result<(u64, [u64; 6])> {
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
