#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs caio from PyPI. It uses native AIO by raw system calls, in an extension of Python
# that the dynamic linker loads late. caio_program.py prints the number of its
# operations.

. "${0%/*}/common.sh"

PROGRAM=${0%/*}/caio_program.py

run() { # HOW CASE
	count "$1" python3 "$PROGRAM" "$2" "$SCALE" || return
	did=$(tail -n1 out)
	[ "$did" -gt 0 ] || fail "it did nothing"
}

through_kaio() { run kaio "$1" && exactly "$did"; }

test_context() { through_kaio context; }
test_context_full() { through_kaio full; }
test_poll_descriptor() { through_kaio poll; }
test_error() { through_kaio error; }
test_fsync() { through_kaio fsync; }
test_asyncio() { through_kaio asyncio; }
test_asyncio_deferred() { through_kaio deferred; }
test_native_is_not_counted() { run native context && exactly 0; }

run_tests
