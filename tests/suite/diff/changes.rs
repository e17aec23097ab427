//! Random changes to a file tree, the same ones for the same seed.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

/// A generator of numbers (Knuth's MMIX constants), which is enough to choose files.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Fills a directory with directories and files, some of them hard links.
pub(super) fn fill(top: &Path) {
    for outer in 0..6 {
        for inner in 0..4 {
            let directory = top.join(format!("d{outer}/e{inner}"));
            fs::create_dir_all(&directory).unwrap();
            for file in 0..3 {
                let text = format!("{outer} {inner} {file}\n");
                fs::write(directory.join(format!("f{file}")), text).unwrap();
            }
            symlink("f0", directory.join("link")).unwrap();
        }
        let linked = top.join(format!("d{outer}/e0/f0"));
        fs::hard_link(linked, top.join(format!("d{outer}/e1/hard"))).unwrap();
    }
}

/// Changes what is below `top` until `count` changes have succeeded.
pub(super) fn change(top: &Path, count: usize, random: &mut Random) {
    let mut done = 0;
    for attempt in 0.. {
        assert!(attempt < count * 10, "only {done} changes succeed");
        let (directories, files) = entries(top);
        let kind = random.below(KINDS.len());
        let place = Place {
            directory: random.pick(&directories).clone(),
            file: random.pick(&files).clone(),
            name: name(random, attempt),
        };
        if KINDS[kind](&place, random).is_ok() {
            done += 1;
            if done == count {
                return;
            }
        }
    }
}

/// A new file of 128 MiB that has two blocks.
pub(super) fn add_sparse(top: &Path) {
    let file = File::create(top.join("sparse")).unwrap();
    file.set_len(128 << 20).unwrap();
    file.write_all_at(b"in the middle", 75 << 20).unwrap();
    file.write_all_at(b"at the end", (128 << 20) - 10).unwrap();
}

/// What a change is about: entries that exist, and a new name.
struct Place {
    directory: PathBuf,
    file: PathBuf,
    name: String,
}

impl Place {
    fn new_path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

type Change = fn(&Place, &mut Random) -> io::Result<()>;

const KINDS: [Change; 20] = [
    |place, random| fs::write(place.new_path(), vec![b'n'; random.below(70_000)]),
    |place, random| append(&place.file, random.below(3000)),
    |place, _| {
        // The content changes, but neither the size nor the time.
        let (text, time) = (
            fs::read(&place.file)?,
            fs::metadata(&place.file)?.modified()?,
        );
        fs::write(&place.file, vec![b'h'; text.len()])?;
        File::options()
            .append(true)
            .open(&place.file)?
            .set_modified(time)
    },
    |place, _| File::options().write(true).open(&place.file)?.set_len(3),
    |place, random| fs::set_permissions(&place.file, mode(random)),
    |place, random| fs::set_permissions(&place.directory, mode(random)),
    |place, random| own(&place.file, random),
    |place, random| own(&place.directory, random),
    |place, random| set_attribute(&place.file, random),
    |place, random| set_attribute(&place.directory, random),
    |place, random| symlink("t".repeat(1 + random.below(300)), place.new_path()),
    |place, _| fs::hard_link(&place.file, place.new_path()),
    |place, _| fs::rename(&place.file, place.new_path()),
    |place, _| fs::remove_file(&place.file),
    |place, _| {
        // Overlayfs makes such a directory opaque.
        fs::remove_dir_all(&place.directory)?;
        fs::create_dir(&place.directory)?;
        fs::write(place.new_path(), "in a new directory")
    },
    |place, _| fs::create_dir_all(place.new_path().join("p".repeat(150))),
    |place, _| {
        Ok(nix::unistd::mkfifo(
            &place.new_path(),
            Mode::from_bits_truncate(0o640),
        )?)
    },
    |place, random| {
        let kind = *random.pick(&[SFlag::S_IFCHR, SFlag::S_IFBLK]);
        let device = makedev(1 + random.below(300) as u64, random.below(70_000) as u64);
        Ok(mknod(
            &place.new_path(),
            kind,
            Mode::from_bits_truncate(0o600),
            device,
        )?)
    },
    |place, random| set_time(&place.file, random),
    |place, random| {
        fs::remove_file(&place.file)?;
        fs::create_dir(&place.file)?;
        append(&place.file.join("below"), random.below(100))
    },
];

/// The directories below `top`, not itself, and the other entries that are regular files.
fn entries(top: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        let mut found: Vec<PathBuf> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        for path in found {
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                directories.push(path.clone());
                waiting.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    (directories, files)
}

/// A name, some of which are long or have special characters.
fn name(random: &mut Random, number: usize) -> String {
    match random.below(8) {
        0 => format!("{number}-{}", "l".repeat(110)),
        1 => format!("{number}-{}", "x".repeat(245)),
        2 => format!("{number} \u{e9}\n=\\"),
        3 => format!("{number}{}", "\u{4e2d}".repeat(60)),
        _ => format!("n{number}"),
    }
}

fn mode(random: &mut Random) -> Permissions {
    Permissions::from_mode(*random.pick(&[0o600, 0o644, 0o755, 0o4755, 0o2750, 0o1777, 0o6711, 0]))
}

fn own(path: &Path, random: &mut Random) -> io::Result<()> {
    let ids = [0, 1, 1000, 65_534, 3_000_000, 4_000_000_000];
    lchown(path, Some(*random.pick(&ids)), Some(*random.pick(&ids)))
}

fn append(path: &Path, length: usize) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    file.write_all(&vec![b'a'; length])
}

fn set_attribute(path: &Path, random: &mut Random) -> io::Result<()> {
    let capability = "0x0100000200040000000000000000000000000000";
    let long = "v".repeat(2000);
    let acl = "0x0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff";
    let (name, value) = *random.pick(&[
        ("user.short", "value"),
        ("user.binary", "0x000a3d00ff0a"),
        ("user.long", long.as_str()),
        ("trusted.of-root", "t"),
        ("security.capability", capability),
        ("system.posix_acl_access", acl),
    ]);
    let mut setfattr = Command::new("setfattr");
    setfattr.args(["-h", "-n", name, "-v", value]).arg(path);
    let status = setfattr.stderr(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other("setfattr"))
    }
}

fn set_time(path: &Path, random: &mut Random) -> io::Result<()> {
    let seconds = *random.pick(&[0, 1, -1, -86_400, 1_000_000_000, 5_000_000_000]);
    let nanoseconds = *random.pick(&[0, 1, 500_000_000, 999_999_999, 120_000_000]);
    let time = TimeSpec::new(seconds, nanoseconds);
    utimensat(
        nix::fcntl::AT_FDCWD,
        path,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?;
    Ok(())
}
