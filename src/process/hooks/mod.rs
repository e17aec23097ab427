//! Hooks: programs of the machine or of the container that run at six moments
//! of a container's life (config.md, "POSIX-platform Hooks").
//!
//! Prestart, createRuntime, poststart and poststop hooks are the runtime's own
//! children; createContainer and startContainer hooks are init's. Each reads the
//! container's state on standard input. What goes in and what comes out are
//! anonymous files, so that nobody waits for anybody to read or write.

mod run;
mod wired;

use std::ffi::CString;
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub(crate) use run::{Failed, Wait, wait_alone};
pub(crate) use wired::WiredHooks;

use crate::step::Step;

/// When hooks are called, in the order of a container's life (runtime.md,
/// "Lifecycle").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// All is mounted and the machine's mounts are still in sight. Deprecated,
    /// and what Docker uses.
    Prestart,
    /// The same.
    CreateRuntime,
    /// The same, in the container's namespaces.
    CreateContainer,
    /// Inside, before the process is executed.
    StartContainer,
    /// The process is executed.
    Poststart,
    /// The container is deleted.
    Poststop,
}

impl Moment {
    /// All of them, in this order.
    pub(crate) fn all() -> [Moment; 6] {
        [
            Moment::Prestart,
            Moment::CreateRuntime,
            Moment::CreateContainer,
            Moment::StartContainer,
            Moment::Poststart,
            Moment::Poststop,
        ]
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Moment::Prestart => "prestart",
            Moment::CreateRuntime => "createRuntime",
            Moment::CreateContainer => "createContainer",
            Moment::StartContainer => "startContainer",
            Moment::Poststart => "poststart",
            Moment::Poststop => "poststop",
        })
    }
}

/// One program to run, as config.json has it and state.json keeps it. No text
/// holds a NUL byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    /// Absolute.
    path: String,
    /// Never empty.
    args: Vec<String>,
    /// All of its environment. Without one, a startContainer hook has that of the
    /// process, any other none.
    env: Option<Vec<String>>,
    /// In seconds; more than 136 years are as good as none.
    timeout: Option<u32>,
}

/// The hooks that are called after the command is done that planned them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LaterHooks {
    pub(crate) poststart: Vec<Hook>,
    pub(crate) poststop: Vec<Hook>,
}

/// `hooks`, decided: each list in the order in which it is called.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) prestart: Vec<Hook>,
    pub(crate) create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    pub(crate) later: LaterHooks,
}

impl Hooks {
    /// # Errors
    /// `hooks.createRuntime[0].path: "true" is not absolute`, and the like.
    pub(crate) fn plan(hooks: Option<&oci_spec::runtime::Hooks>) -> Result<Hooks> {
        let Some(hooks) = hooks else {
            return Ok(Hooks::default());
        };
        #[allow(
            deprecated,
            reason = "the specification still demands prestart, and Docker writes it"
        )]
        let prestart = hooks.prestart();
        Ok(Hooks {
            prestart: list(Moment::Prestart, prestart.as_ref())?,
            create_runtime: list(Moment::CreateRuntime, hooks.create_runtime().as_ref())?,
            create_container: list(Moment::CreateContainer, hooks.create_container().as_ref())?,
            start_container: list(Moment::StartContainer, hooks.start_container().as_ref())?,
            later: LaterHooks {
                poststart: list(Moment::Poststart, hooks.poststart().as_ref())?,
                poststop: list(Moment::Poststop, hooks.poststop().as_ref())?,
            },
        })
    }

    /// Whether any are called while the machine's mounts are still in sight.
    pub(crate) fn before_pivot(&self) -> bool {
        !(self.prestart.is_empty()
            && self.create_runtime.is_empty()
            && self.create_container.is_empty())
    }

    /// The words for a position among hooks. `None` when there is no such.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let (moment, hooks) = match step {
            Step::RuntimeHooks => {
                return Some(("hooks".into(), "wait for those of the runtime".into()));
            }
            Step::ContainerHook => (Moment::CreateContainer, &self.create_container),
            Step::StartHook => (Moment::StartContainer, &self.start_container),
            _ => return None,
        };
        let item = usize::from(item);
        Some(hooks.get(item)?.describe(moment, item))
    }
}

fn list(moment: Moment, hooks: Option<&Vec<oci_spec::runtime::Hook>>) -> Result<Vec<Hook>> {
    let hooks = hooks.into_iter().flatten().enumerate();
    hooks
        .map(|(item, hook)| Hook::plan(hook).map_err(|error| at(moment, item, &error)))
        .collect()
}

/// The place, joined to the rest of it by the dot that begins the error.
fn at(moment: Moment, item: usize, error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("hooks.{moment}[{item}].{error:#}")
}

impl Hook {
    fn plan(hook: &oci_spec::runtime::Hook) -> Result<Hook> {
        let path = hook.path().to_str().context("path: is no UTF-8")?;
        ensure!(path.starts_with('/'), "path: {path:?} is not absolute");
        let path = text(path).context("path")?;
        let args = texts("args", hook.args().as_deref().unwrap_or_default())?;
        let timeout = hook.timeout().map(|seconds| {
            ensure!(seconds > 0, "timeout: {seconds} is not greater than zero");
            Ok(u32::try_from(seconds).unwrap_or(u32::MAX))
        });
        Ok(Hook {
            args: if args.is_empty() {
                vec![path.clone()]
            } else {
                args
            },
            path,
            env: hook
                .env()
                .as_deref()
                .map(|env| texts("env", env))
                .transpose()?,
            timeout: timeout.transpose()?,
        })
    }

    /// Place and deed; `error running createRuntime hook #1` are the words of
    /// runc, which its callers know.
    pub(crate) fn describe(&self, moment: Moment, item: usize) -> (String, String) {
        (
            format!("hooks.{moment}[{item}]"),
            format!("error running {moment} hook #{item}: {}", self.path),
        )
    }
}

fn texts(field: &str, list: &[String]) -> Result<Vec<String>> {
    let items = list.iter().enumerate();
    items
        .map(|(i, item)| text(item).with_context(|| format!("{field}[{i}]")))
        .collect()
}

/// The same text, which can be handed to execve(2).
fn text(text: &str) -> Result<String> {
    Ok(CString::new(text)?.into_string()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str) -> Result<Hooks> {
        Hooks::plan(Some(&serde_json::from_str(json).unwrap()))
    }

    fn refused(json: &str) -> String {
        format!("{:#}", plan(json).unwrap_err())
    }

    #[test]
    fn faults_are_named_by_place() {
        assert_eq!(
            refused(r#"{"createRuntime": [{"path": "/a"}, {"path": "a/b"}]}"#),
            r#"hooks.createRuntime[1].path: "a/b" is not absolute"#
        );
        for seconds in [0, -1] {
            assert_eq!(
                refused(&format!(
                    r#"{{"poststop": [{{"path": "/a", "timeout": {seconds}}}]}}"#
                )),
                format!("hooks.poststop[0].timeout: {seconds} is not greater than zero")
            );
        }
        assert!(
            refused(r#"{"prestart": [{"path": "/a", "env": ["A=1", "B\u0000"]}]}"#)
                .starts_with("hooks.prestart[0].env[1]: nul byte")
        );
    }

    #[test]
    fn without_arguments_the_program_gets_its_path() {
        for args in ["", r#", "args": []"#] {
            let hooks = plan(&format!(r#"{{"poststart": [{{"path": "/a"{args}}}]}}"#)).unwrap();
            assert_eq!(hooks.later.poststart[0].args, ["/a"]);
        }
    }

    #[test]
    fn what_state_json_keeps_is_the_hook() {
        let hooks = plan(
            r#"{"poststop": [{"path": "/a", "args": ["a", ""], "env": ["A=1"], "timeout": 9999999999}]}"#,
        )
        .unwrap();
        let kept = serde_json::to_string(&hooks.later).unwrap();
        let again: LaterHooks = serde_json::from_str(&kept).unwrap();
        assert_eq!(again.poststop, hooks.later.poststop);
        assert_eq!(again.poststop[0].timeout, Some(u32::MAX));
    }

    #[test]
    fn three_kinds_look_at_the_machine() {
        for (json, looks) in [
            ("{}", false),
            (r#"{"prestart": [{"path": "/a"}]}"#, true),
            (r#"{"createRuntime": [{"path": "/a"}]}"#, true),
            (r#"{"createContainer": [{"path": "/a"}]}"#, true),
            (r#"{"startContainer": [{"path": "/a"}]}"#, false),
            (
                r#"{"poststart": [{"path": "/a"}], "poststop": [{"path": "/a"}]}"#,
                false,
            ),
        ] {
            assert_eq!(plan(json).unwrap().before_pivot(), looks, "{json}");
        }
    }
}
