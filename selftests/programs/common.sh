# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of real programs share. They run in the Debian userland of a
# guest (scripts/userland), each of their functions test_NAME as one test in a
# folder of its own on ext4. Many programs do without AIO where there is none, and
# succeed all the same: a test passes only if the module's counters say that the
# operations went through it.
#
# KAIO_LIB=FILE    libkaio.so.1
# KAIO_SCALE=N     so many times the work (make test-full)

set -u

STAT=/proc/sys/fs/kaio-stat
SCALE=${KAIO_SCALE:-1}
TEST_SECONDS=$((60 * SCALE)) # nothing that is right takes so long

note() { printf '# %s\n' "$*"; }
fail() { note "$*"; return 1; }

# What a program said, as notes.
show() { tail -n "${2:-20}" "$1" | tr '\r' '\n' | sed 's/^/# | /'; }

# native COMMAND...: as it is. kaio COMMAND...: with the drop-in.
native() { timeout -k 5 "$TEST_SECONDS" "$@" >out 2>err </dev/null; }
kaio() { native env LD_PRELOAD="$KAIO_LIB" "$@"; }

# count HOW COMMAND...: run it by "native" or "kaio"; sets operations to how many
# went through the module meanwhile. Fails if the command does, or if an
# operation is still without its event when it has ended.
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

# at_least N: of the last count. exactly N: likewise.
at_least() { [ "$operations" -ge "$1" ] || fail "$operations operations went through the module, not $1"; }
exactly() { [ "$operations" = "$1" ] || fail "$operations operations went through the module, not $1"; }

# Bytes that are the same in each run: SEED MEGABYTES >FILE
noise() { python3 -c 'import random, sys
r = random.Random(int(sys.argv[1]))
for _ in range(int(sys.argv[2])): sys.stdout.buffer.write(r.randbytes(1 << 20))' "$1" "$2"; }

# run_tests: all functions test_*, in the order in which they are written.
run_tests() {
	local names name number=0 failed=0 folder operations=0
	[ -r $STAT ] || { echo "1..0 # SKIP kaio is not loaded"; exit 4; }
	[ -r "${KAIO_LIB:-}" ] || { echo "1..0 # SKIP KAIO_LIB=${KAIO_LIB:-} is not there"; exit 4; }
	names=$(sed -n 's/^test_\([a-z0-9_]*\)().*/\1/p' "$0")
	echo "TAP version 13"
	echo "1..$(wc -w <<<"$names")"
	for name in $names; do
		number=$((number + 1))
		folder=$(mktemp -d "/work/$name.XXXXXX")
		cd "$folder" || exit 1
		if "test_$name"; then
			echo "ok $number $name"
		else
			echo "not ok $number $name"
			failed=$((failed + 1))
		fi
		cd / || exit 1
		rm -rf "$folder"
	done
	echo "# Totals: pass:$((number - failed)) fail:$failed xfail:0 xpass:0 skip:0 error:0"
	[ $failed = 0 ]
}
