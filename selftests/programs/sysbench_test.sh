#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# sysbench fileio by native AIO. --validate writes checksums and compares them.

. "${0%/*}/common.sh"

EVENTS=$((600 * SCALE))

sysbench_fileio() { # HOW OPTIONS... COMMAND
	local how=$1
	shift
	count "$how" sysbench fileio --file-num=4 --file-total-size=$((8 * SCALE))M --file-block-size=4096 \
		--file-io-mode=async --file-async-backlog=32 --validate=on --events=$EVENTS --time=0 "$@"
}

# All events of the run, and no others: preparing writes by write(2).
through_kaio() { # OPTIONS...
	sysbench_fileio native "$@" prepare && sysbench_fileio kaio "$@" run && at_least $EVENTS &&
		{ grep -Eq "total number of events: +$EVENTS\$" out || { show out; fail "not $EVENTS events"; }; }
}

test_random_reads() { through_kaio --file-test-mode=rndrd; }
test_random_writes() { through_kaio --file-test-mode=rndwr; }
test_mixed_direct() { through_kaio --file-test-mode=rndrw --file-extra-flags=direct; }
test_sequential_rewrite_direct() { through_kaio --file-test-mode=seqrewr --file-extra-flags=direct; }
test_fsync_each_write() { through_kaio --file-test-mode=rndwr --file-fsync-freq=10; }
test_four_threads() { through_kaio --file-test-mode=rndrw --threads=4; }
test_native_is_not_counted() {
	sysbench_fileio native --file-test-mode=rndrw prepare && sysbench_fileio native --file-test-mode=rndrw run && exactly 0
}

run_tests
