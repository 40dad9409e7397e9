# SPDX-License-Identifier: GPL-2.0
#
# Count the tests in the results of a guest: TAP of the selftests, KTAP of the
# KUnit suites (which nests by four spaces; only the innermost results count).
# Failed tests are printed with their diagnostic lines, and skipped tests are counted by the
# reason that they gave. Faults are printed too and count as failed: see fault() below.
#
#   awk -v kind=kunit|selftests|droptests -v want=N -f scripts/tap.awk RESULTS
#
# The tests of the libraries have names FOLDER/NAME.
#
# want: the number of programs that must have run. The last line is "PASSED FAILED SKIPPED".

function kind_of(program) {
	if (program == "kunit")
		return "kunit"
	return program ~ /\// ? "droptests" : "selftests"
}

function fault(text) {
	failed++
	print "  not ok " program ": " text
}

# A version line, a plan or the name of a subtest opens a list of results.
function begin(d, plan) {
	if (!(d in planned)) {
		seen[d] = 0
		planned[d] = -1
		failed_before[d] = failed
	}
	if (plan >= 0)
		planned[d] = plan
}

function end(d, name) {
	if (planned[d] >= 0 && seen[d] != planned[d])
		fault((name == "" ? "" : name ": ") seen[d] " results, but " planned[d] " were planned")
	delete planned[d]
}

# Count a skipped test. Tests that are skipped for the same reason share a line at the end.
function skip(reason) {
	if (reason == "")
		reason = "(no reason was given)"
	skips[reason]++
	if (index(skipped_in[reason], " " program) == 0)
		skipped_in[reason] = skipped_in[reason] " " program
}

function result(d, text,    bad, name, of_list) {
	bad = text ~ /^not ok/
	name = text
	sub(/^(not )?ok *[0-9]* *(- )?/, "", name)
	seen[d]++
	of_list = (d + 1) in planned
	if (of_list) {
		end(d + 1, name)
		if (bad && failed == failed_before[d + 1])
			fault(name " failed, but none of its tests")
	} else if (match(text, /# *SKIP */)) {
		skipped++
		skipped_here++
		skip(substr(text, RSTART + RLENGTH))
	} else if (bad) {
		failed++
		print "  not ok " program ": " name
		printf "%s", notes
	} else {
		passed++
		passed_here++
	}
	notes = ""
}

{ sub(/\r$/, "") }

/^# program / {
	program = $3
	running = kind_of(program) == kind
	if (!running)
		next
	programs++
	split("", planned)
	failed_here = failed
	passed_here = skipped_here = 0
	notes = ""
	next
}

/^# status / {
	if (!running)
		next
	running = 0
	if ($4 == 137)
		fault("it was killed (time limit?)")
	else if (!(0 in planned) || planned[0] < 0)
		fault("it printed no plan")
	else
		end(0, "")
	if ($4 != 0 && failed == failed_here)
		fault("it ended with status " $4 " and no failed test")
	if (passed_here == 0 && failed == failed_here)
		fault("none of its tests ran and passed (" skipped_here " skipped)")
	next
}

!running { next }

{
	match($0, /^ */)
	depth = int(RLENGTH / 4)
	line = substr($0, RLENGTH + 1)
}

line ~ /^K?TAP version /	{ begin(depth, -1); next }
line ~ /^# Subtest: /		{ begin(depth, -1); next }
line ~ /^1\.\.[0-9]+/		{ begin(depth, substr(line, 4) + 0); next }
line ~ /^(not )?ok [0-9]+/	{ result(depth, line); next }
line ~ /^#  +(RUN|OK) /		{ next }
line != ""			{ notes = notes "      " $0 "\n" }

END {
	if (running)
		fault("it did not end")
	program = kind
	if (programs + 0 != want)
		fault(programs + 0 " programs ran, not " want)
	for (reason in skips)
		print "  skipped " skips[reason] ": " reason " (in" skipped_in[reason] ")"
	print passed + 0, failed + 0, skipped + 0
}
