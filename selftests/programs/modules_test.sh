#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests that file systems and namespaces can be used in the guest: it has the modules
# of its kernel, and root may make namespaces of every kind.

. "${0%/*}/common.sh"

# there FILE-SYSTEM: succeeds if the file system is built in or loaded.
there() { grep -qw "$1" /proc/filesystems || fail "/proc/filesystems has no $1"; }

test_file_systems_can_be_loaded() {
	local name
	for name in xfs btrfs overlay nfs; do
		native modprobe "$name" && there "$name" || { show err; fail "modprobe $name"; return; }
	done
}

test_block_devices_can_be_loaded() {
	local name
	for name in loop dm-delay; do
		native modprobe "$name" || { show err; fail "modprobe $name"; return; }
	done
	[ -e /dev/loop-control ] || fail "there is no /dev/loop-control"
}

# Reads a file through kaio. Its file system is a module, mounted from an image.
test_xfs_on_a_loop_device() {
	mkdir mnt
	truncate -s 400M image
	native mkfs.xfs -q image && native modprobe loop && native mount -o loop image mnt || { show err; return 1; }
	noise 1 4 >mnt/file
	count kaio fio --name=read --filename=mnt/file --size=4M --bs=4k --rw=randread --ioengine=libaio --direct=1 &&
		at_least 1024
	local status=$?
	umount mnt || fail "xfs could not be unmounted"
	return $status
}

test_namespaces() {
	native unshare --user --map-root-user --net --ipc --uts --pid --fork --mount-proc \
		sh -c '[ "$(id -u)" = 0 ] && [ "$$" = 1 ]' || { show err; fail "unshare"; }
}

run_tests
