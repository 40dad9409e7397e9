# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The functions and settings that the scripts of kaio share: paths, progress, errors,
# and cache entries, each of which is made exactly once.
#
# Source this file. It runs nothing.

set -euo pipefail

KAIO_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KAIO_CACHE=${KAIO_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kaio}
KAIO_DISK_GB=12 # more than make test leaves in the cache and in build/

say() { printf '%s\n' "$*"; }
warn() { printf 'kaio: %s\n' "$*" >&2; }

# die MESSAGE [HINT]: print a line that says what is wrong and a line that says what to do; exit.
die() {
	printf 'kaio: error: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'kaio: %s\n' "$2" >&2
	exit 1
}

# usage FILE: print the comment block at the head of a script (its manual).
usage() { sed -n '3,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$1"; }

# need_host: stop and say why, unless this host can make a build root.
need_host() {
	[ "$(uname -m)" = x86_64 ] ||
		die "this machine is $(uname -m); the build root is made of Debian's packages for x86-64 hosts (scripts/buildroot)." \
			"To build only the module for your own kernel: make KDIR=/path/to/kernel/build"
	command -v apt-get >/dev/null ||
		die "this command needs a Debian-like host (apt-get): Debian 12 or 13, x86-64." \
			"To build only the module for your own kernel: make KDIR=/path/to/kernel/build"
	[ "$(id -u)" = 0 ] ||
		die "this command needs root (it makes a build root in $KAIO_CACHE and enters it)." \
			"Run it as root, or build only the module: make KDIR=/path/to/kernel/build"
}

# The names of an architecture for Debian, for the kernel's build, for gcc and for rustc (empty
# for this machine's), and the flavours of Debian's kernel for it, the default one first. The
# compilers for its programs of 64 and of 32 bits, and the folder that receives what is built for
# it. KAIO_ARCH is the ARCH= of make, or empty for the default.
case ${KAIO_ARCH:-} in
"" | x86_64 | x86 | amd64)
	KAIO_ARCH=""
	DEB_ARCH=amd64 KERNEL_ARCH=x86_64 TRIPLET=x86_64-linux-gnu CROSS="" RUST_TARGET=""
	FLAVOURS="cloud-amd64 amd64 rt-amd64"
	USER_CC=gcc USER_CC_32="gcc -m32" BUSYBOX=/bin/busybox
	BUILD=build
	;;
arm64 | aarch64)
	KAIO_ARCH=arm64
	DEB_ARCH=arm64 KERNEL_ARCH=arm64 TRIPLET=aarch64-linux-gnu CROSS=aarch64-linux-gnu-
	RUST_TARGET=aarch64-unknown-linux-gnu
	FLAVOURS="cloud-arm64 arm64 rt-arm64"
	USER_CC=$TRIPLET-gcc-14 USER_CC_32=arm-linux-gnueabihf-gcc-14 BUSYBOX=/opt/arm64/usr/bin/busybox
	BUILD=build/arm64
	;;
*) die "ARCH is '$KAIO_ARCH'." "It can be x86_64 (the default) or arm64." ;;
esac
export KAIO_ARCH

# not_for_arm64 WHAT: stop if the architecture is arm64, for which WHAT does not work.
not_for_arm64() {
	[ "$KAIO_ARCH" != arm64 ] ||
		die "$1 does not work with ARCH=arm64." \
			"What does: make, and make lib, install, selftests, droptests, test-kernels, vm."
}

FLAVOUR=${KFLAVOUR:-${FLAVOURS%% *}}
case " $FLAVOURS " in
*" $FLAVOUR "*) ;;
*) die "KFLAVOUR is '$FLAVOUR'." "Debian's flavours for $KERNEL_ARCH are: $FLAVOURS." ;;
esac

# tag_of KERNEL: print "stock" or "debug", followed by the choices that differ from the default.
# The tag names the folders and logs of a guest, so that no guest overwrites another's.
tag_of() { printf '%s%s%s%s' "$1" "${KAIO_ARCH:+-$KAIO_ARCH}" "${KVER:+-$KVER}" "${KFLAVOUR:+-$KFLAVOUR}"; }

# explain LOG: if the cause is not kaio's own, say in one line what the user can do.
explain() {
	if grep -qiE 'No space left on device|ENOSPC|not enough free space|disk quota exceeded' "$1"; then
		warn "the disk is full: $(df -h --output=avail,target "$KAIO_CACHE" "$KAIO_TOP" 2>/dev/null |
			awk 'NR > 1 && !seen[$2]++ { printf "%s%s left on %s", (n++ ? ", " : ""), $1, $2 }')."
		warn "Free some (kaio needs $KAIO_DISK_GB GB in all), or choose another disk with KAIO_CACHE=DIR; then run it again."
	elif grep -qE 'Failed to fetch|Unable to fetch|Could not (resolve|connect)|Connection (timed out|failed|refused|reset)|Temporary failure|Unable to locate package|download failed|ReadTimeoutError|NewConnectionError' "$1"; then
		warn "a download failed. Look at the network (http_proxy?) and run it again, or name another mirror with KAIO_MIRROR=URL."
	fi
}

# end_job GROUP SIGNAL: when a step is interrupted, end its processes too. Otherwise they would
# run on and hold the lock for which the next run waits.
end_job() {
	trap - INT TERM HUP
	kill -TERM -- "-$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
	say ""
	warn "interrupted; the next run goes on from here"
	kill "-$2" "$BASHPID"
}

# step TITLE LOG COMMAND...: run the command with its output in LOG, and show its progress.
step() {
	local title=$1 log=$2 start=$SECONDS pid rc=0 shown=0 now
	shift 2
	mkdir -p "$(dirname "$log")"
	if [ -t 1 ]; then printf '%s ...' "$title"; else printf '%s ...\n' "$title"; fi
	set -m # gives the command a process group of its own
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	# shellcheck disable=SC2064
	for now in INT TERM HUP; do trap "end_job $pid $now" "$now"; done
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		now=$((SECONDS - start))
		if [ -t 1 ]; then
			[ "$now" = "$shown" ] ||
				printf '\r\033[K%s ... %ds  %s' "$title" "$now" \
					"$(tail -n1 "$log" | tr -d '\r' | cut -c1-60)"
			shown=$now
		elif [ $((now - shown)) -ge 15 ]; then
			shown=$now
			printf '  %4ds  %s\n' "$now" "$(tail -n1 "$log" | tr -d '\r' | cut -c1-90)"
		fi
	done
	wait "$pid" || rc=$?
	trap - INT TERM HUP
	[ ! -t 1 ] || printf '\r\033[K%s ... ' "$title"
	if [ "$rc" = 0 ]; then
		printf '%s done, %ds\n' "$([ -t 1 ] || printf '  ')" $((SECONDS - start))
		return 0
	fi
	printf 'FAILED (status %d) after %ds; the end of %s:\n' "$rc" $((SECONDS - start)) "$log"
	tail -n 30 "$log"
	explain "$log"
	return "$rc"
}

# hash_of [FILE...]: print twelve digits that name the contents of the files or of stdin.
hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# locked FILE WHAT COMMAND...: run the command while holding the lock FILE. If another run holds
# it, say that this run waits and that the other one is WHAT, and wait.
locked() {
	local lock=$1 what=$2
	shift 2
	mkdir -p "$(dirname "$lock")"
	(
		flock -n 9 || { say "waiting for another run of kaio, which is $what" >&2; flock 9; }
		"$@"
	) 9>"$lock"
}

# once DIR COMMAND...: make the cache entry DIR, unless it exists: run COMMAND, which fills
# the empty folder DIR. An entry without its stamp was interrupted, so it is removed and made
# again. Checkouts that share the cache wait for each other.
once() {
	[ ! -e "$1/.complete" ] || return 0
	locked "$1.lock" "making $1" make_entry "$@"
}

# The body of once, in the subshell of locked. Bash forgets the locals of a function before it
# runs an EXIT trap, so the trap contains their values as text.
make_entry() {
	local dir=$1
	shift
	[ ! -e "$dir/.complete" ] || return 0
	rm -rf --one-file-system "$dir"
	mkdir -p "$dir"
	# shellcheck disable=SC2064
	trap "warn '$dir was not made; the next run starts it afresh'" EXIT
	# Do not call this in a condition: there bash ignores set -e and goes on after a failure.
	"$@"
	trap - EXIT
	touch "$dir/.complete"
}
