# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Provides functions for all tests of real programs. The tests run in the Debian
# userland of a guest (scripts/userland). Each function test_NAME is one test, and runs
# in a directory of its own on ext4. Many programs succeed without AIO if there is none,
# so a test passes only if the module's counters show that the operations went through
# the module.
#
# KAIO_LIB=FILE    is the path of libkaio.so.1.
# KAIO_SCALE=N     multiplies the work by N (make test-full).

set -u

STAT=/proc/sys/fs/kaio-stat
SCALE=${KAIO_SCALE:-1}
TEST_SECONDS=$((60 * SCALE)) # No test that works takes this long.

note() { printf '# %s\n' "$*"; }
fail() { note "$*"; return 1; }

# show FILE [LINES]: prints the last lines of the output of a program as notes.
show() { tail -n "${2:-20}" "$1" | tr '\r' '\n' | sed 's/^/# | /'; }

# native COMMAND...: runs the command. kaio COMMAND...: runs it with the drop-in.
native() { timeout -k 5 "$TEST_SECONDS" "$@" >out 2>err </dev/null; }
kaio() { native env LD_PRELOAD="$KAIO_LIB" "$@"; }

# count HOW COMMAND...: runs the command by "native" or "kaio", and sets operations to
# the number of operations that went through the module meanwhile. Fails if the
# command fails, or if an operation has no event when the command has ended.
count() {
	local how=$1 submitted completed before_submitted before_completed rest status
	shift
	read -r before_submitted before_completed rest <$STAT
	"$how" "$@"
	status=$?
	read -r submitted completed rest <$STAT
	operations=$((submitted - before_submitted))
	if [ "$status" != 0 ]; then
		show err
		show out
		fail "it ended with status $status: $*"
		return
	fi
	[ $((completed - before_completed)) = $operations ] ||
		fail "$operations operations submitted, $((completed - before_completed)) completed"
}

# at_least N, exactly N: check the number of operations of the last count.
at_least() { [ "$operations" -ge "$1" ] || fail "$operations operations went through the module, not $1"; }
exactly() { [ "$operations" = "$1" ] || fail "$operations operations went through the module, not $1"; }

# skip REASON: marks the current test as skipped. The test must then succeed.
skip() { skipped=$*; }

# noise SEED MEGABYTES >FILE: writes bytes that are the same in each run.
noise() { python3 -c 'import random, sys
r = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])): sys.stdout.buffer.write(r.randbytes(1 << 20))' "$1" "$2"; }

# run_tests: runs all functions test_* in the order of the script.
run_tests() {
	local names name number=0 failed=0 skips=0 folder skipped operations=0
	[ -r $STAT ] || { echo "1..0 # SKIP kaio is not loaded"; exit 4; }
	[ -r "${KAIO_LIB:-}" ] || { echo "1..0 # SKIP KAIO_LIB=${KAIO_LIB:-} is not there"; exit 4; }
	names=$(sed -n 's/^test_\([a-z0-9_]*\)().*/\1/p' "$0")
	echo "TAP version 13"
	echo "1..$(wc -w <<<"$names")"
	for name in $names; do
		number=$((number + 1))
		folder=$(mktemp -d "/work/$name.XXXXXX")
		cd "$folder" || exit 1
		skipped=
		if "test_$name"; then
			echo "ok $number $name${skipped:+ # SKIP $skipped}"
			[ -z "$skipped" ] || skips=$((skips + 1))
		else
			echo "not ok $number $name"
			failed=$((failed + 1))
		fi
		cd / || exit 1
		rm -rf "$folder"
	done
	echo "# Totals: pass:$((number - failed - skips)) fail:$failed xfail:0 xpass:0 skip:$skips error:0"
	[ $failed = 0 ]
}
