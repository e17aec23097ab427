//! Limits on huge pages (config-linux.md, "Huge page limits"; hugetlb.rst in the kernel).

use std::borrow::Cow;

use anyhow::{Context, Result};
use oci_spec::runtime::LinuxHugepageLimit;

use super::setting::{OnRefusal, Setting};

/// A limit on the huge pages of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroups) struct HugePageLimit {
    /// As in the names of the files: `2MB`.
    pub(in crate::cgroups) size: String,
    /// Bytes.
    pub(in crate::cgroups) limit: u64,
}

const FIELD: &str = "linux.resources.hugepageLimits";

/// The controller, in both versions.
pub(in crate::cgroups) const CONTROLLER: &str = "hugetlb";

/// # Errors
/// When a limit is negative.
pub(in crate::cgroups) fn plan(limits: &[LinuxHugepageLimit]) -> Result<Vec<HugePageLimit>> {
    let mut all = Vec::with_capacity(limits.len());
    for (index, limit) in limits.iter().enumerate() {
        let bytes = u64::try_from(limit.limit()).ok().with_context(|| {
            format!(
                "{FIELD}[{index}].limit: {} is no number of bytes",
                limit.limit()
            )
        })?;
        all.push(HugePageLimit {
            size: limit.page_size().clone(),
            limit: bytes,
        });
    }
    Ok(all)
}

/// The settings for files that end with `suffix`: the pages that are in use, and those that are
/// reserved. A kernel before 5.7 does not count reserved pages.
pub(in crate::cgroups) fn settings(limits: &[HugePageLimit], suffix: &str) -> Vec<Setting> {
    let mut all = Vec::new();
    for (index, HugePageLimit { size, limit }) in limits.iter().enumerate() {
        for (reserved, on_refusal) in [
            ("", OnRefusal::Fail),
            (".rsvd", OnRefusal::IgnoreMissingFile),
        ] {
            all.push(Setting {
                field: FIELD,
                item: format!("[{index}].limit"),
                controller: Cow::Borrowed(CONTROLLER),
                file: format!("{CONTROLLER}.{size}{reserved}{suffix}").into(),
                value: limit.to_string().into(),
                on_refusal,
            });
        }
    }
    all
}

/// The size of the pages that `file` is about.
pub(in crate::cgroups) fn size_of(file: &str) -> Option<&str> {
    file.strip_prefix(CONTROLLER)?
        .strip_prefix('.')?
        .split('.')
        .next()
}

/// The name that the kernel gives to pages of this many KiB.
pub(in crate::cgroups) fn size_name(kib: u64) -> String {
    match kib {
        0x10_0000.. => format!("{}GB", kib >> 20),
        0x400.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_named_as_in_the_names_of_files() {
        for (kib, name) in [
            (64, "64KB"),
            (2048, "2MB"),
            (1 << 20, "1GB"),
            (16 << 20, "16GB"),
        ] {
            assert_eq!(size_name(kib), name);
        }
        assert_eq!(size_of("hugetlb.2MB.rsvd.max"), Some("2MB"));
        assert_eq!(size_of("memory.max"), None);
    }
}
