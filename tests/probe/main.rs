//! The probe: a static program that runs as the container's process and reports what it sees.
//!
//! It does without Rust's `main`, whose runtime would ignore SIGPIPE and catch SIGSEGV before the probe could report
//! the signal dispositions that it has inherited.
#![no_main]

mod actions;
mod attributes;
mod hook;
mod kernel;
mod notify;
mod other_processes;
mod proc;
mod report;

use std::io::Write;

/// The C entry point: the C library calls it directly.
#[allow(
    unsafe_code,
    reason = "the symbol must carry the name that the C library calls"
)]
// SAFETY: the only `main` of this program; the C library's signature allows a main without parameters.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [hook::NAME, directory, ..] = arguments.as_slice() {
        return hook::record(directory);
    }
    match arguments.get(1..).unwrap_or_default() {
        ["report", more @ ..] => actions::report(more),
        ["exit", code] => code.parse().unwrap_or(255),
        ["hook", file] => actions::hook(file),
        [] => actions::hook_from_environment(),
        ["sleep"] => actions::sleep(),
        ["change-attributes", paths @ ..] => attributes::change(paths),
        ["lose-first-thread"] => actions::lose_first_thread(),
        ["keep-in-thread", capability] => actions::keep_in_thread(capability),
        ["notify", messages @ ..] => notify::notify(messages),
        ["wait-signal"] => actions::wait_signal(),
        ["spawn-sleep"] => actions::spawn_sleep(),
        ["watch"] => actions::watch(),
        ["open-links", path] => other_processes::open_links(path),
        ["keyring-label"] => print_result(kernel::session_keyring_label()),
        ["stat", path] => print(&report::node(path.as_ref()).to_string()),
        ["read", path] => print_result(actions::read(path)),
        ["readlink", path] => print_result(actions::readlink(path)),
        ["write", path, text] => print_result(actions::write(path, text)),
        ["device", path, mode] => print_result(actions::open_device(path, mode)),
        ["mknod", path, kind, major, minor] => {
            print_result(actions::mknod(path, kind, major, minor))
        }
        ["syscalls", calls @ ..] => actions::syscalls(calls),
        ["syscall-in-thread", number] => actions::syscall_in_thread(number),
        ["sysctl", name] => print_result(actions::read(&format!(
            "/proc/sys/{}",
            name.replace('.', "/")
        ))),
        _ => {
            print(&format!("probe: unknown arguments: {arguments:?}"));
            255
        }
    }
}

/// Prints a line to stdout. Returns the exit status: 1 if the line could not be written.
fn print(line: &str) -> i32 {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    i32::from(written.is_err())
}

/// Prints the text, or the name of the error.
fn print_result(result: nix::Result<String>) -> i32 {
    match result {
        Ok(text) => print(&text),
        Err(errno) => print(&format!("{errno:?}")),
    }
}
