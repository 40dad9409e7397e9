#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Tests the module itself: it can be loaded and removed, and cannot be removed
# while it is in use.
#
# The module is loaded when the script starts and when it ends. KAIO_MODULE=FILE
# sets the file of the module. lifetime_test, in the directory of this script,
# holds the module.

MODULE=${KAIO_MODULE:-/kaio.ko}
# This module uses kaio. The test loads it again when it ends.
MOCK=${KAIO_MOCK_MODULE:-/kaio_mock.ko}
HOLDER=$(dirname "$0")/lifetime_test
DEVICE=/dev/kaio
PARAMETERS=/sys/module/kaio/parameters

tests="loaded unload_and_load load_twice
	open_refuses_unload context_refuses_unload ring_refuses_unload requests_refuse_unload
	unload_after_kill
	default_mode mode_0600 mode_0444 mode_not_a_number
	max_nr_at_load max_nr_not_a_number unknown_parameter_is_harmless"

holder=
out=/tmp/kaio-holder.$$

note() { echo "# $*"; }
is_loaded() { [ -d /sys/module/kaio ]; }
load() { insmod "$MODULE" "$@" >/dev/null 2>&1; }
unload() { rmmod kaio >/dev/null 2>&1; }

# in_time COMMAND...: succeeds as soon as the command does, within 20 seconds.
in_time() {
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return 1
		sleep 0.1
	done
}

is_gone() { ! is_loaded && [ ! -e $DEVICE ]; }

# reload PARAMETER...: removes the module and loads it with these parameters.
reload() {
	! is_loaded || in_time unload || { note "rmmod fails"; return 1; }
	load "$@" || { note "insmod $* fails"; return 1; }
	in_time test -c $DEVICE
}

# hold HOW: starts a process that holds the module in this way.
hold() {
	rm -f "$out"
	KAIO_HOLD=$1 "$HOLDER" >"$out" 2>&1 &
	holder=$!
	in_time grep -q held "$out" || { note "the holder ($1) does not start"; return 1; }
}

let_go() {
	[ -z "$holder" ] || kill -9 "$holder" 2>/dev/null
	# Keep the shell from printing that the process was killed.
	wait "$holder" 2>/dev/null
	holder=
}

# Succeeds if rmmod fails and the device still works.
refused() {
	! unload || { note "rmmod succeeded"; return 1; }
	is_loaded && [ -c $DEVICE ] && true 4<>$DEVICE
}

held_by() {
	reload && hold "$1" && refused && refused || return 1
	let_go
	in_time unload && is_gone && load
}

mode_is() {
	[ "$(stat -c %a $DEVICE)" = "$1" ] || { note "mode $(stat -c %a $DEVICE), not $1"; return 1; }
}

loaded() {
	is_loaded && [ -c $DEVICE ] && true 4<>$DEVICE
}

unload_and_load() {
	for i in 1 2 3 4 5; do
		unload && is_gone && load && in_time test -c $DEVICE && true 4<>$DEVICE ||
			{ note "round $i"; return 1; }
	done
}

load_twice() {
	! load && loaded
}

open_refuses_unload() {
	exec 3<>$DEVICE
	refused
	ret=$?
	exec 3>&-
	[ $ret = 0 ] && in_time unload && is_gone && load
}

context_refuses_unload() { held_by context; }
ring_refuses_unload() { held_by ring; }
requests_refuse_unload() { held_by requests; }

# The module can be removed as soon as nothing of the killed process is left.
unload_after_kill() {
	for i in 1 2 3; do
		reload && hold requests || return 1
		kill -9 "$holder"
		until unload; do
			is_loaded || break
			tries=$((tries + 1))
			[ $tries -lt 100000 ] || return 1
		done
		let_go
		is_gone || { note "round $i"; return 1; }
	done
	load
}

default_mode() { reload && mode_is 666; }
mode_0600() { reload mode=0600 && mode_is 600; }
mode_0444() { reload mode=0444 && mode_is 444; }

mode_not_a_number() {
	in_time unload
	! load mode=all && is_gone && load
}

max_nr_at_load() {
	reload max_nr=7 && [ "$(cat $PARAMETERS/max_nr)" = 7 ] || return 1
	# A context that needs more is refused.
	! KAIO_HOLD=context "$HOLDER" >/dev/null 2>&1 || return 1
	echo 1000 >$PARAMETERS/max_nr
	hold context
	ret=$?
	let_go
	return $ret
}

max_nr_not_a_number() {
	in_time unload
	! load max_nr=many && is_gone && load
}

# As for every module, the kernel loads it and writes a line to the log.
unknown_parameter_is_harmless() { reload no_such_thing=1 && loaded; }

echo "TAP version 13"
if [ "$(id -u)" != 0 ] || [ ! -f "$MODULE" ] || ! is_loaded; then
	echo "1..0 # SKIP needs root, $MODULE, and the module loaded"
	exit 4
fi
# shellcheck disable=SC2086
set -- $tests
echo "1..$#"
had_mock=
[ ! -d /sys/module/kaio_mock ] || { had_mock=1; rmmod kaio_mock; }
number=0 failed=0
for name; do
	number=$((number + 1)) tries=0
	if "$name"; then
		echo "ok $number $name"
	else
		echo "not ok $number $name"
		failed=$((failed + 1))
	fi
	let_go
	is_loaded || load || note "the module cannot be loaded any more"
done
reload || failed=$((failed + 1))
[ -z "$had_mock" ] || insmod "$MOCK" || failed=$((failed + 1))
rm -f "$out"
echo "# Totals: pass:$((number - failed)) fail:$failed xfail:0 xpass:0 skip:0 error:0"
[ $failed = 0 ]
