#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests sysbench fileio with native AIO. They do not use --validate: sysbench has one
# buffer for all requests of a thread, and reads it as soon as io_submit(2) returns.
# That works only if io_submit(2) does all the work.

. "${0%/*}/common.sh"

EVENTS=$((2000 * SCALE))

sysbench_fileio() { # HOW OPTIONS... COMMAND
	local how=$1
	shift
	count "$how" sysbench fileio --file-num=4 --file-total-size=$((8 * SCALE))M --file-block-size=4096 \
		--file-io-mode=async --file-async-backlog=32 --events=$EVENTS --time=0 "$@"
}

# Only the operations of the run are counted: the preparation uses write(2). The module
# does not count fsync(2).
through_kaio() { # OPTIONS...
	sysbench_fileio native "$@" prepare && sysbench_fileio kaio "$@" run &&
		{ grep -Eq "total number of events: +$EVENTS\$" out || { show out; fail "not $EVENTS events"; }; }
}

test_random_reads() { through_kaio --file-test-mode=rndrd && exactly $EVENTS; }
test_random_writes() { through_kaio --file-test-mode=rndwr --file-fsync-freq=0 --file-fsync-end=off && exactly $EVENTS; }
test_mixed_direct() {
	through_kaio --file-test-mode=rndrw --file-extra-flags=direct --file-fsync-freq=0 --file-fsync-end=off && exactly $EVENTS
}
test_sequential_rewrite_direct() {
	through_kaio --file-test-mode=seqrewr --file-extra-flags=direct --file-fsync-freq=0 --file-fsync-end=off && exactly $EVENTS
}

# sysbench counts an fsync of each of the 4 files after each 20 writes as an event.
test_fsync() { through_kaio --file-test-mode=rndwr --file-fsync-freq=20 && at_least $((EVENTS * 3 / 4)); }
test_four_threads() {
	through_kaio --file-test-mode=rndrw --threads=4 --file-fsync-freq=0 --file-fsync-end=off && exactly $EVENTS
}
test_native_is_not_counted() {
	sysbench_fileio native --file-test-mode=rndrw prepare && sysbench_fileio native --file-test-mode=rndrw run && exactly 0
}

run_tests
