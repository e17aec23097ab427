//! `rt restore`: a container from a bundle and the images of a checkpoint, by CRIU.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgMatches, Command, ValueHint};

use super::{Globals, checkpoint, flag, id, new_container, option, path_option, target};
use crate::bundle;
use crate::container::{self, Attachment, Request, RestoreRequest};
use crate::process::Passed;

/// A flag that Podman and CRI-O give without its value, to find out whether it exists.
pub(crate) const LSM_MOUNT_CONTEXT: &str = "lsm-mount-context";

pub(super) fn define(command: Command) -> Command {
    let bundle = path_option("bundle", "DIR")
        .short('b')
        .value_hint(ValueHint::DirPath);
    let pid_file = "Write the pid of the container's process to this file";
    checkpoint::define_common(command)
        .about("Make a container from a bundle and the images of a checkpoint, by CRIU")
        .arg(bundle.help("Directory of the bundle [default: .]"))
        .arg(
            flag("detach")
                .short('d')
                .help("Return as soon as the container runs"),
        )
        .arg(path_option("pid-file", "FILE").help(pid_file))
        .arg(
            path_option("console-socket", "SOCKET")
                .help("Send the terminal's master to this Unix socket"),
        )
        .arg(
            flag("no-subreaper")
                .help("Do not become a subreaper: orphaned processes go to the host's init"),
        )
        .arg(flag("no-pivot").help("No effect: CRIU itself changes the root"))
        .arg(option("lsm-profile", "TYPE:NAME").help(
            "AppArmor profile or SELinux label of the processes [default: as in config.json]",
        ))
        .arg(
            option(LSM_MOUNT_CONTEXT, "LABEL")
                .help("SELinux label of new file systems [default: as in config.json]"),
        )
        // No container has it yet.
        .arg(id::argument().value_hint(ValueHint::Other))
        .after_help("Example: rt restore -d -b bundles/web --image-path /var/tmp/web web")
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    let text = |name| matches.get_one::<String>(name).cloned();
    let directory = match path("bundle")? {
        Some(directory) => directory,
        None => target::working_directory()?,
    };
    let request = RestoreRequest {
        common: checkpoint::common(globals, matches)?,
        lsm_profile: text("lsm-profile"),
        lsm_mount_context: text(LSM_MOUNT_CONTEXT),
        container: Request {
            id: id.to_owned(),
            bundle: bundle::open(&directory)
                .map_err(|error| new_container::with_remedy(error, &directory))
                .with_context(|| id.to_owned())?,
            pid_file: path("pid-file")?,
            console_socket: path("console-socket")?,
            pidfd_socket: None,
            no_pivot: matches.get_flag("no-pivot"),
            new_keyring: true,
            passed: Passed::default(),
            cgroups: globals.cgroups,
            systemd: globals.systemd(),
            notify_socket: None,
        },
    };
    let attachment = if matches.get_flag("detach") {
        Attachment::Detached
    } else {
        Attachment::Foreground {
            keep: false,
            reaps: !matches.get_flag("no-subreaper"),
        }
    };
    container::restore(&globals.root, &request, &attachment).with_context(|| id.to_owned())
}
