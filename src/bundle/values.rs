//! What the specification demands of values beyond their types.
//!
//! oci-spec's types are laxer in places (a missing number is 0) and stricter
//! in others (an empty string is no enum); both are settled here.

use std::collections::HashSet;

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

use super::places;

/// Maps from free names: in them an empty string is a value like any other.
const FREE: [&str; 3] = ["annotations", "sysctl", "unified"];

/// Removes properties that are null or an empty string. To the programs that
/// write these files, which are in Go, both are the same as absent.
pub(super) fn drop_unset(value: &mut Value) {
    drop_unset_in(value, false);
}

fn drop_unset_in(value: &mut Value, free: bool) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null() && (free || member != ""));
            for (name, member) in members {
                drop_unset_in(member, FREE.contains(&name.as_str()));
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

/// The draft versions before 1.0.0 pass: their files are those of version 1.
pub(super) fn check_version(config: &Value) -> Result<()> {
    let version = match config.get("ociVersion") {
        None => bail!("ociVersion: required"),
        Some(Value::String(version)) => version,
        Some(other) => bail!("ociVersion: {other} is not a string"),
    };
    match major(version) {
        None => bail!("ociVersion: {version:?} is not a version such as \"1.3.0\""),
        Some(0 | 1) => Ok(()),
        Some(_) => bail!("ociVersion: {version:?}: this runtime knows version 1"),
    }
}

/// The major number of `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]` (SemVer 2.0.0).
fn major(version: &str) -> Option<u64> {
    let (rest, build) = version.split_once('+').unwrap_or((version, "0"));
    let (core, prerelease) = rest.split_once('-').unwrap_or((rest, "0"));
    let labels = build.split('.').chain(prerelease.split('.'));
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let mut numbers = core.split('.').map(|number| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = digits && (number == "0" || !number.starts_with('0'));
        canonical.then(|| number.parse::<u64>().ok()).flatten()
    });
    let (major, _, _) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let complete = numbers.next().is_none() && labels.into_iter().all(is_label);
    complete.then_some(major)
}

/// Sections that are not for Linux on this machine.
const PLATFORMS: [&str; 5] = ["solaris", "windows", "vm", "zos", "freebsd"];

pub(super) fn check_platform(config: &Value) -> Result<()> {
    for platform in PLATFORMS {
        let section = config.get(platform).and_then(Value::as_object);
        if section.is_some_and(|members| !members.is_empty()) {
            bail!("{platform}: for another platform than Linux");
        }
    }
    Ok(())
}

/// Where, and what must be there.
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
    ("process.rlimits[]", &["type", "soft", "hard"]),
    ("linux.namespaces[]", &["type"]),
    ("linux.devices[]", &["type", "path"]),
    ("linux.resources.devices[]", &["allow"]),
    ("linux.resources.hugepageLimits[]", &["pageSize", "limit"]),
    ("linux.seccomp", &["defaultAction"]),
    ("linux.seccomp.syscalls[]", &["names", "action"]),
    ("linux.seccomp.syscalls[].args[]", &["index", "value", "op"]),
];

pub(super) fn check_required(config: &Value) -> Result<()> {
    for (pattern, names) in REQUIRED {
        for (place, value) in places::at(config, pattern) {
            let Some(members) = value.as_object() else {
                continue;
            };
            if let Some(name) = names.iter().find(|name| !members.contains_key(**name)) {
                bail!("{}: required", places::join(&place, name));
            }
        }
    }
    Ok(())
}

/// Removes what counts for nothing here, and adds what oci-spec insists on.
pub(super) fn fill_in(config: &mut Value) {
    // What is left of them is empty.
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
    if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
        let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        linux.retain(|name, value| name != "seccomp" || !is_empty(value));
    }
    // No limit is none; oci-spec would read 0, which is one.
    if let Some(resources) = config
        .pointer_mut("/linux/resources")
        .and_then(Value::as_object_mut)
    {
        let is_limit = |pids: &Value| !pids.is_object() || pids.get("limit").is_some();
        resources.retain(|name, value| name != "pids" || is_limit(value));
    }
}

/// # Errors
/// At a value of the right type that means nothing, or that contradicts another.
pub(super) fn check_values(config: &Value) -> Result<()> {
    let args = config.pointer("/process/args").and_then(Value::as_array);
    ensure!(
        !args.is_some_and(Vec::is_empty),
        "process.args: at least one entry is required"
    );
    check_namespaces(config)?;
    check_devices(config)?;
    check_one_of(config, "linux.resources.devices[].type", &["a", "b", "c"])?;
    for (place, size) in strings(config, "linux.resources.hugepageLimits[].pageSize") {
        ensure!(
            is_page_size(size),
            "{place}: {size:?} is not a size such as \"2MB\""
        );
    }
    Ok(())
}

fn check_namespaces(config: &Value) -> Result<()> {
    let mut seen: HashSet<&Value> = HashSet::new();
    for (place, namespace) in places::at(config, "linux.namespaces[]") {
        let Some(kind) = namespace.get("type") else {
            continue;
        };
        ensure!(
            seen.insert(kind),
            "{place}: duplicate namespace type {kind}"
        );
    }
    Ok(())
}

fn check_devices(config: &Value) -> Result<()> {
    check_one_of(config, "linux.devices[].type", &["b", "c", "p", "u"])?;
    for (place, device) in places::at(config, "linux.devices[]") {
        if device.get("type").is_none_or(|kind| kind == "p") {
            continue;
        }
        for number in ["major", "minor"] {
            ensure!(device.get(number).is_some(), "{place}.{number}: required");
        }
    }
    Ok(())
}

fn check_one_of(config: &Value, pattern: &str, allowed: &[&str]) -> Result<()> {
    for (place, text) in strings(config, pattern) {
        ensure!(
            allowed.contains(&text),
            "{place}: {text:?} is none of {}",
            allowed.join(", ")
        );
    }
    Ok(())
}

/// Values of other types are found by their types.
fn strings<'a>(config: &'a Value, pattern: &str) -> impl Iterator<Item = (String, &'a str)> {
    let found = places::at(config, pattern).into_iter();
    found.filter_map(|(place, value)| Some((place, value.as_str()?)))
}

/// `^[1-9][0-9]*[KMG]B$`
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
    fn null_and_empty_are_absent_but_not_in_free_maps() {
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
    fn versions_are_semantic() {
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
    fn page_sizes_are_those_of_the_specification() {
        assert!(is_page_size("2MB") && is_page_size("64KB") && is_page_size("1GB"));
        for bad in ["64kB", "MB", "0MB", "2M", "02MB", "2 MB"] {
            assert!(!is_page_size(bad), "{bad}");
        }
    }
}
