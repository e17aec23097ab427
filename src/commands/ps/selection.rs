//! Adds the container's pids to the options for ps(1), so that ps selects its processes.
//!
//! Without a selection, ps lists the processes on the caller's terminal. Here that means all
//! processes of the container, and so do the options that select all processes of the host.
//! They are replaced by the pids: then the table needs no column of pids and no filter.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use nix::unistd::Pid;

/// Options of one letter that select nothing. `-e`, `-A`, `a` and `x` select; all letters that
/// are not listed here may do so too.
struct Letters {
    /// Those without a value.
    plain: &'static [u8],
    /// Those whose value is the rest of the word, or the next word.
    with_value: &'static [u8],
    /// Those that select all processes. Of the BSD style, only both together do.
    everything: &'static [u8],
}

/// `-f`.
const UNIX: Letters = Letters {
    plain: b"FHLMPTZcfjlmwy",
    with_value: b"DOo",
    everything: b"Ae",
};

/// `f`.
const BSD: Letters = Letters {
    plain: b"HMSXZcefhjlmnrsuvw",
    with_value: b"Oko",
    everything: b"ax",
};

/// Long options that select nothing and have no value.
const LONG_PLAIN: [&[u8]; 12] = [
    b"context",
    b"cumulative",
    b"forest",
    b"headers",
    b"header",
    b"heading",
    b"headings",
    b"no-headers",
    b"no-header",
    b"no-heading",
    b"no-headings",
    b"noheaders",
];

/// Long options that select nothing and have a value.
const LONG_WITH_VALUE: [&[u8]; 9] = [
    b"cols",
    b"columns",
    b"date-format",
    b"delimiter",
    b"format",
    b"lines",
    b"rows",
    b"sort",
    b"width",
];

/// Above every pid (`PID_MAX_LIMIT` of the kernel). ps demands at least one pid.
const NO_PROCESS: Pid = Pid::from_raw(i32::MAX);

/// An argument has at most 128 KiB (`MAX_ARG_STRLEN`), and a pid at most eight characters with
/// its comma.
const PIDS_PER_ARGUMENT: usize = 8192;

/// The options `given` with `pids` as the selection. `None` when they select some processes of
/// the host, or cannot be read.
pub(super) fn select(given: &[OsString], pids: &[Pid]) -> Option<Vec<OsString>> {
    let mut options = Options::default();
    let mut words = given.iter().map(OsString::as_os_str);
    while let Some(word) = words.next() {
        options.read(word, &mut words)?;
    }
    if options.bsd_everything.len() == 1 {
        return None;
    }
    // Without -f and the like, an option of the BSD style changes the default columns.
    let flag = if options.bsd { "p" } else { "-p" };
    let none = [NO_PROCESS];
    let pids = if pids.is_empty() { &none } else { pids };
    for pids in pids.chunks(PIDS_PER_ARGUMENT) {
        let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
        options.kept.extend([flag.into(), pids.join(",").into()]);
    }
    Some(options.kept)
}

/// The options that have been read.
#[derive(Default)]
struct Options {
    /// Those that select nothing.
    kept: Vec<OsString>,
    /// Whether one has the BSD style.
    bsd: bool,
    /// Which of [`BSD`]'s `everything` are there.
    bsd_everything: Vec<u8>,
}

impl Options {
    /// Reads `word`, and takes its value from `rest` if it has one there.
    fn read<'a>(&mut self, word: &OsStr, rest: &mut impl Iterator<Item = &'a OsStr>) -> Option<()> {
        let needs_value = match word.as_bytes() {
            [b'-', b'-', name @ ..] => self.read_long(word, name)?,
            [b'-', letters @ ..] => self.read_letters(letters, &UNIX, b"-")?,
            letters => {
                self.bsd = true;
                self.read_letters(letters, &BSD, b"")?
            }
        };
        if needs_value {
            let value = rest.next().filter(|value| !value.is_empty());
            self.kept.push(value?.to_owned());
        }
        Some(())
    }

    /// Whether a value has to follow.
    fn read_long(&mut self, word: &OsStr, name: &[u8]) -> Option<bool> {
        let end = name.iter().position(|byte| matches!(byte, b'=' | b':'));
        let has_value = end.is_some();
        let name = &name[..end.unwrap_or(name.len())];
        let with_value = LONG_WITH_VALUE.contains(&name);
        if !with_value && !LONG_PLAIN.contains(&name) {
            return None;
        }
        self.kept.push(word.to_owned());
        Some(with_value && !has_value)
    }

    /// Whether a value has to follow. Letters that select all processes are left out.
    fn read_letters(&mut self, letters: &[u8], style: &Letters, dash: &[u8]) -> Option<bool> {
        let mut kept = dash.to_vec();
        let mut needs_value = false;
        for (i, letter) in letters.iter().enumerate() {
            if style.everything.contains(letter) {
                if dash.is_empty() && !self.bsd_everything.contains(letter) {
                    self.bsd_everything.push(*letter);
                }
            } else if style.plain.contains(letter) {
                kept.push(*letter);
            } else if style.with_value.contains(letter) {
                kept.extend(&letters[i..]);
                needs_value = i + 1 == letters.len();
                break;
            } else {
                return None;
            }
        }
        if letters.is_empty() {
            return None;
        }
        if kept.len() > dash.len() {
            self.kept.push(OsStr::from_bytes(&kept).to_owned());
        }
        Some(needs_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options in one line, for the pids 7 and 70.
    fn selected(given: &str) -> Option<String> {
        let given: Vec<OsString> = given.split(' ').map(OsString::from).collect();
        let options = select(&given, &[7, 70].map(Pid::from_raw))?;
        let options: Vec<&str> = options.iter().filter_map(|word| word.to_str()).collect();
        Some(options.join(" "))
    }

    #[test]
    fn options_without_a_selection_get_the_pids() {
        for (given, expected) in [
            ("-f", "-f -p 7,70"),
            ("-o pid,comm", "-o pid,comm -p 7,70"),
            ("-opid,comm", "-opid,comm -p 7,70"),
            ("-L --sort=-pid", "-L --sort=-pid -p 7,70"),
            ("--sort -pid -f", "--sort -pid -f -p 7,70"),
            ("--no-headers --cols 80", "--no-headers --cols 80 -p 7,70"),
            ("u", "u p 7,70"),
            ("o pid,args k -pid", "o pid,args k -pid p 7,70"),
            // Of all, only those that run.
            ("r", "r p 7,70"),
        ] {
            assert_eq!(selected(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn the_pids_replace_a_selection_of_all_processes() {
        for (given, expected) in [
            ("-e", "-p 7,70"),
            ("-A", "-p 7,70"),
            ("-ef", "-f -p 7,70"),
            ("-e -f", "-f -p 7,70"),
            ("-eLf", "-Lf -p 7,70"),
            ("-eo comm,pid", "-o comm,pid -p 7,70"),
            ("-eocomm,pid", "-ocomm,pid -p 7,70"),
            ("ax", "p 7,70"),
            ("aux", "u p 7,70"),
            ("auxww", "uww p 7,70"),
            ("axo comm,pid", "o comm,pid p 7,70"),
            ("a x -f", "-f p 7,70"),
        ] {
            assert_eq!(selected(given).as_deref(), Some(expected), "{given}");
        }
    }

    #[test]
    fn options_that_select_some_processes_stay_as_they_are() {
        for given in [
            "-a",
            "-d",
            "-N",
            "a",
            "x",
            "T",
            "g",
            "axg",
            "-x",
            "-aux",
            "7",
            "-7",
            "+7",
            "-C sh",
            "-fC sh",
            "-u root",
            "U root",
            "-p 7",
            "p 7",
            "-q 7",
            "-s 7",
            "-t tty1",
            "-G 0",
            "-e -C sh",
            "--pid 7",
            "--pid=7",
            "--ppid 7",
            "--user root",
            "--deselect",
            "--tty x",
            "--unknown",
            "--help",
            "-V",
            "-o",
            "-o ",
            "--sort",
            "--sort ",
            "-",
            "--",
            "",
        ] {
            assert_eq!(selected(given), None, "{given}");
        }
    }

    #[test]
    fn an_empty_container_and_a_large_one_fit() {
        let given = [OsString::from("-ef")];
        let empty = select(&given, &[]).unwrap();
        assert_eq!(empty, ["-f", "-p", "2147483647"]);
        let pids: Vec<Pid> = (4_000_000..4_020_000).map(Pid::from_raw).collect();
        let large = select(&given, &pids).unwrap();
        assert_eq!(large.len(), 1 + 2 * 3);
        assert!(large.iter().all(|word| word.len() < 128 << 10));
        let listed = large.iter().skip(2).step_by(2);
        let listed = listed.flat_map(|list| list.to_str().unwrap().split(','));
        assert!(listed.eq(pids.iter().map(Pid::to_string)));
    }
}
