//! HOME from the container's /etc/passwd, for a configuration that does not set it. The file
//! belongs to the image, and is as untrusted as the rest of it.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::Uid;

/// How much of the file is read at most, in bytes: far more than any real file has, and still
/// read within a moment.
const MAX_FILE_SIZE: u64 = 256 << 20;

/// The longest line that is parsed, in bytes. Longer lines are skipped.
const MAX_LINE_LENGTH: u64 = 1 << 20;

/// `HOME=...` for `uid`: `HOME=/` unless the file has an entry for it.
///
/// Only the directory is read from the file, never an id (CVE-2016-3697).
pub(super) fn variable(uid: Uid) -> CString {
    open()
        .and_then(|file| directory(BufReader::with_capacity(1 << 16, file), uid.as_raw()))
        .and_then(|directory| CString::new([b"HOME=", directory.as_slice()].concat()).ok())
        .unwrap_or_else(|| c"HOME=/".to_owned())
}

/// `None` when the file is missing or is not a regular file. O_NONBLOCK keeps a FIFO from
/// blocking this process.
fn open() -> Option<impl Read> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(AT_FDCWD, c"/etc/passwd", how).ok()?);
    let stat = fstat(&file).ok()?;
    let is_regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    is_regular.then(|| file.take(MAX_FILE_SIZE))
}

/// The home directory in the first entry for `uid`, if it is an absolute path.
fn directory(mut text: impl BufRead, uid: u32) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut start = text.by_ref().take(MAX_LINE_LENGTH);
        if start.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == MAX_LINE_LENGTH {
            text.skip_until(b'\n').ok()?;
            continue;
        }
        if let Some(directory) = parse_line(&line, uid) {
            return directory.starts_with(b"/").then(|| directory.to_vec());
        }
    }
}

/// The home directory in a line, if that is the entry for `uid` (passwd(5):
/// `name:password:UID:GID:comment:directory:shell`). As in the C library, the shell may be
/// missing, and further fields are ignored.
fn parse_line(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.split(|&byte| byte == b':');
    let (_name, _password) = (fields.next()?, fields.next()?);
    let (number, _gid, _comment) = (fields.next()?, fields.next()?, fields.next()?);
    let directory = fields.next()?;
    (decimal(number) == Some(uid)).then_some(directory)
}

/// A number of digits only, without sign or space, that fits 32 bits.
fn decimal(field: &[u8]) -> Option<u32> {
    if !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home_of(text: &[u8], uid: u32) -> Option<String> {
        directory(text, uid).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn some(directory: &str) -> Option<String> {
        Some(directory.to_owned())
    }

    #[test]
    fn the_first_entry_of_the_user_is_used() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:\nv:x:1000:1::/v:\n";
        assert_eq!(home_of(text, 0), some("/root"));
        assert_eq!(home_of(text, 1000), some("/home/u"));
        assert_eq!(home_of(text, 1), None);
    }

    #[test]
    fn a_numeric_name_is_not_an_id() {
        assert_eq!(home_of(b"1000:x:0:0::/evil:/bin/sh\n", 1000), None);
    }

    #[test]
    fn an_id_consists_of_digits_and_fits_32_bits() {
        for number in ["+5", "-5", " 5", "5 ", "", "0x5", "4294967301", "5\0"] {
            let text = format!("u:x:{number}:5::/home/u:/bin/sh\n");
            assert_eq!(home_of(text.as_bytes(), 5), None, "{number:?}");
        }
        assert_eq!(home_of(b"u:x:005:5::/home/u:/bin/sh\n", 5), some("/home/u"));
    }

    #[test]
    fn malformed_lines_are_skipped() {
        let text = b"\n:::::::::\nu:x:7\nu:x:7:7:none\n\xff\xfe\n#u:x\nok:x:7:7::/ok:/bin/sh";
        assert_eq!(home_of(text, 7), some("/ok"));
        assert_eq!(home_of(b"", 0), None);
    }

    #[test]
    fn a_home_that_is_not_an_absolute_path_is_ignored() {
        assert_eq!(home_of(b"u:x:7:7:::/bin/sh\n", 7), None);
        assert_eq!(home_of(b"u:x:7:7::home:/bin/sh\n", 7), None);
    }

    #[test]
    fn the_shell_is_optional() {
        assert_eq!(home_of(b"u:x:7:7::/six", 7), some("/six"));
        assert_eq!(
            home_of(b"u:x:7:7::/six\nv:x:8:8::/v:/bin/sh\n", 7),
            some("/six")
        );
        assert_eq!(home_of(b"u:x:7:7::/more:/bin/sh:more\n", 7), some("/more"));
    }

    #[test]
    fn an_overlong_line_is_skipped() {
        let mut text = vec![b'x'; 3 << 20];
        text.extend_from_slice(b":x:7:7::/no:/bin/sh\nu:x:7:7::/yes:/bin/sh\n");
        assert_eq!(home_of(&text, 7), some("/yes"));
    }
}
