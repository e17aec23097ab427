//! The probe: a static program that runs as the container's process and says what it sees.
//!
//! It starts without Rust's own `main`, which would ignore SIGPIPE and catch
//! SIGSEGV before the report could tell what the runtime left behind.
#![no_main]

mod acts;
mod deface;
mod hook;
mod kernel;
mod notify;
mod proc;
mod pry;
mod report;

use std::io::Write;

/// The C entry point: the C library calls it directly.
#[allow(
    unsafe_code,
    reason = "the symbol must carry the name that the C library calls"
)]
// SAFETY: the only `main` of this program; the C library's signature allows to ignore the arguments.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [hook::NAME, place, ..] = words.as_slice() {
        return hook::record(place);
    }
    match words.get(1..).unwrap_or_default() {
        ["report", more @ ..] => acts::report(more),
        ["exit", code] => code.parse().unwrap_or(255),
        ["hook", file] => acts::hook(file),
        [] => acts::hook_without_words(),
        ["sleep"] => acts::sleep(),
        ["deface", places @ ..] => deface::deface(places),
        ["lose-first-thread"] => acts::lose_first_thread(),
        ["notify", messages @ ..] => notify::notify(messages),
        ["wait-signal"] => acts::wait_signal(),
        ["spawn-sleep"] => acts::spawn_sleep(),
        ["watch"] => acts::watch(),
        ["pry", path] => pry::pry(path),
        ["stat", path] => say(&report::node(path.as_ref()).to_string()),
        ["read", path] => say_result(acts::read(path)),
        ["readlink", path] => say_result(acts::readlink(path)),
        ["write", path, text] => say_result(acts::write(path, text)),
        ["device", path, mode] => say_result(acts::open_device(path, mode)),
        ["mknod", path, kind, major, minor] => say_result(acts::mknod(path, kind, major, minor)),
        ["syscalls", calls @ ..] => acts::syscalls(calls),
        ["syscall-in-thread", number] => acts::syscall_in_thread(number),
        ["sysctl", name] => {
            say_result(acts::read(&format!("/proc/sys/{}", name.replace('.', "/"))))
        }
        _ => {
            say(&format!("probe: unknown words: {words:?}"));
            255
        }
    }
}

/// One line on stdout; the exit status says whether it could be written.
fn say(line: &str) -> i32 {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    i32::from(written.is_err())
}

/// What was learnt, or the name of the error number, in one line.
fn say_result(result: nix::Result<String>) -> i32 {
    match result {
        Ok(text) => say(&text),
        Err(errno) => say(&format!("{errno:?}")),
    }
}
