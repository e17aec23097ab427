//! HOME, when the configuration has none: from the container's own /etc/passwd,
//! which is as hostile as everything in an image.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::Uid;

/// As much of the file as is ever read, in bytes.
const LONGEST: usize = 1 << 20;

/// The variable for `uid`: `HOME=/` unless the file names another directory.
///
/// Only the directory is taken from the file, never an id (CVE-2016-3697).
pub(super) fn variable(uid: Uid) -> CString {
    read()
        .and_then(|text| CString::new([b"HOME=", directory(&text, uid.as_raw())?].concat()).ok())
        .unwrap_or_else(|| c"HOME=/".to_owned())
}

/// The file's text, `None` when there is no such ordinary file to read.
/// O_NONBLOCK: a FIFO would wait for its writer.
fn read() -> Option<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(AT_FDCWD, c"/etc/passwd", how).ok()?);
    let stat = fstat(&file).ok()?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return None;
    }
    // One byte more than it says, for the read that finds the end.
    let length = usize::try_from(stat.st_size).ok()?.min(LONGEST);
    let mut text = Vec::with_capacity(length + 1);
    file.take(LONGEST as u64).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The home directory in the first line for `uid`, when it is an absolute path
/// (passwd(5): `name:password:UID:GID:comment:directory:shell`).
fn directory(text: &[u8], uid: u32) -> Option<&[u8]> {
    // A line cut off where reading stopped lacks the shell, or part of it only.
    text.split(|&byte| byte == b'\n')
        .find_map(|line| {
            let mut fields = line.split(|&byte| byte == b':');
            let (_name, _password) = (fields.next()?, fields.next()?);
            let (number, _gid, _comment) = (fields.next()?, fields.next()?, fields.next()?);
            let (directory, _shell) = (fields.next()?, fields.next()?);
            (fields.next().is_none() && decimal(number) == Some(uid)).then_some(directory)
        })
        .filter(|directory| directory.starts_with(b"/"))
}

/// Digits only: no sign, no space, nothing above 32 bits.
fn decimal(field: &[u8]) -> Option<u32> {
    if !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8], uid: u32) -> Option<&str> {
        directory(text, uid).map(|bytes| std::str::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_first_line_of_the_user_counts() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:\nv:x:1000:1::/v:\n";
        assert_eq!(of(text, 0), Some("/root"));
        assert_eq!(of(text, 1000), Some("/home/u"));
        assert_eq!(of(text, 1), None);
    }

    #[test]
    fn a_numeric_name_is_no_id() {
        assert_eq!(of(b"1000:x:0:0::/evil:/bin/sh\n", 1000), None);
    }

    #[test]
    fn numbers_are_digits_that_fit() {
        for number in ["+5", "-5", " 5", "5 ", "", "0x5", "4294967301", "5\0"] {
            let text = format!("u:x:{number}:5::/home/u:/bin/sh\n");
            assert_eq!(of(text.as_bytes(), 5), None, "{number:?}");
        }
        assert_eq!(of(b"u:x:005:5::/home/u:/bin/sh\n", 5), Some("/home/u"));
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let text = b"\n:::::::::\nu:x:7\nu:x:7:7::/short\nu:x:7:7::/long:/bin/sh:more\n\xff\xfe\n\
                     #u:x\nok:x:7:7::/ok:/bin/sh";
        assert_eq!(of(text, 7), Some("/ok"));
        assert_eq!(of(b"", 0), None);
    }

    #[test]
    fn a_home_that_is_no_absolute_path_is_none() {
        assert_eq!(of(b"u:x:7:7:::/bin/sh\n", 7), None);
        assert_eq!(of(b"u:x:7:7::home:/bin/sh\n", 7), None);
    }
}
