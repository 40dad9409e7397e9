#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests the drop-in with programs that do not use AIO, and the module's counters, on
# which all tests of programs rely.

. "${0%/*}/common.sh"

# A preloaded library alone makes no operation and no context, and opens no device.
test_does_nothing_by_itself() {
	# shellcheck disable=SC2016
	count kaio bash -c 'readlink /proc/$$/fd/*; cat /proc/sys/fs/kaio-nr' && exactly 0 &&
		! grep -q /dev/kaio out && [ "$(tail -n1 out)" = 0 ]
}

test_pipelines() {
	noise 1 4 >file
	count kaio bash -c 'cat file | gzip | gzip -d | cmp - file' && exactly 0
}

test_threads_and_processes() {
	count kaio python3 -c 'import concurrent.futures as f, subprocess
with f.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(lambda i: int(subprocess.check_output(["echo", str(i)])), range(32))) == list(range(32))' &&
		exactly 0
}

run_tests
