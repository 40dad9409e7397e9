#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests QEMU's block layer with aio=native on raw images, with qemu-io and qemu-img.
# QEMU falls back to threads without a message that a script could check.

. "${0%/*}/common.sh"

SIZE=$((8 * SCALE)) # This is in megabytes.

NATIVE_RAW=driver=raw,file.driver=file,file.aio=native,file.cache.direct=on,file.filename=

# qemu_io HOW FILE COMMAND...: runs the commands of qemu-io by native AIO.
qemu_io() {
	local how=$1 file=$2 args=() command
	shift 2
	for command; do args+=(-c "$command"); done
	count "$how" qemu-io --image-opts "$NATIVE_RAW$file" "${args[@]}" || return
	! grep -qiE 'fail|error|mismatch' out err || { show out; fail "qemu-io is not content"; }
}

# make_source: makes a file of noise with a hole of whole blocks.
make_source() {
	noise 1 "$SIZE" >source.raw
	fallocate --punch-hole --offset 1M --length 1M source.raw
}

test_patterns() {
	truncate -s "${SIZE}M" image.raw
	qemu_io kaio image.raw "write -P 0x11 0 1M" "write -P 0x22 1M 512k" "write -P 0x33 1536k 4k" \
		"read -P 0x11 0 1M" "read -P 0x22 1M 512k" "read -P 0x33 1536k 4k" "read -P 0 2M 1M" &&
		at_least 7 || return
	# Write the same file without QEMU, and compare.
	python3 -c 'import sys
size = int(sys.argv[1]) << 20
want = b"\x11" * (1 << 20) + b"\x22" * (512 << 10) + b"\x33" * (4 << 10)
open("want.raw", "wb").write(want.ljust(size, b"\0"))' "$SIZE" && cmp image.raw want.raw
}

test_many_at_once() {
	local i commands=()
	truncate -s "${SIZE}M" image.raw
	for ((i = 0; i < 64; i++)); do commands+=("aio_write -P $((i + 1)) $((i * 64))k 64k"); done
	commands+=(aio_flush)
	for ((i = 0; i < 64; i++)); do commands+=("aio_read -P $((i + 1)) $((i * 64))k 64k"); done
	commands+=(aio_flush)
	qemu_io kaio image.raw "${commands[@]}" && at_least 128
}

test_wrong_pattern_is_found() {
	truncate -s "${SIZE}M" image.raw
	qemu_io kaio image.raw "write -P 0x11 0 1M" && ! qemu_io kaio image.raw "read -P 0x12 0 1M" >notes &&
		grep -q "Pattern verification failed" out
}

# QEMU reads and writes by native AIO, at most 2 MB at a time.
test_convert() {
	make_source
	truncate -s "${SIZE}M" copy.raw
	count kaio qemu-img convert -n --image-opts --target-image-opts -t none -T none \
		"${NATIVE_RAW}source.raw" "${NATIVE_RAW}copy.raw" &&
		at_least "$SIZE" && cmp source.raw copy.raw
}

test_convert_there_and_back() {
	make_source
	truncate -s "${SIZE}M" copy.raw
	count kaio qemu-img convert -O qcow2 -T none --image-opts "${NATIVE_RAW}source.raw" middle.qcow2 &&
		at_least $((SIZE / 2)) &&
		count kaio qemu-img convert -n --image-opts --target-image-opts -t none \
			"driver=qcow2,file.driver=file,file.aio=native,file.cache.direct=on,file.filename=middle.qcow2" \
			"${NATIVE_RAW}copy.raw" &&
		at_least "$SIZE" && cmp source.raw copy.raw
}

test_bench_read() {
	noise 1 "$SIZE" >image.raw
	count kaio qemu-img bench -c $((1000 * SCALE)) -d 32 -s 4k -t none -i native -f raw image.raw &&
		exactly $((1000 * SCALE + 1)) # The extra operation tests for fdatasync.
}

test_bench_write_with_flush() {
	truncate -s "${SIZE}M" image.raw
	count kaio qemu-img bench -w -c $((500 * SCALE)) -d 16 -s 4k --flush-interval=50 -t none -i native -f raw image.raw &&
		at_least $((500 * SCALE))
}

test_native_is_not_counted() {
	noise 1 "$SIZE" >image.raw
	count native qemu-img bench -c 200 -d 32 -s 4k -t none -i native -f raw image.raw && exactly 0
}

run_tests
