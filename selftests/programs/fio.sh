# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Provides functions for the tests of two engines of fio. A test program sets
# engine to one of them.

# fio_ios: prints the number of reads and writes that fio reports.
fio_ios() {
	python3 -c 'import json
jobs = json.load(open("fio.json"))["jobs"]
print(sum(job[way]["total_ios"] for job in jobs for way in ("read", "write")))'
}

# run_fio HOW OPTIONS...: runs fio by "native" or "kaio"; sets ios and operations.
run_fio() {
	local how=$1
	shift
	count "$how" fio --name=job --ioengine="$engine" --bs=4k --size=$((4 * SCALE))M --randseed=1 \
		--output=fio.json --output-format=json "$@" || return
	ios=$(fio_ios)
	[ "${ios:-0}" -gt 0 ] || fail "fio did nothing"
}

# through_kaio OPTIONS...: expects that each read and write of fio goes through the module.
through_kaio() { run_fio kaio "$@" && exactly "$ios"; }

# With these options fio reads back what it has written and compares checksums.
# shellcheck disable=SC2034
VERIFY=(--rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1)
