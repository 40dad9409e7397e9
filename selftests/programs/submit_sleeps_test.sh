#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests on which file systems the submit call sleeps. The program submit_sleeps reads and
# writes on a disk that takes 20 ms for each request, while another process disturbs the
# file system. A cell is a combination of file system, access and disturbance. make test
# measures the cells in which a file system was seen, or is known from its source, to
# break the promise of FMODE_NOWAIT. make test-full measures all cells, and
# Documentation/compatibility.rst has its table.

. "${0%/*}/common.sh"

SLEEPS=${0%/*}/submit_sleeps
DELAY_MS=20
# With this limit one process can have half a megabyte of dirty pages before the kernel
# throttles it.
DIRTY_BYTES=1048576
CELL_MS=500

ACCESSES="read write append direct-read direct-write direct-append"
DISTURBANCES="none writer fsync freeze cold"

# Let dmsetup make the device nodes itself, because no udev runs here.
export DM_DISABLE_UDEV=1

# quietly COMMAND...: runs the command, and shows its output only if it fails.
quietly() { native "$@" || { show err; fail "it failed: $*"; }; }

# there FILE-SYSTEM MODULE...: loads the modules. Skips the current test if the kernel has
# no such file system.
there() {
	local type=$1
	modprobe -qa "$@"
	grep -qw "$type" /proc/filesystems || { skip "this kernel has no $type"; return 1; }
}

# slow_disk NAME: makes a slow disk of memory, /dev/NAME.
slow_disk() {
	local device=/sys/kernel/config/nullb/$1
	modprobe -q null_blk nr_devices=0
	mountpoint -q /sys/kernel/config || quietly mount -t configfs configfs /sys/kernel/config || return
	mkdir "$device" &&
		echo 400 >"$device/size" &&
		echo 1 >"$device/memory_backed" &&
		echo 2 >"$device/irqmode" &&
		echo $((DELAY_MS * 1000000)) >"$device/completion_nsec" &&
		echo 1 >"$device/power" || fail "there is no null_blk"
}

# only_in_full: skips the current test unless all cells are measured.
only_in_full() { [ "$SCALE" -gt 1 ] || { skip "make test-full measures it"; return 1; }; }

# clean_up: removes what the tests below have set up.
clean_up() {
	local name bad=0
	for name in nfs overlay mnt; do
		! mountpoint -q $name || umount $name || bad=1
	done
	[ ! -d /sys/module/dm_mod ] || dmsetup remove_all
	for name in /sys/kernel/config/nullb/slow*; do
		[ ! -d "$name" ] || rmdir "$name" || bad=1
	done
	[ $bad = 0 ] || fail "what was set up is still in use"
}

# may_sleep CELL COUNT: succeeds if the submit call may sleep this often. For a direct
# transfer ext4 reads the extents of the file from the disk, or waits until a part of them
# has been written there; kaio notices that and leaves the file to workers.
may_sleep() {
	case $1 in
	"ext4 direct-read "* | "ext4 direct-write "*) [ "$2" -le 2 ] ;;
	*) [ "$2" = 0 ] ;;
	esac
}

# cells NAME FILE [ACCESS/DISTURBANCE...]: measures these cells, or all cells if KAIO_SCALE
# is more than 1. Fails if the submit call slept in one of them.
cells() {
	local name=$1 file=$2 cell access disturbance line status bad=0
	shift 2
	if [ "$SCALE" -gt 1 ]; then
		set -- $(for access in $ACCESSES; do
			for disturbance in $DISTURBANCES; do echo "$access/$disturbance"; done
		done)
	fi
	"$SLEEPS" "$file" 1 read none >out || { show out; return 1; }
	sysctl -q vm.dirty_bytes=$DIRTY_BYTES vm.dirty_background_bytes=$((DIRTY_BYTES / 2))
	for cell in "$@"; do
		access=${cell%/*} disturbance=${cell#*/}
		line=$(timeout -k 5 120 "$SLEEPS" "$file" $CELL_MS "$access" "$disturbance")
		status=$?
		[ "$disturbance" != freeze ] || fsfreeze -u "${file%/*}" 2>/dev/null
		note "$(printf '%-10s %-13s %-7s %s' "$name" "$access" "$disturbance" "${line//$'\n'/; }")"
		case $status in
		0)
			line=${line##* slept }
			may_sleep "$name $access $disturbance" "${line%% *}" || bad=1
			;;
		4) ;; # The file system does not support this cell.
		*) bad=1 ;;
		esac
	done
	sysctl -q vm.dirty_ratio=20 vm.dirty_background_ratio=10
	[ $bad = 0 ] || fail "$name: the submit call slept, or a cell could not be measured"
}

# on_disk FILE-SYSTEM CELLS MKFS...: measures the cells on this file system.
on_disk() {
	local type=$1 cells=$2 status
	shift 2
	there "$type" nls_cp437 nls_ascii || return 0
	slow_disk slow && quietly "$@" /dev/slow && mkdir mnt &&
		quietly mount -i -t "$type" /dev/slow mnt && cells "$type" mnt/file $cells
	status=$?
	clean_up && return $status
}

# on_device NAME MODULES TABLE: measures a device of the device mapper.
on_device() {
	local status
	only_in_full || return 0
	modprobe -qa dm-mod $2
	slow_disk slow && slow_disk slow2 &&
		quietly dmsetup create "$1" --table "0 $(blockdev --getsz /dev/slow) $3" &&
		cells "$1" "/dev/mapper/$1"
	status=$?
	clean_up && return $status
}

test_ext4() { on_disk ext4 "direct-read/writer direct-write/fsync direct-read/cold" mkfs.ext4 -q -F; }
test_xfs() { on_disk xfs "direct-read/writer write/writer" mkfs.xfs -q -f; }
test_btrfs() { on_disk btrfs "direct-read/writer direct-read/fsync direct-write/cold" mkfs.btrfs -q -f; }
test_ntfs() { on_disk ntfs "read/writer direct-read/writer" mkntfs -q -F -f; }
test_f2fs() { on_disk f2fs direct-read/cold mkfs.f2fs -q -f; }
test_vfat() { only_in_full || return 0; on_disk vfat "" mkfs.vfat; }
test_exfat() { only_in_full || return 0; on_disk exfat "" mkfs.exfat; }

test_tmpfs() {
	local status
	only_in_full || return 0
	mkdir mnt && quietly mount -t tmpfs tmpfs mnt && cells tmpfs mnt/file
	status=$?
	clean_up && return $status
}

test_overlayfs() {
	local status
	only_in_full || return 0
	there overlay || return 0
	slow_disk slow && quietly mkfs.ext4 -q -F /dev/slow && mkdir mnt overlay &&
		quietly mount -i -t ext4 /dev/slow mnt && mkdir mnt/lower mnt/upper mnt/work &&
		quietly mount -t overlay -o lowerdir=mnt/lower,upperdir=mnt/upper,workdir=mnt/work overlay overlay &&
		cells overlay overlay/file
	status=$?
	clean_up && return $status
}

# ntfs-3g serves the file system from a daemon.
test_fuse() {
	local status
	only_in_full || return 0
	slow_disk slow && quietly mkntfs -q -F -f /dev/slow && mkdir mnt &&
		quietly ntfs-3g /dev/slow mnt && cells fuse mnt/file
	status=$?
	clean_up && return $status
}

test_nfs() {
	local status
	only_in_full || return 0
	there nfs nfsv4 nfsd || return 0
	mkdir -p /run/rpc_pipefs mnt nfs
	mountpoint -q /proc/fs/nfsd || quietly mount -t nfsd nfsd /proc/fs/nfsd || return
	slow_disk slow && quietly mkfs.ext4 -q -F /dev/slow && quietly mount -i -t ext4 /dev/slow mnt &&
		quietly exportfs -i -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 "127.0.0.1:$PWD/mnt" &&
		quietly rpc.mountd --no-udp && echo 10 >/proc/fs/nfsd/nfsv4gracetime &&
		quietly rpc.nfsd -N 3 -V 4.2 2 &&
		quietly mount -t nfs4 -o vers=4.2,sec=sys 127.0.0.1:/ nfs && cells nfs nfs/file
	status=$?
	umount nfs
	rpc.nfsd 0
	exportfs -ua
	pkill -x rpc.mountd
	clean_up && return $status
}

test_block_device() {
	local status
	only_in_full || return 0
	slow_disk slow && cells block /dev/slow
	status=$?
	clean_up && return $status
}

test_dm_delay() { on_device dm-delay dm-delay "delay /dev/slow 0 $DELAY_MS"; }
test_dm_crypt() { on_device dm-crypt dm-crypt "crypt aes-xts-plain64 $(printf '%064d' 1)$(printf '%064d' 2) 0 /dev/slow 0"; }
test_raid1() { on_device raid1 "dm-raid raid1" "raid raid1 2 0 nosync 2 - /dev/slow - /dev/slow2"; }

run_tests
