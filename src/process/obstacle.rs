//! What execve(2) will miss of a file that may be executed: its interpreter, or
//! a program of this machine in it.
//!
//! It is looked for while the process may still look, before its limits and its
//! filter, and told only when execve(2) fails: the kernel may have been taught
//! other kinds of files (binfmt_misc).

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use super::command;
use crate::log;

/// What the kernel reads of a file to find out what it is (`BINPRM_BUF_SIZE`).
const FIRST: usize = 256;

/// What is read here: of nearly all programs it holds the name of the loader.
const HEAD: usize = 2048;

/// So many scripts may each be the interpreter of the one before.
const SCRIPTS: usize = 5;

/// The longest name that the kernel takes (`PATH_MAX`).
const LONGEST: u64 = 4096;

/// More bytes of program headers are refused by the kernel (`ELF_MIN_ALIGN`).
const HEADERS: usize = 65536;

/// The kinds of ELF files that this machine runs (elf.h, `e_machine`), its 32-bit
/// ones included.
const OWN_MACHINES: &[u16] = if cfg!(target_arch = "x86_64") {
    &[62, 3]
} else if cfg!(target_arch = "aarch64") {
    &[183, 40]
} else if cfg!(target_arch = "riscv64") {
    &[243]
} else if cfg!(target_arch = "s390x") {
    &[22]
} else if cfg!(target_arch = "powerpc64") {
    &[21, 20]
} else {
    &[]
};

/// Names of machines as engines write them in platforms (GOARCH).
const MACHINES: &[(u16, &str)] = &[
    (3, "386"),
    (8, "mips"),
    (20, "ppc"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

/// Why a file will not be executed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// What follows `#!`, or the loader that an ELF file names, is not there or
    /// may not be executed.
    Interpreter(CString),
    /// It is an ELF file of another kind of machine.
    Machine(u16),
    /// It is neither an ELF file nor a script.
    Unknown,
}

impl Obstacle {
    /// As the user who will execute the file, and in the working directory. A
    /// file that cannot be read tells nothing.
    pub(super) fn of(path: &CStr) -> Option<Obstacle> {
        let mut path = path.to_owned();
        for _ in 0..SCRIPTS {
            let kind = kind(&open(&path).ok()?)?;
            let (interpreter, is_script) = match kind {
                Kind::Script(interpreter) => (interpreter, true),
                Kind::Elf(interpreter) => (interpreter?, false),
                Kind::Not(obstacle) => return Some(obstacle),
            };
            match command::executable(&interpreter) {
                Ok(()) if is_script => path = interpreter,
                Ok(()) => return None,
                Err(_) => return Some(Obstacle::Interpreter(interpreter)),
            }
        }
        None
    }

    /// What explains `errno` of execve(2), if this does.
    fn hint(&self, errno: Errno) -> Option<String> {
        let hint = match (self, errno) {
            (Obstacle::Interpreter(name), Errno::ENOENT | Errno::ENOTDIR) => {
                let name = name.to_bytes().escape_ascii();
                format!("its interpreter {name} is not in the root")
            }
            (Obstacle::Interpreter(name), Errno::EACCES) => {
                let name = name.to_bytes().escape_ascii();
                format!("its interpreter {name} may not be executed")
            }
            (Obstacle::Machine(machine), Errno::ENOEXEC) => {
                let named = MACHINES.iter().find(|(number, _)| number == machine);
                match named {
                    Some((_, name)) => format!("it is a program for {name}"),
                    None => format!("it is a program for ELF machine {machine}"),
                }
            }
            (Obstacle::Unknown, Errno::ENOEXEC) => {
                "it is neither an ELF program nor a script that begins with #!".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }
}

/// Says on standard error, which is the container's own, why its process is not
/// executed: the beginning in the words of runc.
pub(super) fn say(path: &CStr, errno: Errno, obstacle: Option<&Obstacle>) {
    let hint = obstacle.and_then(|obstacle| obstacle.hint(errno));
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    let why = log::errno_words(errno);
    let line = [
        b"exec ",
        path.to_bytes(),
        b": ",
        why.as_bytes(),
        hint.as_bytes(),
        b"\n",
    ];
    // There is nobody else to tell when this fails.
    let _written = std::io::stderr().write_all(&line.concat());
}

/// What a file is.
enum Kind {
    Script(CString),
    /// Of this machine, with its loader if it has one.
    Elf(Option<CString>),
    Not(Obstacle),
}

/// `None` where the kernel's own word is the best that there is.
fn kind(file: &File) -> Option<Kind> {
    let mut head = [0; HEAD];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    if head.starts_with(b"#!") {
        return script(&head[..length.min(FIRST)]).map(Kind::Script);
    }
    if !head.starts_with(b"\x7fELF") {
        return Some(Kind::Not(Obstacle::Unknown));
    }
    let header = Header::read(head)?;
    if !OWN_MACHINES.contains(&header.machine) {
        return Some(Kind::Not(Obstacle::Machine(header.machine)));
    }
    Some(Kind::Elf(header.interpreter(head, file)))
}

/// The first word after `#!` (`load_script` of the kernel).
fn script(head: &[u8]) -> Option<CString> {
    let line = head[2..].split(|&byte| byte == b'\n').next()?;
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !space(byte))?;
    let word = line[begin..].split(|byte| space(byte) || *byte == 0);
    CString::new(word.into_iter().next()?).ok()
}

/// What an ELF file begins with, in the byte order of this machine or another.
struct Header {
    wide: bool,
    big: bool,
    machine: u16,
    /// Where the program headers are, and how many of which size.
    headers: u64,
    size: u16,
    count: u16,
}

impl Header {
    fn read(head: &[u8]) -> Option<Header> {
        let (wide, big) = (*head.get(4)? == 2, *head.get(5)? == 2);
        let number = |at: usize, length: usize| number(head, at, length, big);
        let at = |narrow: usize, wide_one: usize| if wide { wide_one } else { narrow };
        Some(Header {
            wide,
            big,
            machine: number(18, 2)? as u16,
            headers: number(at(28, 32), at(4, 8))?,
            size: number(at(42, 54), 2)? as u16,
            count: number(at(44, 56), 2)? as u16,
        })
    }

    /// `PT_INTERP`.
    fn interpreter(&self, head: &[u8], file: &File) -> Option<CString> {
        const PT_INTERP: u64 = 3;
        let at = |narrow: usize, wide: usize| if self.wide { wide } else { narrow };
        let length = usize::from(self.size) * usize::from(self.count);
        let headers = part(head, file, self.headers, length.min(HEADERS))?;
        let header = headers
            .chunks_exact(usize::from(self.size).max(1))
            .find(|header| number(header, 0, 4, self.big) == Some(PT_INTERP))?;
        let offset = number(header, at(4, 8), at(4, 8), self.big)?;
        let length = number(header, at(16, 32), at(4, 8), self.big)?;
        let name = part(head, file, offset, length.min(LONGEST) as usize)?;
        CString::new(name.split(|&byte| byte == 0).next()?).ok()
    }
}

/// `length` bytes of a file, whose beginning has been read.
fn part(head: &[u8], file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let begin = usize::try_from(offset).ok()?;
    if let Some(part) = head.get(begin..begin.checked_add(length)?) {
        return Some(part.to_vec());
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// The number of `length` bytes at `at`.
fn number(bytes: &[u8], at: usize, length: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(match big {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    })
}

/// For reading. It was an ordinary file when it was found, and no other kind makes
/// this wait.
fn open(path: &CStr) -> nix::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(AT_FDCWD, path, how).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(machine: u16, big: bool) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if big { 2 } else { 1 }]);
        let machine = if big {
            machine.to_be_bytes()
        } else {
            machine.to_le_bytes()
        };
        head[18..20].copy_from_slice(&machine);
        head
    }

    #[test]
    fn the_interpreter_of_a_script_is_its_first_word() {
        let word = |text: &str| script(text.as_bytes()).map(|word| word.into_string().unwrap());
        assert_eq!(word("#!/bin/sh\n"), Some("/bin/sh".to_owned()));
        assert_eq!(
            word("#! \t/bin/env sh -e\nexit"),
            Some("/bin/env".to_owned())
        );
        assert_eq!(word("#!/bin/sh"), Some("/bin/sh".to_owned()));
        assert_eq!(word("#!/bin/sh\r\n"), Some("/bin/sh\r".to_owned()));
        assert_eq!(word("#!\n/bin/sh"), None);
        assert_eq!(word("#!  "), None);
    }

    #[test]
    fn the_machine_is_read_in_either_byte_order() {
        for (machine, big) in [(22, true), (243, false)] {
            assert_eq!(Header::read(&elf(machine, big)).unwrap().machine, machine);
        }
        assert!(Header::read(b"\x7fELF but not really").is_none());
    }

    #[test]
    fn headers_that_lie_have_no_interpreter() {
        let mut head = elf(OWN_MACHINES[0], false);
        head[32..40].fill(0xff);
        head[54..58].fill(0xff);
        let header = Header::read(&head).unwrap();
        let file = open(c"/dev/null").unwrap();
        assert_eq!(header.interpreter(&head, &file), None);
    }

    #[test]
    fn a_program_of_this_machine_has_no_obstacle() {
        assert_eq!(Obstacle::of(c"/proc/1/no/such"), None);
        assert_eq!(Obstacle::of(c"/bin/sh"), None);
        assert_eq!(Obstacle::of(c"/etc/passwd"), Some(Obstacle::Unknown));
    }

    #[test]
    fn a_hint_explains_its_own_errno_only() {
        let missing = Obstacle::Interpreter(c"/bin/sh\r".to_owned());
        assert_eq!(
            missing.hint(Errno::ENOENT).as_deref(),
            Some("its interpreter /bin/sh\\r is not in the root")
        );
        assert_eq!(missing.hint(Errno::ENOMEM), None);
        let other = Obstacle::Machine(22).hint(Errno::ENOEXEC);
        assert_eq!(other.as_deref(), Some("it is a program for s390x"));
        assert_eq!(Obstacle::Unknown.hint(Errno::EACCES), None);
    }
}
