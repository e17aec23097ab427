//! What the engines and the kernel report of themselves.

use std::path::Path;

use crate::record;

/// The command that prints the version of the engine with these lines.
const COMMANDS: &[(&str, &[&str])] = &[
    ("buildah", &["buildah", "--version"]),
    ("buildah-rootless", &["buildah", "--version"]),
    ("compose", &["docker-compose", "--version"]),
    ("conmon", &["conmon", "--version"]),
    ("containerd", &["containerd", "--version"]),
    ("cri", &["containerd", "--version"]),
    ("docker", &["dockerd", "--version"]),
    ("podman", &["podman", "--version"]),
    ("podman-rootless", &["podman", "--version"]),
    ("slurm", &["slurmd", "-V"]),
    ("swarm", &["dockerd", "--version"]),
];

/// The first line that an engine prints as its version.
pub(crate) fn of(engine: &str) -> String {
    let command = COMMANDS.iter().find(|(known, _)| *known == engine);
    let version = command.and_then(|(_, command)| record::first_line(command));
    version.unwrap_or_else(|| "not installed".to_owned())
}

/// The release of the kernel, and the version of its cgroups.
pub(crate) fn of_kernel() -> String {
    let names = nix::sys::utsname::uname();
    let release = names.map(|names| names.release().to_string_lossy().into_owned());
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let cgroups = if is_v2 { "v2" } else { "v1" };
    format!(
        "Linux {} with cgroup {cgroups}",
        release.unwrap_or_default()
    )
}
