#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The examples of the crate copy a file, and the copy is the same.

n=0
ok() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n $2"; else echo "not ok $n $2"; bad=1; fi
}

bad=0
here=$(dirname "$0")
echo "TAP version 13"
echo "1..4"
# The length is not a multiple of the block size.
dd if=/dev/urandom of=from bs=1000 count=3001 2>/dev/null
for example in copy async_copy; do
	"$here/crate_$example" from "$example"
	ok $? "$example ends well"
	cmp from "$example"
	ok $? "$example copies every byte"
done
exit $bad
