//! Hooks: programs that run at six points of a container's life (config.md,
//! "POSIX-platform Hooks").
//!
//! Prestart, createRuntime, poststart and poststop hooks are children of the runtime;
//! createContainer and startContainer hooks are children of init. Each hook reads the
//! container's state on standard input.

mod decisions;
mod init_hooks;
mod run;
mod stdio;

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub(crate) use init_hooks::InitHookFiles;
pub(crate) use run::{Failed, Wait, poll_fds};

use crate::step::Step;

/// When a hook is called, in the order of a container's life (runtime.md, "Lifecycle").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookKind {
    /// Everything is mounted, before pivot_root(2). In the runtime's namespaces.
    /// Deprecated, but Docker still uses it.
    Prestart,
    /// After the prestart hooks, likewise.
    CreateRuntime,
    /// After the createRuntime hooks, in the container's namespaces.
    CreateContainer,
    /// Inside the container, before the process is executed.
    StartContainer,
    /// After the process has been executed.
    Poststart,
    /// After the container has been deleted.
    Poststop,
}

impl HookKind {
    pub(crate) fn all() -> [HookKind; 6] {
        [
            HookKind::Prestart,
            HookKind::CreateRuntime,
            HookKind::CreateContainer,
            HookKind::StartContainer,
            HookKind::Poststart,
            HookKind::Poststop,
        ]
    }
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        })
    }
}

/// One program to run, as in config.json and in state.json. None of its strings contains
/// a NUL byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hook {
    /// Absolute.
    path: String,
    /// Never empty.
    args: Vec<String>,
    /// The whole environment. Without it, a startContainer hook has the environment of the
    /// container's process, and any other hook an empty one.
    env: Option<Vec<String>>,
    /// In seconds. `u32::MAX`, 136 years, stands for anything longer.
    timeout: Option<u32>,
}

/// The hooks that a later command calls (`rt start`, `rt delete`); state.json keeps them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedHooks {
    pub(crate) poststart: Vec<Hook>,
    pub(crate) poststop: Vec<Hook>,
}

/// The validated `hooks` of config.json: each list in the order of calling.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) prestart: Vec<Hook>,
    pub(crate) create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    pub(crate) later: SavedHooks,
}

impl Hooks {
    /// # Errors
    /// `hooks.createRuntime[0].path: "true" is relative; want an absolute path`, and the like.
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
            prestart: list(HookKind::Prestart, prestart.as_ref())?,
            create_runtime: list(HookKind::CreateRuntime, hooks.create_runtime().as_ref())?,
            create_container: list(HookKind::CreateContainer, hooks.create_container().as_ref())?,
            start_container: list(HookKind::StartContainer, hooks.start_container().as_ref())?,
            later: SavedHooks {
                poststart: list(HookKind::Poststart, hooks.poststart().as_ref())?,
                poststop: list(HookKind::Poststop, hooks.poststop().as_ref())?,
            },
        })
    }

    /// Whether there are hooks to call before pivot_root(2), while the host's mounts are visible.
    pub(crate) fn before_pivot(&self) -> bool {
        !(self.prestart.is_empty()
            && self.create_runtime.is_empty()
            && self.create_container.is_empty())
    }

    /// Whether init calls hooks after it was told to start.
    pub(crate) fn at_start(&self) -> bool {
        !self.start_container.is_empty()
    }

    /// Describes a step that concerns hooks: the place in config.json, and the action.
    /// `None` for any other step, or when there is no such hook.
    pub(crate) fn describe(&self, step: Step, item: u16) -> Option<(String, String)> {
        let (moment, hooks) = match step {
            Step::RuntimeHooks => {
                return Some((
                    "hooks".into(),
                    "wait for the hooks that the runtime runs".into(),
                ));
            }
            Step::ContainerHook => (HookKind::CreateContainer, &self.create_container),
            Step::StartHook => (HookKind::StartContainer, &self.start_container),
            _ => return None,
        };
        let item = usize::from(item);
        Some(hooks.get(item)?.describe(moment, item))
    }
}

fn list(moment: HookKind, hooks: Option<&Vec<oci_spec::runtime::Hook>>) -> Result<Vec<Hook>> {
    let hooks = hooks.into_iter().flatten().enumerate();
    hooks
        .map(|(item, hook)| Hook::plan(hook).map_err(|error| at(moment, item, &error)))
        .collect()
}

/// Prefixes an error that starts with a field's name by the hook's place in config.json.
fn at(moment: HookKind, item: usize, error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("hooks.{moment}[{item}].{error:#}")
}

impl Hook {
    fn plan(hook: &oci_spec::runtime::Hook) -> Result<Hook> {
        let path = hook.path().to_str().context("path: is not valid UTF-8")?;
        ensure!(
            path.starts_with('/'),
            "path: {path:?} is relative; want an absolute path"
        );
        let path = without_nul(path).context("path")?;
        let args = strings_without_nul("args", hook.args().as_deref().unwrap_or_default())?;
        let timeout = hook.timeout().map(|seconds| {
            ensure!(
                seconds > 0,
                "timeout: {seconds} is not at least 1 (second); leave it out for no limit"
            );
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
                .map(|env| strings_without_nul("env", env))
                .transpose()?,
            timeout: timeout.transpose()?,
        })
    }

    /// The place in config.json, and the action. `error running createRuntime hook #1` is
    /// runc's text, which managers know.
    pub(crate) fn describe(&self, moment: HookKind, item: usize) -> (String, String) {
        (
            format!("hooks.{moment}[{item}]"),
            format!("error running {moment} hook #{item}: {}", self.path),
        )
    }
}

fn strings_without_nul(field: &str, list: &[String]) -> Result<Vec<String>> {
    let items = list.iter().enumerate();
    items
        .map(|(i, item)| without_nul(item).with_context(|| format!("{field}[{i}]")))
        .collect()
}

/// Checks that a string contains no NUL byte, which execve(2) could not take.
fn without_nul(text: &str) -> Result<String> {
    ensure!(!text.contains('\0'), "holds a NUL byte");
    Ok(text.to_owned())
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
    fn errors_name_the_place_in_config_json() {
        assert_eq!(
            refused(r#"{"createRuntime": [{"path": "/a"}, {"path": "a/b"}]}"#),
            r#"hooks.createRuntime[1].path: "a/b" is relative; want an absolute path"#
        );
        for seconds in [0, -1] {
            assert_eq!(
                refused(&format!(
                    r#"{{"poststop": [{{"path": "/a", "timeout": {seconds}}}]}}"#
                )),
                format!(
                    "hooks.poststop[0].timeout: {seconds} is not at least 1 (second); leave it out for no limit"
                )
            );
        }
        assert!(
            refused(r#"{"prestart": [{"path": "/a", "env": ["A=1", "B\u0000"]}]}"#)
                .starts_with("hooks.prestart[0].env[1]: holds a NUL byte")
        );
    }

    #[test]
    fn without_args_the_program_gets_its_path_as_argv0() {
        for args in ["", r#", "args": []"#] {
            let hooks = plan(&format!(r#"{{"poststart": [{{"path": "/a"{args}}}]}}"#)).unwrap();
            assert_eq!(hooks.later.poststart[0].args, ["/a"]);
        }
    }

    #[test]
    fn a_hook_survives_state_json() {
        let hooks = plan(
            r#"{"poststop": [{"path": "/a", "args": ["a", ""], "env": ["A=1"], "timeout": 9999999999}]}"#,
        )
        .unwrap();
        let kept = serde_json::to_string(&hooks.later).unwrap();
        let again: SavedHooks = serde_json::from_str(&kept).unwrap();
        assert_eq!(again.poststop, hooks.later.poststop);
        assert_eq!(again.poststop[0].timeout, Some(u32::MAX));
    }

    #[test]
    fn three_kinds_of_hooks_run_before_pivot_root() {
        for (json, expected) in [
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
            assert_eq!(plan(json).unwrap().before_pivot(), expected, "{json}");
        }
    }
}
