//! The sizes of the host's huge pages.

use std::fs;

use crate::cgroups::plan::huge_pages::size_name;

/// The sizes, the smallest first, as in the names of files of the hugetlb controller: `2MB`. `None` if the
/// kernel does not tell them.
pub(in crate::cgroups) fn huge_page_sizes() -> Option<Vec<String>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").ok()? {
        let name = entry.ok()?.file_name();
        let kib = name
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?;
        sizes.push(kib.parse().ok()?);
    }
    sizes.sort_unstable();
    Some(sizes.into_iter().map(size_name).collect())
}
