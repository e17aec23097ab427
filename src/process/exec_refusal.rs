//! Predicts why execve(2) will refuse an executable file: its interpreter is missing, or
//! this host cannot run programs of its kind.
//!
//! execve(2) returns the same errno for a missing file and for a missing interpreter. The
//! reason is looked for while the process can still read the file, before its limits and
//! its filter, but it is reported only after execve(2) has failed: the kernel may know
//! further formats (binfmt_misc).

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};

use super::command;
use crate::log;
use crate::sys::CloseBatch;

/// How many bytes of a file the kernel reads to recognize its format (`BINPRM_BUF_SIZE`).
const BINPRM_BUF_SIZE: usize = 256;

/// How many bytes are read here: in nearly all programs they include the loader's name.
const HEAD_SIZE: usize = 2048;

/// The maximum depth of scripts whose interpreter is a script.
const MAX_SCRIPTS: usize = 5;

/// The longest path that the kernel accepts.
const PATH_MAX: u64 = 4096;

/// The kernel refuses more bytes of program headers (`ELF_MIN_ALIGN`).
const MAX_HEADERS_SIZE: usize = 65536;

/// The values of `e_machine` (elf.h) that this host runs, including its 32-bit one.
const HOST_MACHINES: &[u16] = if cfg!(target_arch = "x86_64") {
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

/// Names of `e_machine` values, as container engines write platforms (GOARCH).
const MACHINE_NAMES: &[(u16, &str)] = &[
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

/// Why execve(2) refuses a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExecRefusal {
    /// The interpreter of a script (`#!`) is missing, or may not be executed.
    ScriptInterpreter(CString),
    /// The same for the interpreter of an ELF file (PT_INTERP), the loader of its C library.
    ElfInterpreter(CString),
    /// The file is an ELF file for another architecture: `e_machine`.
    Machine(u16),
    /// The file is neither an ELF file nor a script.
    UnknownFormat,
    /// Nothing, unless the policy of SELinux does not let the process have its label.
    SelinuxLabel,
}

impl ExecRefusal {
    /// `None` when execve(2) should succeed, or when the file cannot be read. Called as the
    /// user who executes the file, in the working directory.
    pub(super) fn predict(path: &CStr, unused: &CloseBatch) -> Option<ExecRefusal> {
        let mut path = path.to_owned();
        for _ in 0..MAX_SCRIPTS {
            let file = open(&path).ok()?;
            let format = format(&file);
            unused.add(file.into());
            let (interpreter, is_script) = match format? {
                Format::Script(interpreter) => (interpreter, true),
                Format::Elf(interpreter) => (interpreter?, false),
                Format::Refused(refusal) => return Some(refusal),
            };
            match command::executable(&interpreter, unused) {
                Ok(()) if is_script => path = interpreter,
                Ok(()) => return None,
                Err(_) if is_script => return Some(ExecRefusal::ScriptInterpreter(interpreter)),
                Err(_) => return Some(ExecRefusal::ElfInterpreter(interpreter)),
            }
        }
        None
    }

    /// The explanation for `errno` of execve(2), or `None` when this refusal does not
    /// explain that errno.
    fn hint(&self, errno: Errno) -> Option<String> {
        let hint = match (self, errno) {
            (
                ExecRefusal::ScriptInterpreter(name) | ExecRefusal::ElfInterpreter(name),
                Errno::ENOENT | Errno::ENOTDIR,
            ) => {
                let remedy = self.remedy();
                let name = name.to_bytes().escape_ascii();
                format!("its interpreter {name} is not in the root{remedy}")
            }
            (
                ExecRefusal::ScriptInterpreter(name) | ExecRefusal::ElfInterpreter(name),
                Errno::EACCES,
            ) => {
                let name = name.to_bytes().escape_ascii();
                format!("its interpreter {name} may not be executed")
            }
            (ExecRefusal::Machine(machine), Errno::ENOEXEC) => {
                let named = MACHINE_NAMES.iter().find(|(number, _)| number == machine);
                match named {
                    Some((_, name)) => format!("it is a program for {name}"),
                    None => format!("it is a program for ELF machine {machine}"),
                }
            }
            (ExecRefusal::UnknownFormat, Errno::ENOEXEC) => {
                "it is neither an ELF program nor a script that begins with #!".to_owned()
            }
            (ExecRefusal::SelinuxLabel, Errno::EACCES | Errno::EPERM) => {
                "does the policy let rt start it with process.selinuxLabel? see ausearch -m avc"
                    .to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// What to do about a missing interpreter, where that is known.
    fn remedy(&self) -> &'static str {
        match self {
            ExecRefusal::ScriptInterpreter(name) if name.to_bytes().ends_with(b"\r") => {
                "; the lines of the script end with CR LF"
            }
            ExecRefusal::ElfInterpreter(_) => "; link the program statically, or add its C library",
            _ => "",
        }
    }
}

/// Writes to standard error, which is the container's, why execve(2) has failed. The line
/// begins like runc's.
pub(super) fn report(path: &CStr, errno: Errno, refusal: Option<&ExecRefusal>) {
    let hint = refusal.and_then(|refusal| refusal.hint(errno));
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    let reason = log::errno_description(errno);
    let line = [
        b"exec ",
        path.to_bytes(),
        b": ",
        reason.as_bytes(),
        hint.as_bytes(),
        b"\n",
    ];
    // The runtime gets the errno in any case; when this write fails, only the hint is lost.
    let _written = std::io::stderr().write_all(&line.concat());
}

/// The format of a file.
enum Format {
    /// With the interpreter.
    Script(CString),
    /// For this host, with the loader of a dynamically linked program.
    Elf(Option<CString>),
    Refused(ExecRefusal),
}

/// `None` for a damaged file, about which the kernel's errno says enough.
fn format(file: &File) -> Option<Format> {
    let mut head = [0; HEAD_SIZE];
    let length = file.read_at(&mut head, 0).ok()?;
    let head = &head[..length];
    if head.starts_with(b"#!") {
        return script(&head[..length.min(BINPRM_BUF_SIZE)]).map(Format::Script);
    }
    if !head.starts_with(b"\x7fELF") {
        return Some(Format::Refused(ExecRefusal::UnknownFormat));
    }
    let header = Header::read(head)?;
    if !HOST_MACHINES.contains(&header.machine) {
        return Some(Format::Refused(ExecRefusal::Machine(header.machine)));
    }
    Some(Format::Elf(header.interpreter(head, file)))
}

/// The first word after `#!`, as the kernel parses it (`load_script`).
fn script(head: &[u8]) -> Option<CString> {
    let line = head[2..].split(|&byte| byte == b'\n').next()?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !is_space(byte))?;
    let word = line[begin..].split(|byte| is_space(byte) || *byte == 0);
    CString::new(word.into_iter().next()?).ok()
}

/// The header of an ELF file, of any width and byte order.
struct Header {
    is_64_bit: bool,
    big_endian: bool,
    machine: u16,
    /// Offset, entry size and number of the program headers.
    headers_offset: u64,
    header_size: u16,
    header_count: u16,
}

impl Header {
    fn read(head: &[u8]) -> Option<Header> {
        let (is_64_bit, big_endian) = (*head.get(4)? == 2, *head.get(5)? == 2);
        let number = |at: usize, length: usize| number(head, at, length, big_endian);
        let at = |elf32: usize, elf64: usize| if is_64_bit { elf64 } else { elf32 };
        Some(Header {
            is_64_bit,
            big_endian,
            machine: number(18, 2)? as u16,
            headers_offset: number(at(28, 32), at(4, 8))?,
            header_size: number(at(42, 54), 2)? as u16,
            header_count: number(at(44, 56), 2)? as u16,
        })
    }

    /// The path in the PT_INTERP segment.
    fn interpreter(&self, head: &[u8], file: &File) -> Option<CString> {
        const PT_INTERP: u64 = 3;
        let at = |elf32: usize, elf64: usize| if self.is_64_bit { elf64 } else { elf32 };
        let length = usize::from(self.header_size) * usize::from(self.header_count);
        let headers = part(
            head,
            file,
            self.headers_offset,
            length.min(MAX_HEADERS_SIZE),
        )?;
        let header = headers
            .chunks_exact(usize::from(self.header_size).max(1))
            .find(|header| number(header, 0, 4, self.big_endian) == Some(PT_INTERP))?;
        let offset = number(header, at(4, 8), at(4, 8), self.big_endian)?;
        let length = number(header, at(16, 32), at(4, 8), self.big_endian)?;
        let name = part(head, file, offset, length.min(PATH_MAX) as usize)?;
        CString::new(name.split(|&byte| byte == 0).next()?).ok()
    }
}

/// `length` bytes of a file, of which `head` has been read already.
fn part(head: &[u8], file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let begin = usize::try_from(offset).ok()?;
    if let Some(part) = head.get(begin..begin.checked_add(length)?) {
        return Some(part.to_vec());
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// The unsigned integer of `length` bytes at offset `at`.
fn number(bytes: &[u8], at: usize, length: usize, big_endian: bool) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    Some(if big_endian {
        bytes.iter().fold(0, add)
    } else {
        bytes.iter().rev().fold(0, add)
    })
}

/// Opens a file for reading. It was a regular file when it was found; if it has been replaced,
/// O_NONBLOCK keeps a FIFO from blocking this process.
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
    fn e_machine_is_read_in_either_byte_order() {
        for (machine, big) in [(22, true), (243, false)] {
            assert_eq!(Header::read(&elf(machine, big)).unwrap().machine, machine);
        }
        assert!(Header::read(b"\x7fELF but not really").is_none());
    }

    #[test]
    fn an_elf_file_with_invalid_headers_has_no_interpreter() {
        let mut head = elf(HOST_MACHINES[0], false);
        head[32..40].fill(0xff);
        head[54..58].fill(0xff);
        let header = Header::read(&head).unwrap();
        let file = open(c"/dev/null").unwrap();
        assert_eq!(header.interpreter(&head, &file), None);
    }

    #[test]
    fn a_program_for_this_host_is_not_refused() {
        let predict = |path| ExecRefusal::predict(path, &CloseBatch::default());
        assert_eq!(predict(c"/proc/1/no/such"), None);
        assert_eq!(predict(c"/bin/sh"), None);
        assert_eq!(predict(c"/etc/passwd"), Some(ExecRefusal::UnknownFormat));
    }

    #[test]
    fn a_hint_explains_only_the_matching_errno() {
        let missing = ExecRefusal::ScriptInterpreter(c"/bin/sh\r".to_owned());
        assert_eq!(
            missing.hint(Errno::ENOENT).as_deref(),
            Some(
                "its interpreter /bin/sh\\r is not in the root; the lines of the script end with CR LF"
            )
        );
        assert_eq!(missing.hint(Errno::ENOMEM), None);
        let other = ExecRefusal::Machine(22).hint(Errno::ENOEXEC);
        assert_eq!(other.as_deref(), Some("it is a program for s390x"));
        assert_eq!(ExecRefusal::UnknownFormat.hint(Errno::EACCES), None);
    }
}
