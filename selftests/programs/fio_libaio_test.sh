#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests fio's engine "libaio". The module counts every read and write of fio.

. "${0%/*}/common.sh"
. "${0%/*}/fio.sh"

# shellcheck disable=SC2034
engine=libaio

test_buffered_verified() { through_kaio "${VERIFY[@]}" --iodepth=16; }
test_direct_verified() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1; }
test_direct_depth_1() { through_kaio "${VERIFY[@]}" --iodepth=1 --direct=1; }
test_direct_depth_32() { through_kaio "${VERIFY[@]}" --iodepth=32 --direct=1; }
test_direct_depth_128() { through_kaio "${VERIFY[@]}" --iodepth=128 --direct=1; }
test_batches() {
	through_kaio "${VERIFY[@]}" --iodepth=64 --direct=1 --iodepth_batch_submit=32 \
		--iodepth_batch_complete_min=1 --iodepth_batch_complete_max=32
}
test_mixed_sizes() { through_kaio --rw=randrw --bsrange=512-64k --iodepth=32 --direct=1 --blockalign=512; }
test_vectored() { through_kaio "${VERIFY[@]}" --iodepth=16 --libaio_vectored=1; }

# The file is in memory, so reads with RWF_NOWAIT must not fail: fio treats EAGAIN as an error.
test_nowait() {
	fio --name=job --filename=file --ioengine=sync --rw=write --size=$((4 * SCALE))M --fsync_on_close=1 >out 2>&1 &&
		cat file >/dev/null &&
		through_kaio --filename=file --rw=randread --iodepth=16 --nowait=1 --invalidate=0
}

# fio waits for the requests in flight and then calls fsync(2) itself.
test_fsync() { through_kaio "${VERIFY[@]}" --iodepth=16 --fsync=16; }
test_userspace_reap() { through_kaio "${VERIFY[@]}" --iodepth=32 --direct=1 --userspace_reap=1; }
test_userspace_reap_buffered() { through_kaio "${VERIFY[@]}" --iodepth=32 --userspace_reap=1; }
test_jobs() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4 --group_reporting=0; }
test_threads() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4 --thread=1; }

# Without kaio the counters do not change, so the other tests do prove something.
test_native_is_not_counted() { run_fio native "${VERIFY[@]}" --iodepth=16 && exactly 0; }

# fio finds a wrong byte. So the tests with "verified" in their names do verify the data.
test_verify_finds_a_wrong_byte() {
	through_kaio "${VERIFY[@]}" --filename=file --iodepth=16 || return
	printf X | dd of=file bs=1 seek=6000 conv=notrunc status=none
	! kaio fio --name=job --ioengine=libaio --filename=file --bs=4k --size=$((4 * SCALE))M --randseed=1 \
		--rw=randwrite --verify=crc32c --verify_only=1 --verify_fatal=1 --iodepth=16 &&
		cat out err | grep -q "verify failed" || fail "fio did not notice"
}

run_tests
