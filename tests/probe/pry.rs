//! Reaches, as somebody with CAP_SYS_PTRACE, through whatever other processes have open.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// From any directory to the root above it.
const UP: &str = "../../../../../../../../..";

/// The highest number of a descriptor that is tried.
const NUMBERS: std::ops::RangeInclusive<u32> = 3..=30;

/// Says `reached LINK` for each link of another process that leads to the file `path` of the
/// machine, and `changed` when it could open such a process's program to write. Does not end.
pub(crate) fn pry(path: &str) -> i32 {
    crate::say("ready");
    let own = std::process::id().to_string();
    loop {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let other = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            if other && name != OsStr::new(&own) {
                try_links(&entry.path(), path);
                try_program(&entry.path());
            }
        }
    }
}

fn try_links(process: &Path, path: &str) {
    let open = NUMBERS.map(|number| format!("fd/{number}"));
    for link in open.chain(["root".to_owned(), "cwd".to_owned()]) {
        let place = process.join(link).join(UP).join(&path[1..]);
        if fs::File::open(&place).is_ok() {
            crate::say(&format!("reached {}", place.display()));
        }
    }
}

/// While a program is executed nobody may write to it: once its process is another one, it is tried again.
fn try_program(process: &Path) {
    let link = process.join("exe");
    let inside = |program: &Path| program.starts_with("/bin") || program.starts_with("/probe");
    if fs::read_link(&link).map_or(true, |program| inside(&program)) {
        return;
    }
    let Ok(program) = open(&link, OFlag::O_PATH, Mode::empty()) else {
        return;
    };
    crate::say("met");
    let again = format!("/proc/self/fd/{}", program.as_raw_fd());
    loop {
        match open(again.as_str(), OFlag::O_WRONLY, Mode::empty()) {
            Ok(_) => crate::say("changed"),
            Err(Errno::ETXTBSY) => continue,
            Err(_) => 0,
        };
        return;
    }
}
