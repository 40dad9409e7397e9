#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What scripts/install puts where, and that it removes the same. Prints TAP. Runs inside the build
# root, after scripts/lib build and scripts/tools build.
#
#   install_test.sh    from the top of the checkout

set -u

TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
number=0 failed=0 out=""

# result STATUS NAME
result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		echo "ok $number $2"
	else
		echo "not ok $number $2"
		printf '%s\n' "$out" | sed 's/^/# /'
		failed=1
	fi
}

expect() { # NAME COMMAND...
	local name=$1 rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	result $rc "$name"
}

# refuses NAME PATTERN COMMAND...: the command fails, and a line that it prints matches.
refuses() {
	local name=$1 pattern=$2 rc=0
	shift 2
	if out=$("$@" 2>&1); then rc=1; fi
	grep -qE -- "$pattern" <<<"$out" || rc=1
	result $rc "$name"
}

# What modinfo reads of a module, in an object file.
module() { # FILE NAME RELEASE
	printf '\t.section .modinfo,"a"\n\t.asciz "name=%s"\n\t.asciz "vermagic=%s SMP"\n' "$2" "$3" >"$TMP/ko.s"
	gcc -c -o "$1" "$TMP/ko.s"
}

echo 'TAP version 13'
echo '1..22'

expect install.local env DESTDIR="$TMP/a" PREFIX=/usr/local scripts/install
expect install.library test -x "$TMP/a/usr/local/lib/libkaio.so.1"
expect install.libaio test -e "$TMP/a/usr/local/lib/kaio/libaio.so.1t64"
expect install.tool test -x "$TMP/a/usr/local/bin/kaio-run"
expect install.tool_for_administrators test -x "$TMP/a/usr/local/bin/kaio-stat"
expect install.licence test -e "$TMP/a/usr/local/share/doc/kaio/COPYING.LGPL-2.1"
expect install.manual test -e "$TMP/a/usr/local/share/man/man1/kaio-run.1"
expect install.manual_of_administrators test -e "$TMP/a/usr/local/share/man/man8/kaio-stat.8"
# The tool finds the libraries that were installed with it, wherever that is.
expect install.tool_finds_library env -i PATH=/usr/bin:/bin "$TMP/a/usr/local/bin/kaio-run" --fallback \
	bash -c "[ \"\$LD_PRELOAD\" = '$TMP/a/usr/local/lib/libkaio.so.1' ]"
expect install.pc_of_header bash -c "! grep -E '^(Libs|Requires)' '$TMP/a/usr/local/lib/pkgconfig/kaio.pc'"
expect install.pc_of_library grep -qx 'Libs: -L${libdir} -lkaio' "$TMP/a/usr/local/lib/pkgconfig/libkaio.pc"

mkdir -p "$TMP/a/usr/local/share/doc" && touch "$TMP/a/usr/local/lib/libaio.so.1"
expect uninstall.local env DESTDIR="$TMP/a" PREFIX=/usr/local scripts/install uninstall
expect uninstall.leaves_only_others bash -c "[ \"\$(find '$TMP/a' ! -type d)\" = '$TMP/a/usr/local/lib/libaio.so.1' ]"
expect uninstall.folders bash -c "[ -z \"\$(find '$TMP/a' -name kaio)\" ]"

# PREFIX=/usr is for the system: its libraries are in the folder of the machine.
expect install.multiarch bash -c "DESTDIR='$TMP/b' PREFIX=/usr scripts/install && [ -e '$TMP/b/usr/lib/$(gcc -dumpmachine)/libkaio.so.1' ]"
expect install.libdir bash -c "DESTDIR='$TMP/c' PREFIX=/opt/x LIBDIR=/opt/y scripts/install && [ -e '$TMP/c/opt/y/kaio/libaio.so.1' ] && grep -qx libdir=/opt/y '$TMP/c/opt/y/pkgconfig/libkaio.pc'"
refuses install.relative "PREFIX is 'usr'" env DESTDIR="$TMP/d" PREFIX=usr scripts/install

refuses module.not_built 'there is no .*: the module has not been built' env DESTDIR="$TMP/m" scripts/install module "$TMP/kaio.ko"
module "$TMP/kaio.ko" kaio 7.3.99-test
expect module.staged bash -c "INSTALL_MOD_PATH='$TMP/m' scripts/install module '$TMP/kaio.ko' &&
	[ -e '$TMP/m/lib/modules/7.3.99-test/updates/kaio.ko' ] && grep -q '^updates/kaio.ko:' '$TMP/m/lib/modules/7.3.99-test/modules.dep'"
expect module.alone bash -c "[ \"\$(find '$TMP/m' -name '*.ko')\" = '$TMP/m/lib/modules/7.3.99-test/updates/kaio.ko' ]"
refuses module.other_kernel 'is for Linux 7.3.99-test, which is not installed here' scripts/install module "$TMP/kaio.ko"
module "$TMP/kaio.ko" kaio_mock 7.3.99-test
refuses module.another 'is not the module kaio' env DESTDIR="$TMP/m" scripts/install module "$TMP/kaio.ko"

exit $failed
