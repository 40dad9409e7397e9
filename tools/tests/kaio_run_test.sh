#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kaio-run's messages and statuses, without the device: in a /dev of this test's own there is none,
# or a file that is not kaio's. Prints TAP. Runs as root, inside the build root.
#
#   kaio_run_test.sh KAIO-RUN     the libraries are in ../lib beside its folder

if [ "${2:-}" != inside ]; then
	exec unshare --mount --propagation private bash "$0" "$(realpath "$1")" inside
fi
set -u

RUN=$1
. "${0%/*}/tap.sh"
busybox mount -t tmpfs -o dev,mode=755 tmpfs /dev
busybox mknod /dev/null c 1 3
chmod 666 /dev/null

# Runs a command as a user without privileges. Its /etc/passwd has nobody.
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

echo 'TAP version 13'
echo '1..29'

case_of usage.nothing 125 'no program is named
^usage: kaio-run' "$RUN"
case_of usage.unknown_option 125 "unknown option '--frob'
^usage: kaio-run" "$RUN" --frob true
case_of usage.only_dashes 125 'no program is named' "$RUN" --stat --
case_of usage.help 0 '^usage: kaio-run
--fallback' "$RUN" --help
case_of usage.version 0 '^kaio-run [0-9]+\.[0-9]+\.[0-9]+$' "$RUN" --version

case_of program.absent 127 'frobnicate cannot be run: .*' "$RUN" frobnicate
case_of program.absent_path 127 '/nonexistent/x cannot be run' "$RUN" /nonexistent/x
case_of program.static 125 'busybox is statically linked
Use a build of it that is dynamically linked' "$RUN" --fallback /bin/busybox true
cp /bin/true setuid
chmod 4755 setuid
case_of program.setuid 125 'setuid is set-user-ID' "$RUN" --fallback ./setuid
{ printf '\177ELF\001\001\001'; head -c 100 /dev/zero 2>/dev/null || printf '%0100d' 0; } >narrow
chmod 755 narrow
case_of program.32_bit 125 'for 32 bits' "$RUN" --fallback ./narrow
echo text >text
chmod 755 text
printf '#!/nonexistent\n' >script
chmod 755 script
case_of program.bad_interpreter 127 'script cannot be run' "$RUN" --fallback ./script
chmod 644 text
case_of program.not_executable 126 'text cannot be run' as_nobody "$RUN" --fallback ./text

# No device. The host of this test has no module of kaio, either loaded or installed.
case_of device.absent 125 'the module kaio is not installed for this kernel, [0-9]
apt install kaio-dkms linux-headers-
kaio-run --fallback' "$RUN" true
case_of device.absent_fallback 0 'not installed.*The program gets native AIO instead' "$RUN" --fallback true
case_of device.absent_runs_nothing 125 'kaio-run:' "$RUN" touch ran
[ ! -e ran ] && result ok device.absent_ran_nothing || result bad device.absent_ran_nothing

busybox mknod /dev/kaio c 1 3
case_of device.another_driver 125 'is not kaio.s device
rm /dev/kaio' "$RUN" true
chmod 600 /dev/kaio
case_of device.root_only 125 'may not open /dev/kaio: its mode is 0600, and its group root
udev/rules.d' as_nobody "$RUN" true
chmod 660 /dev/kaio
chgrp 4 /dev/kaio
case_of device.of_a_group 125 'its mode is 0660, and its group adm
adduser nobody adm; then log in anew' as_nobody "$RUN" true
rm /dev/kaio
busybox mknod /dev/kaio c 10 250
case_of device.left_over 125 'not (installed|loaded)' "$RUN" true
rm /dev/kaio

case_of run.status 7 'native AIO' "$RUN" --fallback bash -c 'exit 7'
case_of run.arguments 0 '^a b\|--stat$' "$RUN" --fallback bash -c 'echo "$1|$2"' x 'a b' --stat
case_of run.preload 0 '^/.*/lib/libkaio\.so\.1:libother\.so 1$' \
	env LD_PRELOAD=libother.so "$RUN" --fallback bash -c 'echo "$LD_PRELOAD $KAIO_FALLBACK"'
case_of run.libaio 0 '^/.*/lib none$' "$RUN" --libaio --fallback bash -c 'echo "$LD_LIBRARY_PATH ${LD_PRELOAD:-none}"'
case_of run.libdir 125 'in none of these folders: /nonexistent
KAIO_LIBDIR=DIR' env KAIO_LIBDIR=/nonexistent "$RUN" --fallback true

case_of stat.status 3 'no counters, since the module is not loaded' "$RUN" --stat --fallback bash -c 'exit 3'
case_of stat.signal 137 'no counters' "$RUN" --stat --fallback bash -c 'kill -KILL $$'
case_of stat.passes_signals_on 9 'no counters' bash -c '
	"$0" --stat --fallback bash -c "trap \"exit 9\" TERM; touch ready; while :; do sleep 0.1; done" &
	for i in $(seq 100); do [ ! -e ready ] || break; sleep 0.1; done
	kill -TERM $!; wait $!' "$RUN"

out=$("$RUN" --check 2>&1) && rc=0 || rc=$?
if [ "$rc" = 1 ] && [ "$(wc -l <<<"$out")" = 10 ] && grep -q '^verdict .*kaio cannot be used' <<<"$out"; then
	result ok check.ten_lines
else
	result bad check.ten_lines "status $rc" "$out"
fi
exit $failed
