#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Runs libaio's own tests, each as one test. harness.table lists the ones that are
# skipped, and why. Native AIO has no room for a context meanwhile, so a case
# that passes has used kaio.

HERE=/droptests/harness
LIMIT=90

# Makes devices with the file systems that some cases need, and mounts them on
# testdir.*. The devices are made once: soname/ and preload/ run in one guest.
set_up_disks() {
	local all=/sys/kernel/config/nullb name
	# Another test may have loaded the module before.
	[ -e /sys/module/null_blk ] || insmod /null_blk.ko nr_devices=0 || return
	[ -d $all ] || mount -t configfs configfs /sys/kernel/config || return
	if [ ! -b /dev/enospc ]; then
		for name in enospc ext2; do
			mkdir $all/$name && echo 16 >$all/$name/size && echo 1 >$all/$name/memory_backed &&
				echo 1 >$all/$name/power || return
		done
		dd if=$HERE/enospc.img of=/dev/enospc bs=64k 2>/dev/null &&
			mke2fs -b 4096 /dev/ext2 >/dev/null || return
	fi
	mkdir testdir testdir.enospc testdir.ext2 &&
		mount -t ext2 /dev/enospc testdir.enospc &&
		mount -t ext2 /dev/ext2 testdir.ext2
}

# Makes the files that each case of the harness needs.
make_files() {
	local mode
	for mode in 400:rofile 200:wofile 600:rwfile; do
		rm -f testdir/${mode#*:}
		echo test >testdir/${mode#*:}
		chmod ${mode%:*} testdir/${mode#*:}
	done
}

setting() { awk -v which=$1 -v what=$2 '$1 == which && $2 == what { print $3; exit }' $HERE/harness.table; }
reason() { sed -n "s/^$1 skip //p" $HERE/harness.table; }

run() { # CASE
	local status memory start=$(date +%s)
	memory=$(setting $1 memory)
	if [ -n "$memory" ]; then
		sed "s/^MemTotal:.*/MemTotal: $memory kB/" /proc/meminfo >/tmp/meminfo
		mount --bind /tmp/meminfo /proc/meminfo
	fi
	timeout -s KILL $LIMIT $HERE/$1 >/tmp/out 2>&1
	status=$?
	[ -z "$memory" ] || umount /proc/meminfo
	echo "# harness $1: $(($(date +%s) - start)) s"
	[ $status = 0 ] || sed 's/^/# /' /tmp/out
	[ $status != 137 ] || echo "# killed after $LIMIT s"
	return $status
}

echo "TAP version 13"
set_up_disks || { echo "# no disks for the tests"; exit 1; }
cases=$(cd $HERE && ls | grep -x '[0-9]*' | sort -n)
echo 1..$(echo $cases | wc -w)
n=0 failed=0
native=$(cat /proc/sys/fs/aio-max-nr)
echo 0 >/proc/sys/fs/aio-max-nr || { echo "# native AIO cannot be turned off"; exit 1; }
for test in $cases; do
	n=$((n + 1))
	why=$(reason $test)
	if [ -n "$why" ]; then
		echo "ok $n harness $test # SKIP $why"
		continue
	fi
	make_files
	if run $test; then
		echo "ok $n harness $test"
	else
		echo "not ok $n harness $test (status $?)"
		failed=1
	fi
done
echo $native >/proc/sys/fs/aio-max-nr
umount testdir.enospc testdir.ext2
exit $failed
