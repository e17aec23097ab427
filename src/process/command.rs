//! The command to execute: arguments, environment, and the paths at which execvp(3) would
//! look for the file.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{AccessFlags, faccessat};

use crate::step::{Cause, Refusal};
use crate::sys::CloseBatch;

/// `process.args` and `process.env`.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) args: Vec<CString>,
    /// `NAME=value`. Each name occurs once; an empty HOME is omitted.
    pub(super) env: Vec<CString>,
    pub(super) home: HomeSource,
    pub(super) file: File,
    /// `args[0]` as Go's `%q` writes it.
    quoted: String,
}

/// Where HOME comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HomeSource {
    /// `process.env`.
    Config,
    /// The container's /etc/passwd.
    Passwd,
}

/// Where to look for the file to execute.
#[derive(Debug)]
pub(super) enum File {
    /// `args[0]` contains a slash, and is the path.
    Path(CString),
    /// The candidates in the directories of PATH: the first that can be executed is used.
    Search(Vec<CString>),
}

impl Command {
    /// `added` are the variables that the runtime sets. They override `env`.
    ///
    /// # Errors
    /// For an invalid value, with its place in config.json.
    pub(super) fn plan(args: &[String], env: &[String], added: &[String]) -> Result<Command> {
        let [name, ..] = args else {
            anyhow::bail!("process.args: must not be empty");
        };
        let args = args
            .iter()
            .enumerate()
            .map(|(i, arg)| {
                CString::new(arg.as_str())
                    .map_err(|_| anyhow!("process.args[{i}]: holds a NUL byte"))
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

    /// The beginning of runc's message, by which managers recognize it.
    pub(super) fn describe(&self) -> String {
        format!("exec: {}", self.quoted)
    }

    /// The path that `args[0]` is; `None` if it is a name to search for.
    pub(super) fn path(&self) -> Option<&OsStr> {
        match &self.file {
            File::Path(path) => Some(OsStr::from_bytes(path.to_bytes())),
            File::Search(_) => None,
        }
    }

    /// The paths at which a name is searched for.
    pub(super) fn candidates(&self) -> impl Iterator<Item = &[u8]> {
        let paths = match &self.file {
            File::Path(_) => &[],
            File::Search(paths) => paths.as_slice(),
        };
        paths.iter().map(|path| path.to_bytes())
    }

    pub(super) fn has_path_variable(&self) -> bool {
        path_variable(&self.env).is_some()
    }

    /// Finds the file, as the user who executes it and in the working directory, so that
    /// `rt create` can report that it is missing.
    ///
    /// # Errors
    /// For a name without a slash always [`Refusal::NotInPath`], as in runc: the search
    /// skips files that cannot be executed.
    pub(super) fn find(&self, unused: &CloseBatch) -> Result<&CStr, Cause> {
        self.find_where(|path| executable(path, unused))
    }

    /// Finds the file by a check of its own.
    ///
    /// # Errors
    /// As [`Command::find`].
    pub(super) fn find_where(
        &self,
        executable: impl Fn(&CStr) -> Result<(), Cause>,
    ) -> Result<&CStr, Cause> {
        match &self.file {
            File::Path(path) => executable(path).map(|()| path.as_c_str()),
            File::Search(paths) => paths
                .iter()
                .find(|path| executable(path).is_ok())
                .map(CString::as_c_str)
                .ok_or(Refusal::NotInPath.into()),
        }
    }
}

/// The value of `_CS_PATH` in confstr(3).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

impl File {
    /// Follows execvp(3), to which the specification refers: an empty element of PATH means
    /// the working directory, and without PATH a default is searched.
    fn plan(name: &str, env: &[CString]) -> Result<File> {
        if name.contains('/') {
            return Ok(File::Path(CString::new(name)?));
        }
        if name.is_empty() {
            return Ok(File::Search(Vec::new()));
        }
        let path = path_variable(env).unwrap_or(DEFAULT_PATH);
        let candidates = path.split(|&byte| byte == b':').map(|directory| {
            let directory = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            CString::new([directory, b"/", name.as_bytes()].concat())
        });
        Ok(File::Search(candidates.collect::<Result<_, _>>()?))
    }
}

/// The value of PATH.
fn path_variable(env: &[CString]) -> Option<&[u8]> {
    env.iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
}

/// Checks that this process, with its current ids and capabilities, may execute `path`.
///
/// Magic links are refused: /proc/self/exe and the links in /proc/self/fd lead to files of
/// the runtime, not of the container (CVE-2019-5736, CVE-2024-21626).
///
/// # Errors
/// When the file is missing, is not a regular file, or may not be executed.
pub(super) fn executable(path: &CStr, unused: &CloseBatch) -> Result<(), Cause> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(AT_FDCWD, path, how)?;
    check_type(fstat(&file)?.st_mode)?;
    // Effective ids: with real ids the check would ignore capabilities, unlike execve(2).
    let flags = AtFlags::AT_EACCESS | AtFlags::AT_EMPTY_PATH;
    faccessat(&file, c"", AccessFlags::X_OK, flags)?;
    unused.add(file);
    Ok(())
}

/// Checks that a file of this mode is a regular file.
pub(super) fn check_type(mode: libc::mode_t) -> Result<(), Cause> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Ok(()),
        SFlag::S_IFDIR => Err(Refusal::IsDirectory.into()),
        // The errno of execve(2) for a device, a FIFO or a socket.
        _ => Err(Errno::EACCES.into()),
    }
}

/// The variables in order. Of several with the same name, the last one is kept.
fn environment(env: &[String], added: &[String]) -> Result<(Vec<CString>, HomeSource)> {
    let env: Vec<&String> = env.iter().chain(added).collect();
    let mut names = HashSet::with_capacity(env.len());
    let mut variables = Vec::with_capacity(env.len() + 1);
    let mut home = HomeSource::Passwd;
    for (i, variable) in env.iter().enumerate().rev() {
        let place = || format!("process.env[{i}]");
        let (name, value) = variable.split_once('=').with_context(|| {
            format!("{}: {variable:?} has no '='; want \"NAME=value\"", place())
        })?;
        ensure!(
            !name.is_empty(),
            "{}: {variable:?} has no name; want \"NAME=value\"",
            place()
        );
        let variable = CString::new(variable.as_str())
            .map_err(|_| anyhow!("{}: holds a NUL byte", place()))?;
        if !names.insert(name) {
            continue;
        }
        if name == "HOME" {
            // An empty HOME counts as absent, as in runc.
            if value.is_empty() {
                continue;
            }
            home = HomeSource::Config;
        }
        variables.push(variable);
    }
    variables.reverse();
    Ok((variables, home))
}

/// `text` in double quotes, formatted like Go's `%q`: managers match runc's messages.
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
            // Rust's set of printable characters is close enough to Go's.
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
            File::Path(path) => vec![path.into_string().unwrap()],
            File::Search(paths) => paths
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
    fn without_path_a_default_is_searched_and_an_empty_name_is_not_found() {
        assert_eq!(candidates("sh", &["XPATH=/a"]), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(candidates("", &["PATH=/a"]), [""; 0]);
    }

    #[test]
    fn the_last_variable_of_a_name_wins() {
        let given = strings(&["A=1", "B=2", "A=3", "C=x=y", "D="]);
        let env = environment(&given, &[]).unwrap().0;
        assert_eq!(env, [c"B=2", c"A=3", c"C=x=y", c"D="].map(CStr::to_owned));
        let env = environment(&given, &strings(&["B=9"])).unwrap().0;
        assert_eq!(env, [c"A=3", c"C=x=y", c"D=", c"B=9"].map(CStr::to_owned));
    }

    #[test]
    fn an_empty_home_counts_as_absent() {
        assert_eq!(
            environment(&strings(&["HOME=/h", "A=1"]), &[]).unwrap().1,
            HomeSource::Config
        );
        let (env, home) = environment(&strings(&["HOME=/h", "HOME="]), &[]).unwrap();
        assert_eq!((env.len(), home), (0, HomeSource::Passwd));
    }

    #[test]
    fn errors_name_the_place_in_config_json() {
        assert_eq!(refused(&[], &[]), "process.args: must not be empty");
        assert!(refused(&["a", "b\0"], &[]).starts_with("process.args[1]: holds a NUL byte"));
        assert_eq!(
            refused(&["a"], &["A=1", "FOO"]),
            "process.env[1]: \"FOO\" has no '='; want \"NAME=value\""
        );
        assert_eq!(
            refused(&["a"], &["=x"]),
            "process.env[0]: \"=x\" has no name; want \"NAME=value\""
        );
        assert!(refused(&["a"], &["A=\0", "A=1"]).starts_with("process.env[0]: holds a NUL byte"));
    }

    #[test]
    fn text_is_quoted_as_in_go() {
        assert_eq!(quote("sh"), r#""sh""#);
        assert_eq!(
            quote("a\"b\\c\n\x07\x1b'é\u{200b}\u{e000}"),
            r#""a\"b\\c\n\a\x1b'é\u200b\ue000""#
        );
        assert_eq!(quote("\u{e0001}"), r#""\U000e0001""#);
    }

    #[test]
    fn only_an_executable_regular_file_is_accepted() {
        let check = |path| executable(path, &CloseBatch::default());
        assert_eq!(check(c"/bin/sh"), Ok(()));
        assert_eq!(check(c"/bin"), Err(Refusal::IsDirectory.into()));
        assert_eq!(check(c"/dev/null"), Err(Errno::EACCES.into()));
        assert_eq!(check(c"/etc/passwd"), Err(Errno::EACCES.into()));
        assert_eq!(check(c"/bin/sh/x"), Err(Errno::ENOTDIR.into()));
        assert_eq!(check(c"/no/such"), Err(Errno::ENOENT.into()));
        assert_eq!(check(c"/proc/self/exe"), Err(Errno::ELOOP.into()));
    }
}
