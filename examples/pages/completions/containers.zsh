# The ids of the containers below the directory of --root.
_rt_containers() {
    local -a ids root
    if [[ -n "$rt_root" ]]; then
        root=(--root "${(Q)rt_root}")
    fi
    ids=(${(f)"$(rt $root list -q 2>/dev/null)"})
    compadd -a ids
}
