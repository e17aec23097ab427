//! Checks and normalizations that the specification requires beyond the types of values.
//!
//! oci-spec's types are laxer than the specification in some cases (a missing number is 0) and
//! stricter in others (an empty string is not an enum value). This module corrects both.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

use super::examples::{self, Kind};
use super::field_path;
use super::known_values::unknown_value;

/// Objects whose keys the user chooses. In them an empty string is a value like any other.
const FREE_FORM: [&str; 3] = ["annotations", "sysctl", "unified"];

/// Removes properties that are null or an empty string. The programs that write these files are
/// written in Go, where both mean the same as an absent property.
pub(super) fn drop_unset(value: &mut Value) {
    drop_unset_in(value, false);
}

fn drop_unset_in(value: &mut Value, free_form: bool) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null() && (free_form || member != ""));
            for (name, member) in members {
                drop_unset_in(member, FREE_FORM.contains(&name.as_str()));
            }
        }
        Value::Array(items) => {
            for item in items {
                drop_unset_in(item, false);
            }
        }
        _ => {}
    }
}

/// Checks `ociVersion`. Drafts before 1.0.0 are accepted: their format is that of version 1.
///
/// # Errors
/// When the version is missing, not a semantic version, or has a major number above 1.
pub(super) fn check_version(config: &Value) -> Result<()> {
    let version = match config.get("ociVersion") {
        None => bail!("ociVersion: required"),
        Some(Value::String(version)) => version,
        // Deserialization reports a value of another type.
        Some(_) => return Ok(()),
    };
    match major(version) {
        None => bail!("ociVersion: {version:?} is not a version such as \"1.3.0\""),
        Some(0 | 1) => Ok(()),
        Some(_) => bail!("ociVersion: {version:?}: only version 1 is supported"),
    }
}

/// The major number of a version of the form `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]` (SemVer 2.0.0).
fn major(version: &str) -> Option<u64> {
    let (rest, build) = version.split_once('+').unwrap_or((version, "0"));
    let (core, prerelease) = rest.split_once('-').unwrap_or((rest, "0"));
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = |number: &str| number == "0" || !number.starts_with('0');
    let mut numbers = core.split('.').map(|number| {
        let valid = is_number(number) && is_canonical(number);
        valid.then(|| number.parse::<u64>().ok()).flatten()
    });
    let (major, _, _) = (numbers.next()??, numbers.next()??, numbers.next()??);
    // Only a build label may be a number with a zero in front.
    let is_precedence = |label: &str| is_label(label) && (!is_number(label) || is_canonical(label));
    let complete = numbers.next().is_none()
        && build.split('.').all(is_label)
        && prerelease.split('.').all(is_precedence);
    complete.then_some(major)
}

/// Sections of config.json for platforms other than Linux.
const PLATFORMS: [&str; 5] = ["solaris", "windows", "vm", "zos", "freebsd"];

/// # Errors
/// When the configuration has a non-empty section for another platform.
pub(super) fn check_platform(config: &Value) -> Result<()> {
    for platform in PLATFORMS {
        let section = config.get(platform).and_then(Value::as_object);
        if section.is_some_and(|members| !members.is_empty()) {
            bail!("{platform}: for a platform other than Linux");
        }
    }
    Ok(())
}

/// Objects of which there is one. Those in a list are in [`REQUIRED`].
const OBJECTS: [&str; 20] = [
    "root",
    "hooks",
    "process",
    "process.user",
    "process.capabilities",
    "process.consoleSize",
    "process.scheduler",
    "process.ioPriority",
    "process.execCPUAffinity",
    "linux",
    "linux.resources",
    "linux.resources.memory",
    "linux.resources.cpu",
    "linux.resources.pids",
    "linux.resources.blockIO",
    "linux.resources.network",
    "linux.seccomp",
    "linux.intelRdt",
    "linux.memoryPolicy",
    "linux.personality",
];

/// Refuses a list in place of an object, which serde would read as the members in the order of
/// oci-spec's type.
///
/// # Errors
/// When one of [`OBJECTS`] is a list.
pub(super) fn check_objects(config: &Value) -> Result<()> {
    for path in OBJECTS {
        let mut names = path.split('.');
        let value = names.try_fold(config, |value, name| value.get(name));
        refuse_list(path, path, value)?;
    }
    Ok(())
}

fn refuse_list(path: &str, pattern: &str, value: Option<&Value>) -> Result<()> {
    ensure!(
        !value.is_some_and(Value::is_array),
        "{path}: a list; want {}",
        examples::wanted(Kind::Object, pattern)
    );
    Ok(())
}

/// Objects in lists and others with required properties, by their patterns.
const REQUIRED: &[(&str, &[&str])] = &[
    ("", &["root"]),
    ("root", &["path"]),
    ("mounts[]", &["destination"]),
    ("hooks.prestart[]", &["path"]),
    ("hooks.createRuntime[]", &["path"]),
    ("hooks.createContainer[]", &["path"]),
    ("hooks.startContainer[]", &["path"]),
    ("hooks.poststart[]", &["path"]),
    ("hooks.poststop[]", &["path"]),
    ("process", &["args", "cwd"]),
    ("process.scheduler", &["policy"]),
    ("process.ioPriority", &["class", "priority"]),
    ("process.rlimits[]", &["type", "soft", "hard"]),
    ("mounts[].uidMappings[]", &[]),
    ("mounts[].gidMappings[]", &[]),
    ("linux.uidMappings[]", &[]),
    ("linux.gidMappings[]", &[]),
    ("linux.namespaces[]", &["type"]),
    ("linux.devices[]", &["type", "path"]),
    ("linux.memoryPolicy", &["mode"]),
    ("linux.resources.devices[]", &["allow"]),
    (
        "linux.resources.blockIO.weightDevice[]",
        &["major", "minor"],
    ),
    ("linux.resources.hugepageLimits[]", &["pageSize", "limit"]),
    (
        "linux.resources.network.priorities[]",
        &["name", "priority"],
    ),
    ("linux.seccomp", &["defaultAction"]),
    ("linux.seccomp.syscalls[]", &["names", "action"]),
    ("linux.seccomp.syscalls[].args[]", &["index", "value", "op"]),
];

/// # Errors
/// When an object in [`REQUIRED`] lacks one of its properties, or is a list.
pub(super) fn check_required(config: &Value) -> Result<()> {
    for (pattern, names) in REQUIRED {
        for (path, value) in field_path::find(config, pattern) {
            refuse_list(&path, pattern, Some(value))?;
            let Some(members) = value.as_object() else {
                continue;
            };
            if let Some(name) = names.iter().find(|name| !members.contains_key(**name)) {
                bail!("{}: required", field_path::join(&path, name));
            }
        }
    }
    Ok(())
}

/// Removes properties that have no effect, and adds those that oci-spec requires and the
/// specification does not.
pub(super) fn normalize(config: &mut Value) {
    // `check_platform` has run, so these sections are empty.
    if let Some(members) = config.as_object_mut() {
        members.retain(|name, _| !PLATFORMS.contains(&name.as_str()));
    }
    if let Some(process) = config.get_mut("process").and_then(Value::as_object_mut) {
        // "Runtimes MUST ignore consoleSize if terminal is false or unset."
        if process.get("terminal") != Some(&Value::Bool(true)) {
            process.remove("consoleSize");
        }
        process
            .entry("user")
            .or_insert_with(|| Value::Object(Map::new()));
    }
    rename_scheduler_flags(config.get_mut("process"), |(name, of_crate)| {
        (name, of_crate)
    });
    if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
        let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        linux.retain(|name, value| name != "seccomp" || !is_empty(value));
    }
    // A `pids` without `limit` sets no limit. oci-spec would read a limit of 0.
    if let Some(resources) = config
        .pointer_mut("/linux/resources")
        .and_then(Value::as_object_mut)
    {
        let is_limit = |pids: &Value| !pids.is_object() || pids.get("limit").is_some();
        resources.retain(|name, value| name != "pids" || is_limit(value));
        let huge_pages = resources.get_mut("hugepageLimits");
        let huge_pages = huge_pages.and_then(Value::as_array_mut);
        for limit in huge_pages.into_iter().flatten() {
            // oci-spec has a signed number here. The kernel, too, takes what is larger as this.
            if limit["limit"]
                .as_u64()
                .is_some_and(|limit| limit > i64::MAX as u64)
            {
                limit["limit"] = Value::from(i64::MAX);
            }
        }
    }
}

/// The names of `process.scheduler.flags` (config.md), and those of oci-spec, which has two of them
/// otherwise.
const SCHEDULER_FLAGS: [(&str, &str); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_RECLAIM", "SCHED_FLAG_RECLAIM"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ("SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_POLICY"),
    ("SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_KEEP_PARAMS"),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MIN"),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", "SCHED_FLAG_UTIL_CLAMP_MAX"),
];

/// Gives the flags of a process from oci-spec the names of the specification.
pub(super) fn restore_scheduler_flags(process: &mut Value) {
    rename_scheduler_flags(Some(process), |(name, of_crate)| (of_crate, name));
}

/// Replaces the first name by the second one, for each pair that `pair` makes of one of
/// [`SCHEDULER_FLAGS`].
fn rename_scheduler_flags(
    process: Option<&mut Value>,
    pair: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    let scheduler = process.and_then(|process| process.get_mut("scheduler"));
    let flags = scheduler.and_then(|scheduler| scheduler.get_mut("flags"));
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        let mut pairs = SCHEDULER_FLAGS.iter().copied().map(&pair);
        if let Some((_, new)) = pairs.find(|(old, _)| flag == old) {
            *flag = Value::from(new);
        }
    }
}

/// Comes before [`normalize`], which replaces the names of the specification.
///
/// # Errors
/// When a flag is not one of [`SCHEDULER_FLAGS`].
pub(super) fn check_scheduler_flags(config: &Value) -> Result<()> {
    let names = SCHEDULER_FLAGS.map(|(name, _)| name);
    check_one_of(config, "process.scheduler.flags[]", &names)
}

/// # Errors
/// When a value has the right type but is invalid, or contradicts another value.
pub(super) fn check_values(config: &Value) -> Result<()> {
    let args = config.pointer("/process/args").and_then(Value::as_array);
    ensure!(
        !args.is_some_and(Vec::is_empty),
        "process.args: at least one entry is required: [\"sh\"]"
    );
    check_namespaces(config)?;
    check_devices(config)?;
    check_one_of(config, "linux.resources.devices[].type", &["a", "b", "c"])?;
    for (path, size) in strings(config, "linux.resources.hugepageLimits[].pageSize") {
        ensure!(
            is_page_size(size),
            "{path}: {size:?} is not a number with KB, MB or GB: \"2MB\""
        );
    }
    Ok(())
}

fn check_namespaces(config: &Value) -> Result<()> {
    let mut seen: HashMap<&Value, String> = HashMap::new();
    for (path, namespace) in field_path::find(config, "linux.namespaces[]") {
        let Some(kind) = namespace.get("type") else {
            continue;
        };
        match seen.entry(kind) {
            Entry::Vacant(vacant) => _ = vacant.insert(path),
            Entry::Occupied(first) => bail!(
                "{path}: duplicate namespace type {kind}: remove it, or {}",
                first.get()
            ),
        }
    }
    Ok(())
}

fn check_devices(config: &Value) -> Result<()> {
    check_one_of(config, "linux.devices[].type", &["b", "c", "p", "u"])?;
    for (path, device) in field_path::find(config, "linux.devices[]") {
        if device.get("type").is_none_or(|kind| kind == "p") {
            continue;
        }
        for number in ["major", "minor"] {
            ensure!(device.get(number).is_some(), "{path}.{number}: required");
        }
    }
    Ok(())
}

fn check_one_of(config: &Value, pattern: &str, allowed: &[&str]) -> Result<()> {
    for (path, text) in strings(config, pattern) {
        ensure!(
            allowed.contains(&text),
            "{path}: {}",
            unknown_value(text, allowed)
        );
    }
    Ok(())
}

/// The strings that match a pattern. Deserialization reports values of other types.
fn strings<'a>(config: &'a Value, pattern: &str) -> impl Iterator<Item = (String, &'a str)> {
    let matches = field_path::find(config, pattern).into_iter();
    matches.filter_map(|(path, value)| Some((path, value.as_str()?)))
}

/// Whether `size` matches `^[1-9][0-9]*[KMG]B$`, the specification's pattern.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"]
        .iter()
        .find_map(|unit| size.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty()
            && !number.starts_with('0')
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn null_and_empty_properties_are_removed_except_in_free_form_objects() {
        let mut config = json!({
            "hostname": "", "root": null,
            "annotations": {"a": "", "b": null},
            "linux": {"sysctl": {"c": ""}, "namespaces": [{"type": "pid", "path": ""}]},
            "process": {"args": [""]},
        });
        drop_unset(&mut config);
        let left = json!({
            "annotations": {"a": ""},
            "linux": {"sysctl": {"c": ""}, "namespaces": [{"type": "pid"}]},
            "process": {"args": [""]},
        });
        assert_eq!(config, left);
    }

    #[test]
    fn the_version_is_a_semantic_version() {
        for good in [
            "1.0.0",
            "1.0.2-dev",
            "1.3.0+build.5",
            "0.5.0-dev",
            "1.10.0-rc.1+x-y",
        ] {
            assert!(
                check_version(&json!({"ociVersion": good})).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "01.0.0",
            "1.0.x",
            "1.0.0-",
            "1.0.0-a..b",
            "2.0.0",
        ] {
            assert!(check_version(&json!({"ociVersion": bad})).is_err(), "{bad}");
        }
    }

    #[test]
    fn page_sizes_match_the_pattern_of_the_specification() {
        assert!(is_page_size("2MB") && is_page_size("64KB") && is_page_size("1GB"));
        for bad in ["64kB", "MB", "0MB", "2M", "02MB", "2 MB"] {
            assert!(!is_page_size(bad), "{bad}");
        }
    }
}
