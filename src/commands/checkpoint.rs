//! `rt checkpoint`: writes the processes of a container to files, by CRIU.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};

use super::{Globals, flag, id, meant_or_expected, option, path_option, suggest, target};
use crate::container::{self, CheckpointRequest, CriuRequest};
use crate::criu::{CgroupMode, Criu};

/// The values of `--manage-cgroups-mode`.
const CGROUP_MODES: [(&str, CgroupMode); 4] = [
    ("soft", CgroupMode::Soft),
    ("full", CgroupMode::Full),
    ("strict", CgroupMode::Strict),
    ("ignore", CgroupMode::Ignore),
];

/// The flag whose value is an inherited descriptor.
pub(crate) const STATUS_FD: &str = "status-fd";

pub(super) fn define(command: Command) -> Command {
    let parent = "Images of an earlier pre-dump, relative to those of this one";
    define_common(command)
        .about("Write the processes of a container to files, by CRIU, and remove it")
        .arg(path_option("parent-path", "DIR").value_hint(ValueHint::DirPath).help(parent))
        .arg(flag("leave-running").help("Let the container run on"))
        .arg(flag("pre-dump").help("Write the memory only, for a later checkpoint, and let the container run on"))
        .arg(flag("tcp-skip-in-flight").help("Leave out TCP connections that are not established yet"))
        .arg(flag("link-remap").help("Allow open files that are removed and have another name"))
        .arg(option("page-server", "ADDRESS:PORT").help("Send the memory to this page server of CRIU"))
        .arg(
            option(STATUS_FD, "N")
                .value_parser(value_parser!(u32))
                .help("Write a NUL byte to this descriptor when the memory can be fetched (--lazy-pages)"),
        )
        .arg(id::argument())
        .after_help("Example: rt checkpoint --image-path /var/tmp/web web")
}

/// Adds the flags that checkpoint and restore share.
pub(super) fn define_common(command: Command) -> Command {
    let image_path = "Directory of the images [default: ./checkpoint]";
    let work_path = "Directory of CRIU's log and temporary files [default: that of the images]";
    let cgroups = "How CRIU treats cgroups: soft, full, strict or ignore [default: soft]";
    let directory = |arg: Arg| arg.value_hint(ValueHint::DirPath);
    command
        .arg(directory(path_option("image-path", "DIR")).help(image_path))
        .arg(directory(path_option("work-path", "DIR")).help(work_path))
        .arg(flag("tcp-established").help("Allow established TCP connections"))
        .arg(flag("ext-unix-sk").help("Allow connections by Unix socket to processes outside"))
        .arg(flag("shell-job").help("Allow a process whose terminal is the caller's"))
        .arg(flag("file-locks").help("Allow locks of files"))
        .arg(flag("lazy-pages").help("Fetch the memory when it is used, after the restore"))
        .arg(flag("auto-dedup").help("Remove pages of earlier images that newer ones replace"))
        .arg(suggest(
            option("manage-cgroups-mode", "MODE").help(cgroups),
            || CGROUP_MODES.iter().map(|(name, _)| *name).collect(),
        ))
        .arg(suggest(
            option("empty-ns", "KIND").help("Make this namespace empty; network is the only kind"),
            || vec!["network"],
        ))
}

/// # Errors
/// When a value is invalid, or CRIU is not installed.
pub(super) fn common(globals: &Globals, matches: &ArgMatches) -> Result<CriuRequest> {
    let path = |name| target::absolute(matches.get_one::<PathBuf>(name));
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let images = match path("image-path")? {
        Some(images) => images,
        None => target::working_directory()?.join("checkpoint"),
    };
    Ok(CriuRequest {
        images,
        work: path("work-path")?,
        shell_job: matches.get_flag("shell-job"),
        tcp_established: matches.get_flag("tcp-established"),
        ext_unix_sk: matches.get_flag("ext-unix-sk"),
        file_locks: matches.get_flag("file-locks"),
        auto_dedup: matches.get_flag("auto-dedup"),
        lazy_pages: matches.get_flag("lazy-pages"),
        cgroup_mode: cgroup_mode(text("manage-cgroups-mode"))?,
        empty_network: match text("empty-ns") {
            None => false,
            Some("network") => true,
            Some(other) => bail!("--empty-ns: unknown value {other:?}; want network"),
        },
        criu: Criu::find(globals.path.as_deref())?,
    })
}

fn cgroup_mode(value: Option<&str>) -> Result<CgroupMode> {
    let Some(value) = value else {
        return Ok(CgroupMode::Default);
    };
    let known = CGROUP_MODES.iter().find(|(name, _)| *name == value);
    let Some((_, mode)) = known else {
        let names: Vec<&str> = CGROUP_MODES.iter().map(|(name, _)| *name).collect();
        bail!(
            "--manage-cgroups-mode: unknown value {value:?}: {}",
            meant_or_expected(value, &names)
        );
    };
    Ok(*mode)
}

pub(super) fn perform(globals: &Globals, matches: &ArgMatches) -> Result<u8> {
    let id = id::from_matches(matches)?;
    let parent = matches.get_one::<PathBuf>("parent-path").cloned();
    if let Some(parent) = &parent {
        ensure!(
            parent.is_relative(),
            "--parent-path: {parent:?} is absolute; want a path relative to --image-path"
        );
    }
    let page_server = matches.get_one::<String>("page-server");
    let page_server = page_server.map(|value| page_server_of(value)).transpose()?;
    let status = matches.get_one::<u32>(STATUS_FD);
    let status = status.map(|number| {
        let fd = globals.input_descriptors.take(*number);
        fd.with_context(|| format!("--status-fd {number}: not an open descriptor"))
    });
    let request = CheckpointRequest {
        status: status.transpose()?,
        common: common(globals, matches)?,
        parent,
        pre_dump: matches.get_flag("pre-dump"),
        leave_running: matches.get_flag("leave-running"),
        tcp_skip_in_flight: matches.get_flag("tcp-skip-in-flight"),
        link_remap: matches.get_flag("link-remap"),
        page_server,
    };
    container::checkpoint(&globals.root, id, request).with_context(|| id.to_owned())?;
    Ok(0)
}

/// `ADDRESS:PORT`.
fn page_server_of(value: &str) -> Result<(String, u16)> {
    let parsed = value.rsplit_once(':').and_then(|(address, port)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        Some((address.to_owned(), port.parse().ok()?))
    });
    parsed
        .filter(|(address, port)| !address.is_empty() && *port != 0)
        .with_context(|| format!("--page-server: {value:?}: want ADDRESS:PORT"))
}
