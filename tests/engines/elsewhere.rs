//! The engines of another root file system, such as that of a newer Debian.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where the engines are; unset on the host and inside.
const VARIABLE: &str = "RT_ENGINES";
/// The same, for the program that runs inside.
const ENTERED: &str = "RT_ENGINES_ENTERED";

/// The root gets the kernel's file systems, the checkout and what is built from it, and becomes "/". The first argument
/// is the root, the second and third are directories of the host, and the rest is the command.
const ENTER: &str = r#"set -e
root=$(realpath "$1") checkout=$2 built=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
for place in /proc /sys /dev /run /tmp; do mount --rbind "$place" "$root$place"; done
for place in "$checkout" "$built"; do mkdir -p "$root$place"; mount --bind "$place" "$root$place"; done
cd "$root"
pivot_root . .
umount -l .
cd "$checkout"
exec "$@"
"#;

/// The root file system that `RT_ENGINES` names.
pub(crate) fn root() -> Option<PathBuf> {
    env::var_os(VARIABLE).map(PathBuf::from)
}

/// Whether this program runs in such a root file system.
pub(crate) fn is_entered() -> bool {
    env::var_os(ENTERED).is_some()
}

/// Becomes the same program inside `root`. It is linked statically, so it needs nothing there.
pub(crate) fn enter(root: &Path) -> ExitCode {
    let program = env::current_exe().unwrap();
    // The directory of the target, below which are the test programs and rt.
    let built = program.ancestors().nth(4).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ENTER, "sh"]);
    command.args([root, Path::new(env!("CARGO_MANIFEST_DIR")), built, &program]);
    command.args(env::args_os().skip(1));
    command.env_remove(VARIABLE).env(ENTERED, "1");
    let error = command.exec();
    eprintln!("{VARIABLE}={}: {error}", root.display());
    ExitCode::FAILURE
}

/// The name of the distribution in this root file system.
pub(crate) fn distribution() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let mut lines = text.lines();
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("an unknown distribution")
        .trim_matches('"')
        .to_owned()
}
