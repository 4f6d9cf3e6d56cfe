#!/bin/busybox sh
# The first process of the guest that `cargo xtask test-kernels` boots. The programs to run are added below.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t bpf none /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mkdir -p /var && ln -s /run /var/run
for module in veth dummy bridge vxlan 8021q tun sch_ingress cls_bpf; do
    modprobe "$module" 2>/dev/null
done
ip link set lo up
echo "@@ kernel $(uname -r)"
cd /tests
