#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs stress-ng. Its --aio uses POSIX AIO with signals, and its --aiol uses
# native AIO by raw system calls. --verify compares the data that is read. The exit
# status is 2 if the data differs.

. "${0%/*}/common.sh"

run() { # HOW OPERATIONS OPTIONS...
	local how=$1 nr=$2
	shift 2
	count "$how" stress-ng "$@" --verify --metrics --temp-path . --timeout $((50 * SCALE)) --oom-avoid || return
	# The count of stress-ng itself shows that no time limit came first.
	grep -Eq "(aiol?) +$nr " out err || { show out; fail "it did not do $nr"; }
}

test_aio() { run kaio $((300 * SCALE)) --aio 1 --aio-ops $((300 * SCALE)) && at_least $((300 * SCALE)); }
test_aio_many_requests() {
	run kaio $((300 * SCALE)) --aio 1 --aio-requests 128 --aio-ops $((300 * SCALE)) && at_least $((300 * SCALE))
}
test_aio_processes() { run kaio $((400 * SCALE)) --aio 4 --aio-ops $((400 * SCALE)) && at_least $((400 * SCALE)); }
test_aiol() { run kaio $((300 * SCALE)) --aiol 1 --aiol-ops $((300 * SCALE)) && at_least $((300 * SCALE)); }
test_aiol_many_requests() {
	run kaio $((300 * SCALE)) --aiol 1 --aiol-requests 256 --aiol-ops $((300 * SCALE)) && at_least $((300 * SCALE))
}
test_aiol_processes() { run kaio $((400 * SCALE)) --aiol 4 --aiol-ops $((400 * SCALE)) && at_least $((400 * SCALE)); }
test_aio_native_is_not_counted() { run native 100 --aio 1 --aio-ops 100 && exactly 0; }
test_aiol_native_is_not_counted() { run native 100 --aiol 1 --aiol-ops 100 && exactly 0; }

run_tests
