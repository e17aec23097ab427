//! `linux.resources.unified`: values for files of cgroup v2 by name (config-linux.md, "Unified").

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Result, ensure};

use super::lines::is_word;
use super::setting::{OnRefusal, Setting};

const FIELD: &str = "linux.resources.unified";

/// Files that are no limits. `rt` itself moves, freezes and kills processes with them, and would
/// wait for a process that is frozen, or that the cgroup does not take.
const NO_LIMITS: [&str; 6] = [
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "cgroup.type",
];

/// The settings, in the order of the files' names. A value with several lines is several
/// settings, because the kernel takes one line per write.
///
/// # Errors
/// When a key is not the name of a file, or of one that is no limit.
pub(in crate::cgroups) fn plan(files: &HashMap<String, String>) -> Result<Vec<Setting>> {
    let mut names: Vec<&String> = files.keys().collect();
    names.sort_unstable();
    let mut settings = Vec::with_capacity(names.len());
    for name in names {
        ensure!(
            is_word(name) && !name.contains('/'),
            "{FIELD}: {name:?} must be a file name (no slashes)"
        );
        let (controller, parameter) = name.split_once('.').unwrap_or_default();
        ensure!(
            !controller.is_empty() && !parameter.is_empty(),
            "{FIELD}: {name:?} must be in the form CONTROLLER.PARAMETER"
        );
        ensure!(
            !NO_LIMITS.contains(&name.as_str()),
            "{FIELD}.{name}: this file is no limit; only rt writes it"
        );
        for line in lines(&files[name]) {
            settings.push(Setting {
                field: FIELD,
                item: format!(".{name}"),
                controller: controller.to_owned().into(),
                file: name.clone().into(),
                value: line,
                on_refusal: OnRefusal::Fail,
            });
        }
    }
    Ok(settings)
}

/// The lines to write. Of an empty value the newline is written, because write(2) of nothing
/// does nothing.
fn lines(value: &str) -> Vec<Cow<'static, str>> {
    let lines = value.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<_> = lines.map(|line| line.to_owned().into()).collect();
    if lines.is_empty() {
        vec![Cow::Borrowed("\n")]
    } else {
        lines
    }
}
