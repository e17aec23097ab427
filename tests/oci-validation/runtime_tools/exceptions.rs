//! The programs of the OCI runtime-tools that `rt` does not pass, with the reasons.

use super::Exception;

/// None is known: the programs have not run against `rt` where Go and their source were at hand.
pub(super) const EXCEPTIONS: &[Exception] = &[];
