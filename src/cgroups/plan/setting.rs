//! A setting: one value for one file of a cgroup, with the configuration field it comes from.

use std::borrow::Cow;

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct Setting {
    /// The configuration field, for error messages: `linux.resources.memory.limit`.
    pub(in crate::cgroups) field: &'static str,
    /// The place in the field, if it is a list or an object: `[0].limit`.
    pub(in crate::cgroups) item: String,
    /// The controller that the file belongs to: the beginning of its name in v2.
    pub(in crate::cgroups) controller: Cow<'static, str>,
    pub(in crate::cgroups) file: Cow<'static, str>,
    pub(in crate::cgroups) value: Cow<'static, str>,
    pub(in crate::cgroups) on_refusal: OnRefusal,
}

/// What to do when the kernel refuses a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cgroups) enum OnRefusal {
    /// Report an error.
    Fail,
    /// Continue when the file does not exist: a kernel without it already behaves as asked.
    IgnoreMissingFile,
    /// The next setting is for kernels without this file. It is written if the file does not
    /// exist, and skipped otherwise.
    NextIfMissing,
    /// On `EINVAL`, write the next setting first and then this one again. The present value of
    /// the next file may be what forbids this value.
    RetryAfterNext,
}

impl Setting {
    pub(in crate::cgroups) fn new(
        field: &'static str,
        controller: &'static str,
        file: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Setting {
        Setting {
            field,
            item: String::new(),
            controller: Cow::Borrowed(controller),
            file: Cow::Borrowed(file),
            value: value.into(),
            on_refusal: OnRefusal::Fail,
        }
    }

    pub(in crate::cgroups) fn on_refusal(self, on_refusal: OnRefusal) -> Setting {
        Setting { on_refusal, ..self }
    }

    /// The same setting from a place in the field.
    pub(in crate::cgroups) fn of_item(self, item: String) -> Setting {
        Setting { item, ..self }
    }

    /// The place in the configuration: `linux.resources.hugepageLimits[0].limit`.
    pub(in crate::cgroups) fn place(&self) -> String {
        [self.field, self.item.as_str()].concat()
    }

    /// Whether the file belongs to no controller, so that every cgroup of v2 has it.
    pub(in crate::cgroups) fn is_core(&self) -> bool {
        self.controller == "cgroup"
    }
}

/// The files of the cpuset controller, in both versions.
pub(in crate::cgroups) const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
