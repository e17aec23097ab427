//! The figures of directories that have the files of a cgroup.
