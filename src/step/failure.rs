//! Why a step failed, and the encoding in which init reports it to the runtime.

use nix::errno::Errno;

use super::Step;

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The kernel refused.
    Errno(Errno),
    /// The kernel refused the file system parameter with this index.
    Parameter(u16, Errno),
    /// `rt` itself refused.
    Refused(Refusal),
    /// A program exited with this status, which is not 0.
    Exit(i32),
    /// The signal with this number ended a program.
    Signal(i32),
    /// A program exceeded this timeout, in seconds.
    TimedOut(u32),
}

numbered_enum! {
    /// Why `rt` refuses what the kernel would accept.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Refusal {
        /// The path of /proc or /sys in the root contains a symbolic link (CVE-2019-19921).
        NotOrdinaryDirectory,
        /// A mount point lies inside /proc (CVE-2019-16884).
        InsideProc,
        /// Another file exists at the path of a device.
        PathOccupied,
        /// A device below /dev is not in the bind mount there.
        NotInBoundDev,
        /// The working directory is not below the container's root (CVE-2024-21626).
        OutsideRoot,
        /// No directory of PATH has the executable.
        NotInPath,
        /// The executable is a directory.
        IsDirectory,
        /// `root.path` is the host's own root, writable.
        HostRoot,
        /// The source of a bind mount on /proc is not procfs.
        NotProc,
        /// The id maps of a user namespace are empty.
        EmptyIdMap,
        /// The id maps of a joined user namespace are not `linux.uidMappings` and
        /// `linux.gidMappings`.
        DifferentIdMaps,
        /// The runtime has ended.
        RuntimeEnded,
        /// The container's process ended while a hook ran.
        ContainerEnded,
        /// Another process has replaced a mount or its mount point.
        MountReplaced,
        /// Only the host's /dev/null could mask the file, and the container could change its
        /// attributes.
        HostNullDevice,
        /// A mounted overlay has the same upper layer.
        UpperInUse,
        /// /tmp of the root leads to a directory of the host.
        LinkToHost,
    }
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause::Errno(errno)
    }
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Cause {
        Cause::Refused(refusal)
    }
}

/// The step and item that failed, and the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) item: u16,
    pub(crate) cause: Cause,
}

impl Failure {
    /// Length of an encoded failure, in bytes.
    pub(crate) const LENGTH: usize = 8;

    pub(crate) fn encode(self) -> [u8; Self::LENGTH] {
        let [low, high] = self.item.to_le_bytes();
        let (kind, number) = match self.cause {
            Cause::Errno(errno) => (0, errno as i32),
            Cause::Refused(refusal) => (1, refusal as i32),
            Cause::Exit(status) => (2, status),
            Cause::Signal(number) => (3, number),
            Cause::TimedOut(seconds) => (4, seconds.cast_signed()),
            // An errno fits into twelve bits (MAX_ERRNO is 4095).
            Cause::Parameter(place, errno) => (5, i32::from(place) << 12 | errno as i32),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [self.step as u8, low, high, kind, a, b, c, d]
    }

    /// `None` for bytes that are no failure.
    pub(crate) fn decode(bytes: [u8; Self::LENGTH]) -> Option<Failure> {
        let [step, low, high, kind, a, b, c, d] = bytes;
        let number = i32::from_le_bytes([a, b, c, d]);
        let cause = match kind {
            0 => Cause::Errno(Errno::from_raw(number)),
            1 => Cause::Refused(Refusal::decode(u8::try_from(number).ok()?)?),
            2 => Cause::Exit(number),
            3 => Cause::Signal(number),
            4 => Cause::TimedOut(number.cast_unsigned()),
            5 => Cause::Parameter(
                u16::try_from(number >> 12).ok()?,
                Errno::from_raw(number & 0xfff),
            ),
            _ => return None,
        };
        Some(Failure {
            step: Step::decode(step)?,
            item: u16::from_le_bytes([low, high]),
            cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_decoded_as_it_was_encoded() {
        for &step in Step::ALL {
            for cause in [
                Cause::Errno(Errno::EPERM),
                Refusal::InsideProc.into(),
                Cause::Exit(255),
                Cause::Signal(9),
                Cause::TimedOut(u32::MAX),
                Cause::Parameter(u16::MAX, Errno::EINVAL),
            ] {
                let failure = Failure {
                    step,
                    item: 511,
                    cause,
                };
                assert_eq!(Failure::decode(failure.encode()), Some(failure));
            }
        }
    }

    #[test]
    fn other_bytes_are_no_failure() {
        assert_eq!(Failure::decode([255, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 9, 0, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 1, 200, 0, 0, 0]), None);
        assert_eq!(Failure::decode([0, 0, 0, 1, 255, 255, 255, 255]), None);
    }
}
