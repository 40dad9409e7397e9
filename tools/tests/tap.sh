# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of kaio-run and kaio-stat share, to be sourced before they change the folder: a
# folder of the test's own, in which it runs, and its results as TAP.

TMP=$(mktemp -d)
trap 'cd /; rm -rf "$TMP"' EXIT
chmod 755 "$TMP"
cd "$TMP" || exit 1

number=0 failed=0

# result OK NAME [DETAIL...]
result() {
	number=$((number + 1))
	if [ "$1" = ok ]; then
		echo "ok $number $2"
		return
	fi
	echo "not ok $number $2"
	failed=1
	shift 2
	printf '%s\n' "$@" | sed 's/^/# /'
}

# case_of NAME STATUS PATTERN COMMAND...: what the command prints matches all lines of PATTERN, each an
# extended regular expression, or none if the line begins with "!", and it ends with STATUS.
case_of() {
	local name=$1 status=$2 patterns=$3 out rc=0 pattern
	shift 3
	out=$("$@" 2>&1 </dev/null) || rc=$?
	[ "$rc" = "$status" ] || {
		result bad "$name" "status $rc, expected $status" "$out"
		return
	}
	while read -r pattern; do
		case $pattern in
		!*) ! grep -qE -- "${pattern#!}" <<<"$out" ;;
		*) grep -qE -- "$pattern" <<<"$out" ;;
		esac || {
			result bad "$name" "expected: $pattern" "$out"
			return
		}
	done <<<"$patterns"
	result ok "$name"
}
