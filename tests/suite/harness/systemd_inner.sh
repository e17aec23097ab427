# Becomes systemd. It sees the files of the host, and can change none of them: the root is an overlay, the
# directories that systemd or a unit of Debian would clean or fill are empty file systems, and the only unit is one
# that starts nothing.
set -e
layout=$1 base=$3
shift 3
mkdir "$base"
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
root=$base/root
for directory in dev run tmp var/tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$directory"; done
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
cgroups=$root/sys/fs/cgroup
if [ "$layout" = v2 ]; then
    mount -t cgroup2 none "$cgroups"
else
    mount -t tmpfs -o mode=755 tmpfs "$cgroups"
    for name in blkio cpu cpuacct cpuset devices freezer memory pids; do
        mkdir "$cgroups/$name"
        mount -t cgroup -o "$name" none "$cgroups/$name"
    done
    mkdir "$cgroups/systemd" "$cgroups/unified"
    mount -t cgroup -o none,name=systemd none "$cgroups/systemd"
    mount -t cgroup2 none "$cgroups/unified"
fi
for shared in "$@"; do
    mkdir -p "$root$shared"
    mount --bind "$shared" "$root$shared"
done
mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
umount -l /run/old
mkdir -p /run/units
printf '[Unit]\nDefaultDependencies=no\n' > /run/units/rt-suite.target
rm -rf /usr/lib/systemd/system-generators /usr/lib/systemd/system /etc/systemd/system
for directory in / /tmp /run /dev /var/tmp; do
    case $(stat -f -c %T "$directory") in tmpfs | overlayfs) ;; *) echo "$directory is the host's" >&2; exit 9 ;; esac
done
exec env -i container=rt-suite PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/systemd/system.control:/run/units \
    /lib/systemd/systemd --system --unit=rt-suite.target --log-target=console --log-level=warning --show-status=no
