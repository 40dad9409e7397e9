# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every script of kaio shares: where things are, how progress and errors
# are shown, and how a cache entry is made exactly once.
#
# Source it; it runs nothing.

set -euo pipefail

KAIO_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KAIO_CACHE=${KAIO_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/kaio}

say() { printf '%s\n' "$*"; }
warn() { printf 'kaio: %s\n' "$*" >&2; }

# die MESSAGE [HINT]: one line says what is wrong, the next what to do.
die() {
	printf 'kaio: error: %s\n' "$1" >&2
	[ $# -lt 2 ] || printf 'kaio: %s\n' "$2" >&2
	exit 1
}

# usage FILE: print the comment block at the head of a script (its manual).
usage() { sed -n '3,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$1"; }

# need_host: the host can make a build root, or the first line says why not.
need_host() {
	[ "$(uname -m)" = x86_64 ] ||
		die "this machine is $(uname -m); kaio's virtual machines need an x86-64 host."
	command -v apt-get >/dev/null ||
		die "this command needs a Debian-like host (apt-get): Debian 12 or 13, x86-64." \
			"To build only the module for your own kernel: make KDIR=/path/to/kernel/build"
	[ "$(id -u)" = 0 ] ||
		die "this command needs root (it makes a build root in $KAIO_CACHE and enters it)." \
			"Run it as root, or build only the module: make KDIR=/path/to/kernel/build"
}

# step TITLE LOG COMMAND...: run it with its output in LOG; show that it lives.
step() {
	local title=$1 log=$2 start=$SECONDS pid rc=0 shown=0 now
	shift 2
	mkdir -p "$(dirname "$log")"
	if [ -t 1 ]; then printf '%s ...' "$title"; else printf '%s ...\n' "$title"; fi
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
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
	[ ! -t 1 ] || printf '\r\033[K%s ... ' "$title"
	if [ "$rc" = 0 ]; then
		printf '%s done, %ds\n' "$([ -t 1 ] || printf '  ')" $((SECONDS - start))
		return 0
	fi
	printf 'FAILED (status %d) after %ds; the end of %s:\n' "$rc" $((SECONDS - start)) "$log"
	tail -n 30 "$log"
	return "$rc"
}

# hash_of [FILE...]: twelve digits that name these contents (stdin if none).
hash_of() { cat "$@" | sha256sum | cut -c1-12; }

# once DIR COMMAND...: make the cache entry DIR by running COMMAND (which must
# fill the fresh empty folder DIR). An entry without its stamp was interrupted:
# it is thrown away and made again. Clones that share the cache wait in turn.
once() {
	local dir=$1
	shift
	[ ! -e "$dir/.complete" ] || return 0
	mkdir -p "$(dirname "$dir")"
	(
		flock -n 9 || { say "waiting for another kaio build to make $dir"; flock 9; }
		[ ! -e "$dir/.complete" ] || exit 0
		rm -rf --one-file-system "$dir"
		mkdir -p "$dir"
		trap 'warn "$dir was not made; the next run starts it afresh"' EXIT
		# Not in a condition: there a step of it could fail and nothing would stop.
		"$@"
		trap - EXIT
		touch "$dir/.complete"
	) 9>"$dir.lock"
}
