//! CRIU, which writes the processes of a container to files, and makes them again (criu(8)).
//!
//! `rt` starts `criu swrk`, which serves one request over a socket and ends. The messages are
//! those of its `rpc.proto`. While CRIU works it tells what it has done ([`Notice`]), and waits
//! for an answer.

pub(crate) mod filters;
mod hierarchy;
mod installed;
mod log;
mod program;
mod rpc;
mod service;

pub(crate) use installed::Criu;
pub(crate) use log::cause;
pub(crate) use rpc::{
    CgroupMode, CgroupRoot, InheritedDescriptor, JoinedNamespace, Options, PageServer, Task,
};
pub(crate) use service::{FIRST_DESCRIPTOR, Failure, Notice, Service, Swrk};
