//! The decisions about the layers of the root, as text.

use super::{Layers, UPPER, Upper, WORK};
use crate::decisions::{Decisions, list, word};

impl Layers {
    /// Adds the layers, from `root.path` up.
    pub(in crate::rootfs) fn decisions(&self, user_namespace: bool, to: &mut Decisions) {
        let options = if user_namespace { " (userxattr)" } else { "" };
        let [above @ .., root] = self.lower() else {
            return;
        };
        let root = word(root.display());
        let upper = match &self.upper {
            Upper::None => "an overlay without an upper layer".to_owned(),
            Upper::Memory(None) => "an overlay on a tmpfs".to_owned(),
            Upper::Memory(Some(size)) => {
                format!(
                    "an overlay on a tmpfs of size {}",
                    word(size.to_string_lossy())
                )
            }
            Upper::Directory(directory) => format!(
                "an overlay on {}, with {UPPER} and {WORK} in it",
                word(directory.display())
            ),
        };
        to.line(format!("{root}, below {upper}{options}"));
        if !above.is_empty() {
            let above = above.iter().map(|path| word(path.display()));
            to.line(format!(
                "between them, the top layer first: {}",
                list(above)
            ));
        }
    }
}
