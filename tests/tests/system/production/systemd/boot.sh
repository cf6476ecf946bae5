#!/bin/sh
# Starts systemd as the first process of namespaces of its own, on a root file system that has it, and ends with it.
#
#   boot.sh ROOT [UNIT]
#
# ROOT is a directory, e.g. what debootstrap makes; UNIT is what systemd starts (multi-user.target). The machine has processes, mounts, host name and
# network of its own, of which only the loopback is there. Needs root. Whoever ends this script ends the machine.
set -eu
root=$(realpath "$1")
unit=${2:-multi-user.target}
case ${BOOT_STAGE:-start} in
start)
    BOOT_STAGE=group exec unshare --mount --propagation private sh "$0" "$root" "$unit"
    ;;
group)
    # The machine's processes are a control group, which is its root.
    mkdir -p "$root/sys/fs/cgroup"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    group=$root/sys/fs/cgroup/ark-test-$$
    mkdir "$group"
    result=0
    # shellcheck disable=SC2016 # The arguments are those of the inner shell.
    BOOT_STAGE=machine setpriv --pdeathsig KILL unshare --pid --mount --uts --ipc --net --fork --kill-child sh -c \
        'echo 0 >"$1/cgroup.procs" && exec unshare --cgroup sh "$2" "$3" "$4"' sh "$group" "$0" "$root" "$unit" || result=$?
    # The kernel takes a moment to end what was left.
    for _ in 1 2 3 4 5; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.2
    done
    exit "$result"
    ;;
machine)
    # The root of the namespace, so that the machine can make namespaces of users: from a chroot nobody can.
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=0755 tmpfs run
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount -t tmpfs -o mode=0755 tmpfs dev
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    mkdir dev/pts dev/shm .before
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    ip link set lo up
    pivot_root . .before
    cd /
    umount -l .before
    rmdir .before
    # systemd hands credentials to a service by a mount, which must reach the service.
    mount --make-rshared /
    exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --log-target=journal --unit="$unit"
    ;;
esac
