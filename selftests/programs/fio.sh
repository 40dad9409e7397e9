# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# fio, for the tests of its two engines.

# fio_ios: how many reads and writes fio itself says it has done.
fio_ios() {
	python3 -c 'import json
jobs = json.load(open("fio.json"))["jobs"]
print(sum(job[way]["total_ios"] for job in jobs for way in ("read", "write")))'
}

# run_fio HOW ENGINE OPTIONS...: by "native" or "kaio"; sets ios and operations.
run_fio() {
	local how=$1 engine=$2
	shift 2
	count "$how" fio --name=job --ioengine="$engine" --bs=4k --size=$((4 * SCALE))M --randseed=1 \
		--output=fio.json --output-format=json "$@" || return
	ios=$(fio_ios)
	[ "${ios:-0}" -gt 0 ] || fail "fio did nothing"
}

# What is written is read back, and its checksums compared.
# shellcheck disable=SC2034
VERIFY=(--rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1)
