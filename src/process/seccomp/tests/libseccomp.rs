//! libseccomp, in a process of its own, which compiles profiles as runc does (libseccomp.py).

#![allow(
    clippy::disallowed_methods,
    reason = "libseccomp is not linked: Debian's Python has it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use seccompiler::sock_filter;
use serde::Deserialize;
use serde_json::Value;

/// The Python that Debian's packages belong to.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/process/seccomp/tests/libseccomp.py"
);
/// The size of `struct sock_filter`, in bytes.
const INSTRUCTION: usize = 8;

pub(super) struct Libseccomp {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What libseccomp makes of a profile.
pub(super) struct Compiled {
    pub(super) outcome: Outcome,
    /// The names of the profile that libseccomp does not know, and that runc therefore skips.
    pub(super) unknown: Vec<String>,
}

pub(super) enum Outcome {
    Program(Vec<sock_filter>),
    /// With its reason.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    length: usize,
    refusal: Option<String>,
    unknown: Vec<String>,
}

impl Libseccomp {
    /// # Errors
    /// Why there is no libseccomp here.
    pub(super) fn start() -> Result<Libseccomp, String> {
        if cfg!(not(target_arch = "x86_64")) {
            return Err("libseccomp.py knows the architectures of x86-64 only".to_owned());
        }
        let lacks = || "python3 lacks seccomp (package python3-seccomp)".to_owned();
        let mut process = Command::new(PYTHON)
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|_| lacks())?;
        let input = process.stdin.take().ok_or_else(lacks)?;
        let output = process.stdout.take().ok_or_else(lacks)?;
        let mut libseccomp = Libseccomp {
            process,
            input,
            output: BufReader::new(output),
        };
        match libseccomp.line().as_deref() {
            Some("ready") => Ok(libseccomp),
            _ => Err(lacks()),
        }
    }

    /// `None` if libseccomp does not end, or crashes. A new process takes its place.
    pub(super) fn compile(&mut self, profile: &Value) -> Option<Compiled> {
        let compiled = self.try_compile(profile);
        if compiled.is_none() {
            *self = Libseccomp::start().expect("it started before");
        }
        compiled
    }

    fn try_compile(&mut self, profile: &Value) -> Option<Compiled> {
        writeln!(self.input, "{profile}").ok()?;
        let answer: Answer = serde_json::from_str(&self.line()?).ok()?;
        let mut bytes = vec![0; answer.length];
        self.output.read_exact(&mut bytes).ok()?;
        let instructions = bytes.chunks_exact(INSTRUCTION).map(instruction);
        let outcome = match answer.refusal {
            Some(reason) => Outcome::Refused(reason),
            None => Outcome::Program(instructions.collect()),
        };
        Some(Compiled {
            outcome,
            unknown: answer.unknown,
        })
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).ok()?;
        Some(line.strip_suffix('\n')?.to_owned())
    }
}

impl Drop for Libseccomp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn instruction(bytes: &[u8]) -> sock_filter {
    sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}
