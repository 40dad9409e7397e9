#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests fio's engine "posixaio", which calls aio_read, aio_write, aio_fsync and
# aio_suspend.

. "${0%/*}/common.sh"
. "${0%/*}/fio.sh"

# shellcheck disable=SC2034
engine=posixaio

test_buffered_verified() { through_kaio "${VERIFY[@]}" --iodepth=16; }
test_direct_verified() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1; }
test_depth_1() { through_kaio "${VERIFY[@]}" --iodepth=1; }
test_depth_128() { through_kaio "${VERIFY[@]}" --iodepth=128 --direct=1; }
test_mixed() { through_kaio --rw=randrw --bsrange=512-64k --blockalign=512 --iodepth=32 --direct=1; }

# fio makes an aio_fsync request after each 16 writes, except after the last ones.
test_fsync() {
	run_fio kaio "${VERIFY[@]}" --iodepth=16 --fsync=16 && exactly $((ios + 1024 * SCALE / 16 - 1))
}
test_jobs() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4; }
test_threads() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4 --thread=1; }
test_native_is_not_counted() { run_fio native "${VERIFY[@]}" --iodepth=16 && exactly 0; }

run_tests
