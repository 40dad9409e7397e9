#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio's engine "posixaio": aio_read, aio_write, aio_fsync, aio_suspend.

. "${0%/*}/common.sh"
. "${0%/*}/fio.sh"

through_kaio() { # OPTIONS...
	run_fio kaio posixaio "$@" && exactly "$ios"
}

test_buffered_verified() { through_kaio "${VERIFY[@]}" --iodepth=16; }
test_direct_verified() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1; }
test_depth_1() { through_kaio "${VERIFY[@]}" --iodepth=1; }
test_depth_128() { through_kaio "${VERIFY[@]}" --iodepth=128 --direct=1; }
test_mixed() { through_kaio --rw=randrw --bsrange=512-64k --blockalign=512 --iodepth=32 --direct=1; }

# aio_fsync is a request too: one after each 16 writes, but not after the last.
test_fsync() {
	run_fio kaio posixaio "${VERIFY[@]}" --iodepth=16 --fsync=16 && exactly $((ios + 1024 * SCALE / 16 - 1))
}
test_jobs() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4; }
test_threads() { through_kaio "${VERIFY[@]}" --iodepth=16 --direct=1 --numjobs=4 --thread=1; }
test_native_is_not_counted() { run_fio native posixaio "${VERIFY[@]}" --iodepth=16 && exactly 0; }

run_tests
