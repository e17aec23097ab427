//! `rt spec`: writes the config.json that `runc spec` writes. Only the host name is `rt`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Command, ValueHint};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{getegid, geteuid};

use super::{Globals, flag, path_option};

/// The template for a host with cgroup v1.
const TEMPLATE: &str = include_str!("template.json");
/// The template for a user without privileges (`--rootless`).
const ROOTLESS: &str = include_str!("rootless.json");

/// On a host with cgroup v2, [`CGROUP_NAMESPACE`] follows this namespace.
const LAST_NAMESPACE: &str = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";

pub(super) fn define(command: Command) -> Command {
    command
        .about("Write a template of config.json")
        .after_help("Example: rt spec --rootless")
        .arg(
            path_option("bundle", "DIR")
                .short('b')
                .value_hint(ValueHint::DirPath)
                .help("Directory for config.json [default: .]"),
        )
        .arg(flag("rootless").help("Write a config.json for a user without privileges"))
}

pub(super) fn perform(_: &Globals, matches: &ArgMatches) -> Result<u8> {
    let bundle = matches
        .get_one::<PathBuf>("bundle")
        .map_or(Path::new(""), PathBuf::as_path);
    let template = if matches.get_flag("rootless") {
        rootless(geteuid().as_raw(), getegid().as_raw())
    } else {
        TEMPLATE.to_owned()
    };
    let text = if host_has_cgroup_v2() {
        with_cgroup_namespace(&template)
    } else {
        template
    };
    write(&bundle.join("config.json"), &text)?;
    Ok(0)
}

fn rootless(uid: u32, gid: u32) -> String {
    ROOTLESS
        .replace("\"UID\"", &uid.to_string())
        .replace("\"GID\"", &gid.to_string())
}

fn with_cgroup_namespace(template: &str) -> String {
    template.replacen(
        LAST_NAMESPACE,
        &format!("{LAST_NAMESPACE}{CGROUP_NAMESPACE}"),
        1,
    )
}

fn host_has_cgroup_v2() -> bool {
    statfs("/sys/fs/cgroup").is_ok_and(|statfs| statfs.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(path);
    match file {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .with_context(|| path.display().to_string()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("File config.json exists. Remove it first")
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn both_templates_are_valid_json() {
        let config: Value = serde_json::from_str(TEMPLATE).unwrap();
        assert_eq!(config["linux"]["namespaces"].as_array().unwrap().len(), 5);
        let config: Value = serde_json::from_str(&rootless(1000, 100)).unwrap();
        assert_eq!(
            config["linux"]["uidMappings"][0],
            json!({"containerID": 0, "hostID": 1000, "size": 1})
        );
        assert_eq!(config["linux"]["gidMappings"][0]["hostID"], 100);
    }

    #[test]
    fn the_cgroup_namespace_follows_the_mount_namespace() {
        for (template, before) in [(TEMPLATE.to_owned(), 5), (rootless(0, 0), 5)] {
            let config: Value = serde_json::from_str(&with_cgroup_namespace(&template)).unwrap();
            let namespaces = config["linux"]["namespaces"].as_array().unwrap();
            assert_eq!(namespaces.len(), before + 1);
            let mount = namespaces
                .iter()
                .position(|namespace| namespace["type"] == "mount")
                .unwrap();
            assert_eq!(namespaces[mount + 1]["type"], "cgroup");
        }
    }
}
