#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What kaio-stat prints, and its statuses, without the device: this test has a /proc of its own, with
# processes that it makes up. Prints TAP. Runs as root, inside the build root.
#
#   kaio_stat_test.sh KAIO-STAT

if [ "${2:-}" != inside ]; then
	exec unshare --mount --propagation private bash "$0" "$(realpath "$1")" inside
fi
set -u

STAT=$1
. "${0%/*}/tap.sh"

# python NAME TEXT PROGRAM: the program, which has the lines of JSON in `reports`, raises nothing.
python() {
	local out
	if out=$(python3 -c "import json, sys
reports = [json.loads(line) for line in sys.argv[1].splitlines()]
$3" "$2" 2>&1); then
		result ok "$1"
	else
		result bad "$1" "$out" "$2"
	fi
}

# process PID NAME FLAGS: a process without descriptors. The numbers are larger than those that Linux
# gives, so that kcmp(2) finds no process.
process() {
	mkdir -p "/proc/$1/fd" "/proc/$1/fdinfo" "/proc/$1/task/$1"
	printf '%s\n' "$2" >"/proc/$1/comm"
	echo "$1 ($2) S 1 1 1 0 -1 $3 0 0 0 0 0 0 0 0 20 0 1 0 77 0 0" >"/proc/$1/stat"
	chmod 500 "/proc/$1/fd"
}

# counters PID FD SUBMITTED COMPLETED: what fdinfo says, replaced as one, as the kernel does.
counters() {
	printf 'pos:\t0\nflags:\t02000002\nmnt_id:\t26\nino:\t301\nkaio-contexts:\t1\nkaio-inflight:\t%d\n' $(($3 - $4)) >new
	printf 'kaio-%s:\t%d\n' submitted "$3" completed "$4" inline 3 queued 2 parked 1 kicked 1 helped 0 cancelled 0 irq 0 >>new
	cp new "/proc/$1/fdinfo/new" && mv "/proc/$1/fdinfo/new" "/proc/$1/fdinfo/$2"
}

# Waits until the file OUT has N lines.
wait_for_lines() { # OUT N
	local i
	for i in $(seq 200); do
		[ "$(wc -l <"$1")" -lt "$2" ] || return 0
		sleep 0.05
	done
	return 1
}

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

echo 'TAP version 13'
echo '1..29'

case_of usage.help 0 '^usage: kaio-stat
--prometheus' "$STAT" --help
case_of usage.help_as_a_word 0 '^usage: kaio-stat' "$STAT" help
case_of usage.version 0 '^kaio-stat [0-9]+\.[0-9]+\.[0-9]+$' "$STAT" --version
case_of usage.unknown_option 2 "unknown option '--frob'
^usage: kaio-stat" "$STAT" --frob
case_of usage.interval 2 "'0' is not an INTERVAL: a number of seconds" "$STAT" 0
case_of usage.interval_nan 2 "'NaN' is not an INTERVAL" "$STAT" NaN
case_of usage.interval_huge 2 "'1e30' is not an INTERVAL" "$STAT" 1e30
case_of usage.count 2 "'0' is not a number of reports" "$STAT" 1 0
case_of usage.too_many 2 "'3' is one argument too many" "$STAT" 1 2 3
case_of usage.no_pid 2 '-p needs the number' "$STAT" -p
case_of usage.bad_pid 2 "'x' is not the number of a process" "$STAT" -px
case_of usage.two_formats 2 'one of --json and --prometheus' "$STAT" --json --prometheus
case_of usage.prometheus_once 2 'takes no INTERVAL' "$STAT" --prometheus 1

# The host of this test has no module of kaio, either loaded or installed.
case_of module.absent 1 'the module kaio is not installed for this kernel, [0-9]
apt install kaio-dkms linux-headers-' "$STAT"
case_of module.absent_json 1 '^kaio-stat: the module kaio
!^\{' "$STAT" --json 1

busybox mount -t tmpfs -o mode=755 tmpfs /proc
mkdir -p /proc/sys/fs
echo '5000	4980	7' >/proc/sys/fs/kaio-stat
echo 126 >/proc/sys/fs/kaio-nr
echo 4194304 >/proc/sys/fs/kaio-max-nr
echo 262144 >/proc/sys/fs/kaio-max-user-nr

case_of process.none 0 'No process that could be seen has the device open
^all +20 +5000 +4980 +7$
126 requests; limits: 4194304, and 262144 for each user' "$STAT"

A=5000001 B=5000002 KTHREAD=5000003
process $A fio 4194304
process $B 'q"\x' 4194304
process $KTHREAD kthreadd 2129984
ln -s /dev/kaio /proc/$A/fd/3
ln -s /dev/kaio /proc/$A/fd/7
ln -s '/dev/kaio (deleted)' /proc/$B/fd/4
ln -s /dev/null /proc/$B/fd/0
ln -s /home/user/kaio /proc/$B/fd/5
printf 'pos:\t0\n' | tee /proc/$B/fdinfo/0 >/proc/$B/fdinfo/5
counters $A 3 100 90
counters $A 7 10 10
counters $B 4 1000 995

case_of table.totals 0 '^    PID COMMAND CONTEXTS INFLIGHT SUBMITTED COMPLETED INLINE QUEUED PARKED KICKED HELPED CANCELLED IRQ$
^5000001 fio            2       10       110       100      6      4      2      2      0         0   0$
^5000002 q"\\x +1 +5 +1000 +995
!kthreadd
!could not be seen' "$STAT"
case_of table.interval 0 'Since the files were opened
^Per second, for 0\.[0-9]+ seconds
^5000001 fio +2 +10 +0\.0 +0\.0 ' "$STAT" 0.05 2
case_of table.one_process 0 '^5000002 q
!^5000001' "$STAT" -p $B
case_of table.process_without 0 'No process that could be seen has the device open' "$STAT" -p $KTHREAD
case_of table.no_process 1 'there is no process 5000009' "$STAT" -p $A -p 5000009
case_of table.other_users 0 'kaio-stat: 2 processes could not be seen \(permission denied\)\. Root sees all
^all +20 ' as_nobody "$STAT"
case_of table.other_user 1 'may not see the descriptors of process 5000001
or as root' as_nobody "$STAT" -p $A

case_of prometheus.text 0 '^# TYPE kaio_process_submitted_total counter$
^kaio_process_submitted_total\{pid="5000001",comm="fio"\} 110$
^kaio_process_completed_total\{pid="5000002",comm="q\\"\\\\x"\} 995$
^kaio_nr 126$
^kaio_unseen_processes 0$
!^[^k#]' "$STAT" --prometheus

python json.totals "$("$STAT" --json)" '
(report,) = reports
assert report["interval"] is None and report["unseen_processes"] == 0
assert report["system"]["inflight"] == 20 and report["system"]["max_user_nr"] == 262144
fio, other = report["processes"]
assert (fio["pid"], fio["files"], fio["counters"]["submitted"], fio["per_second"]) == (5000001, 2, 110, None)
assert (other["comm"], other["inflight"], other["counters"]["queued"]) == ("q\"\\x", 5, 2)'

# The counters go on, process A closes a descriptor and opens another, and then ends.
: >out
"$STAT" --json -p $A 0.1 >out 2>err &
pid=$!
wait_for_lines out 1
counters $A 3 150 150
rm /proc/$A/fd/7 /proc/$A/fdinfo/7
counters $A 9 5 5
ln -s /dev/kaio /proc/$A/fd/9
# The look of the next report may have begun before the changes; that of the one after it has not.
settled=$(($(wc -l <out) + 2))
wait_for_lines out $settled
mv /proc/$A /proc/ended
rc=0
wait $pid || rc=$?
[ $rc = 0 ] && [ ! -s err ] && result ok json.ends_with_its_process ||
	result bad json.ends_with_its_process "status $rc" "$(cat err)"
python json.rates "$(cat out)" '
def total(name):
    return sum(r["interval"] * p["per_second"][name] for r in reports[1:] for p in r["processes"])
assert abs(total("submitted") - 55) < 0.1, total("submitted")
assert abs(total("completed") - 65) < 0.1, total("completed")
assert reports['$settled' - 1]["processes"][0]["counters"]["submitted"] == 155
assert all(r["interval"] > 0 and r["system"]["per_second"]["submitted"] == 0 for r in reports[1:])'

case_of output.reader_ends 0 '^Since' bash -c 'set -o pipefail; "$0" 0.01 | head -n 1' "$STAT"
mkdir dev
busybox mount -t tmpfs -o dev tmpfs dev
busybox mknod dev/full c 1 7
case_of output.full 1 'cannot be written: No space left' bash -c '"$0" >dev/full' "$STAT"
busybox umount dev
exit $failed
