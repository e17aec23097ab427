//! The three kinds of changes.

/// How an entry differs between two file trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Added,
    Changed,
    Deleted,
}

impl Kind {
    /// The letter that engines print.
    pub(crate) fn letter(self) -> char {
        match self {
            Kind::Added => 'A',
            Kind::Changed => 'C',
            Kind::Deleted => 'D',
        }
    }
}
