//! A caller that hands on more than it should.
#![allow(
    unsafe_code,
    reason = "what a process hands on is arranged between fork and exec"
)]

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;

use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};

use super::{Call, Report};

impl Call {
    /// From a caller with twenty descriptors open that lack close-on-exec.
    pub(crate) fn leaking(self) -> Call {
        let directory = File::open("/").unwrap();
        let leak = move || {
            for target in 10..30 {
                // SAFETY: duplicates a descriptor in the child that is about to exec.
                if unsafe { libc::dup2(directory.as_raw_fd(), target) } < 0 {
                    return Err(Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `leak` makes only async-signal-safe calls and does not allocate.
        self.with(|command| unsafe { command.pre_exec(leak) })
    }

    /// From a caller that ignores and blocks these signals.
    pub(crate) fn with_signals(self, ignored: &[Signal], blocked: &[Signal]) -> Call {
        let ignored = ignored.to_vec();
        let blocked: SigSet = blocked.iter().copied().collect();
        let set = move || -> Result<()> {
            for one in &ignored {
                // SAFETY: ignoring a signal installs no code.
                unsafe { nix::sys::signal::signal(*one, SigHandler::SigIgn)? };
            }
            Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?)
        };
        // SAFETY: `set` makes only async-signal-safe calls and does not allocate.
        self.with(|command| unsafe { command.pre_exec(set) })
    }
}

impl Report {
    #[track_caller]
    pub(crate) fn assert_only_stdio(&self) {
        let open: Vec<&String> = self["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{}", self["fds"]);
    }

    /// No signal is ignored, handled or blocked, but for 32 and 33: these are the
    /// C library's own, and no program can set them through it.
    #[track_caller]
    pub(crate) fn assert_signals_untouched(&self) {
        for set in ["blocked", "ignored", "caught"] {
            let numbers = self["signals"][set].as_array().unwrap().iter();
            let mut set_by_somebody = numbers.filter(|number| **number != 32 && **number != 33);
            assert_eq!(set_by_somebody.next(), None, "{set}");
        }
    }
}
