# Enters a cgroup of its own in each hierarchy, and namespaces of its own of every kind.
set -e
inner=$1 layout=$2 name=$3
shift
for hierarchy in /sys/fs/cgroup $([ "$layout" = v2 ] && ls -d /sys/fs/cgroup/unified 2>/dev/null || ls -d /sys/fs/cgroup/*/); do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir "$hierarchy/$name"
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$hierarchy/tasks" ] || [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" > "$hierarchy/$name/$file"
    done
    echo $$ > "$hierarchy/$name/cgroup.procs"
done
exec unshare --mount --cgroup --pid --net --ipc --uts --fork --kill-child --propagation private -- sh -c "$inner" sh "$@"
