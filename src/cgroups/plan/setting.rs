//! What is written to the files of a cgroup, each value with its place in config.json.

use std::borrow::Cow;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Setting {
    /// The field it comes from: `linux.resources.memory.limit`.
    pub(in crate::cgroups) place: &'static str,
    /// The controller whose file it is.
    pub(in crate::cgroups) controller: &'static str,
    pub(in crate::cgroups) file: &'static str,
    pub(in crate::cgroups) value: Cow<'static, str>,
    pub(in crate::cgroups) care: Care,
}

/// What to do when the kernel does not take a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum Care {
    /// It is an error.
    Strict,
    /// The value is what a kernel without the file does anyway.
    UnlessAbsent,
    /// `EINVAL` may mean that the old value of the next file forbids this one:
    /// the next is written first, then this one again.
    AfterNext,
}

impl Setting {
    pub(in crate::cgroups) fn new(
        place: &'static str,
        controller: &'static str,
        file: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Setting {
        Setting {
            place,
            controller,
            file,
            value: value.into(),
            care: Care::Strict,
        }
    }

    pub(in crate::cgroups) fn care(self, care: Care) -> Setting {
        Setting { care, ..self }
    }
}

/// The files of a cpuset, in both versions.
pub(in crate::cgroups) const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
