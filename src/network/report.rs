//! What `rt network` shows: bridges, leases, ports and traffic.
