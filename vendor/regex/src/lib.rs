//! The `regex` that oci-spec asks for, answered by regex-lite.
//!
//! oci-spec uses one regular expression, for one field (`execCPUAffinity`),
//! and only ever calls `Regex::new` and `Regex::is_match`. The full engine
//! adds 1.4 MB to a static binary; the light one has the same interface.

pub use regex_lite::{Error, Regex};
