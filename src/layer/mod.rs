//! What a container has changed, as a list and as a layer of an image (image-spec, layer.md).
//!
//! [`compare`] finds the changes, [`Archive`] writes them. Neither knows what a container is:
//! they read two directories, and one of them may belong to a running container, which changes it meanwhile.

mod archive;
mod attributes;
mod compare;
mod kind;

pub(crate) use archive::Archive;
pub(crate) use compare::compare;
pub(crate) use kind::Kind;
