//! What is executed: arguments, environment, and the places where execvp(3)
//! would look for the file.

use std::collections::HashSet;
use std::ffi::{CStr, CString};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{AccessFlags, faccessat};

use crate::step::{Cause, Refusal};

/// `process.args` and `process.env`.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) args: Vec<CString>,
    /// `NAME=value`, each name once; HOME is missing if it had no value.
    pub(super) env: Vec<CString>,
    pub(super) home: Home,
    file: File,
    /// `args[0]` as Go's `%q` writes it.
    quoted: String,
}

/// Where HOME comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// The configuration.
    Given,
    /// The container's /etc/passwd.
    FromPasswd,
}

/// Where the file to execute lies.
#[derive(Debug)]
enum File {
    /// `args[0]` has a slash: there and nowhere else.
    At(CString),
    /// In the first of these places that has one.
    Among(Vec<CString>),
}

impl Command {
    /// `added` is what the runtime has to say: it wins over `env`.
    pub(super) fn plan(args: &[String], env: &[String], added: &[String]) -> Result<Command> {
        let [name, ..] = args else {
            anyhow::bail!("process.args: must not be empty");
        };
        let args = args
            .iter()
            .enumerate()
            .map(|(i, arg)| {
                CString::new(arg.as_str()).with_context(|| format!("process.args[{i}]"))
            })
            .collect::<Result<Vec<_>>>()?;
        let (env, home) = environment(env, added)?;
        Ok(Command {
            file: File::plan(name, &env)?,
            quoted: quote(name),
            args,
            env,
            home,
        })
    }

    /// The beginning of runc's message, by which its callers know it.
    pub(super) fn describe(&self) -> String {
        format!("exec: {}", self.quoted)
    }

    /// Finds the file, as the user who will execute it and in the working
    /// directory, so that whoever creates a container hears what is wrong.
    ///
    /// # Errors
    /// For a name without a slash always [`Refusal::NotInPath`], as runc: a file
    /// of that name which cannot be executed is not the one that is meant.
    pub(super) fn find(&self) -> Result<&CStr, Cause> {
        match &self.file {
            File::At(path) => executable(path).map(|()| path.as_c_str()),
            File::Among(paths) => paths
                .iter()
                .find(|path| executable(path).is_ok())
                .map(CString::as_c_str)
                .ok_or(Refusal::NotInPath.into()),
        }
    }
}

/// What confstr(3) says of `_CS_PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

impl File {
    /// As execvp(3), which the specification refers to: an empty element of PATH
    /// is the working directory, and without PATH a default one is searched.
    fn plan(name: &str, env: &[CString]) -> Result<File> {
        if name.contains('/') {
            return Ok(File::At(CString::new(name)?));
        }
        if name.is_empty() {
            return Ok(File::Among(Vec::new()));
        }
        let path = env
            .iter()
            .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
            .unwrap_or(DEFAULT_PATH);
        let candidates = path.split(|&byte| byte == b':').map(|directory| {
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            CString::new([directory, b"/", name.as_bytes()].concat())
        });
        Ok(File::Among(candidates.collect::<Result<_, _>>()?))
    }
}

/// Whether this process, with the ids and capabilities it has now, could
/// execute the file at `path`.
///
/// Magic links are refused: /proc/self/exe and what lies below /proc/self/fd are
/// the runtime's, not the container's (CVE-2019-5736, CVE-2024-21626).
pub(super) fn executable(path: &CStr) -> Result<(), Cause> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(AT_FDCWD, path, how)?;
    match SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => {}
        SFlag::S_IFDIR => return Err(Refusal::IsDirectory.into()),
        // What execve(2) says of a device, a FIFO, a socket.
        _ => return Err(Errno::EACCES.into()),
    }
    // Effective, not real: only then capabilities count as they will in execve(2).
    let flags = AtFlags::AT_EACCESS | AtFlags::AT_EMPTY_PATH;
    faccessat(&file, c"", AccessFlags::X_OK, flags)?;
    Ok(())
}

/// The variables in order, and of several with one name the last.
fn environment(env: &[String], added: &[String]) -> Result<(Vec<CString>, Home)> {
    let env: Vec<&String> = env.iter().chain(added).collect();
    let mut names = HashSet::with_capacity(env.len());
    let mut variables = Vec::with_capacity(env.len() + 1);
    let mut home = Home::FromPasswd;
    for (i, variable) in env.iter().enumerate().rev() {
        let place = || format!("process.env[{i}]");
        let (name, value) = variable
            .split_once('=')
            .with_context(|| format!("{}: {variable:?} has no '='", place()))?;
        ensure!(!name.is_empty(), "{}: {variable:?} has no name", place());
        let whole = CString::new(variable.as_str()).with_context(place)?;
        if !names.insert(name) {
            continue;
        }
        if name == "HOME" {
            // An empty one is none, as in runc.
            if value.is_empty() {
                continue;
            }
            home = Home::Given;
        }
        variables.push(whole);
    }
    variables.reverse();
    Ok((variables, home))
}

/// `text` in double quotes as Go's `%q` writes it, by which callers of runc know
/// its messages.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' | '\r' | '\t' => quoted.extend(c.escape_default()),
            _ if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Rust's own opinion of what can be printed is close enough to Go's.
            _ if c != '\'' && c.escape_debug().len() > 1 => {
                let code = u32::from(c);
                let escape = if code > 0xffff {
                    format!("\\U{code:08x}")
                } else {
                    format!("\\u{code:04x}")
                };
                quoted.push_str(&escape);
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn candidates(name: &str, env: &[&str]) -> Vec<String> {
        let command = Command::plan(&strings(&[name]), &strings(env), &[]).unwrap();
        match command.file {
            File::At(path) => vec![path.into_string().unwrap()],
            File::Among(paths) => paths
                .into_iter()
                .map(|path| path.into_string().unwrap())
                .collect(),
        }
    }

    fn refused(args: &[&str], env: &[&str]) -> String {
        format!(
            "{:#}",
            Command::plan(&strings(args), &strings(env), &[]).unwrap_err()
        )
    }

    #[test]
    fn path_is_searched_as_execvp_does() {
        assert_eq!(candidates("sh", &["PATH=/a:/b"]), ["/a/sh", "/b/sh"]);
        assert_eq!(
            candidates("sh", &["PATH=:/b::"]),
            ["./sh", "/b/sh", "./sh", "./sh"]
        );
        assert_eq!(candidates("sh", &["PATH=bin"]), ["bin/sh"]);
        assert_eq!(candidates("sh", &["PATH="]), ["./sh"]);
        assert_eq!(candidates("./sh", &["PATH=/a"]), ["./sh"]);
        assert_eq!(candidates("sh", &["PATH=/old", "PATH=/new"]), ["/new/sh"]);
    }

    #[test]
    fn no_path_is_the_default_one_and_no_name_finds_nothing() {
        assert_eq!(candidates("sh", &["XPATH=/a"]), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(candidates("", &["PATH=/a"]), [""; 0]);
    }

    #[test]
    fn of_equal_names_the_last_wins() {
        let given = strings(&["A=1", "B=2", "A=3", "C=x=y", "D="]);
        let env = environment(&given, &[]).unwrap().0;
        assert_eq!(env, [c"B=2", c"A=3", c"C=x=y", c"D="].map(CStr::to_owned));
        let env = environment(&given, &strings(&["B=9"])).unwrap().0;
        assert_eq!(env, [c"A=3", c"C=x=y", c"D=", c"B=9"].map(CStr::to_owned));
    }

    #[test]
    fn an_empty_home_is_none() {
        assert_eq!(
            environment(&strings(&["HOME=/h", "A=1"]), &[]).unwrap().1,
            Home::Given
        );
        let (env, home) = environment(&strings(&["HOME=/h", "HOME="]), &[]).unwrap();
        assert_eq!((env.len(), home), (0, Home::FromPasswd));
    }

    #[test]
    fn faults_are_named_by_place() {
        assert_eq!(refused(&[], &[]), "process.args: must not be empty");
        assert!(refused(&["a", "b\0"], &[]).starts_with("process.args[1]: nul byte"));
        assert_eq!(
            refused(&["a"], &["A=1", "FOO"]),
            "process.env[1]: \"FOO\" has no '='"
        );
        assert_eq!(
            refused(&["a"], &["=x"]),
            "process.env[0]: \"=x\" has no name"
        );
        assert!(refused(&["a"], &["A=\0", "A=1"]).starts_with("process.env[0]: nul byte"));
    }

    #[test]
    fn quotes_are_go_s() {
        assert_eq!(quote("sh"), r#""sh""#);
        assert_eq!(
            quote("a\"b\\c\n\x07\x1b'é\u{200b}\u{e000}"),
            r#""a\"b\\c\n\a\x1b'é\u200b\ue000""#
        );
        assert_eq!(quote("\u{e0001}"), r#""\U000e0001""#);
    }

    #[test]
    fn only_an_executable_ordinary_file_will_do() {
        assert_eq!(executable(c"/bin/sh"), Ok(()));
        assert_eq!(executable(c"/bin"), Err(Refusal::IsDirectory.into()));
        assert_eq!(executable(c"/dev/null"), Err(Errno::EACCES.into()));
        assert_eq!(executable(c"/etc/passwd"), Err(Errno::EACCES.into()));
        assert_eq!(executable(c"/bin/sh/x"), Err(Errno::ENOTDIR.into()));
        assert_eq!(executable(c"/no/such"), Err(Errno::ENOENT.into()));
        assert_eq!(executable(c"/proc/self/exe"), Err(Errno::ELOOP.into()));
    }
}
