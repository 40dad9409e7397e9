# SPDX-License-Identifier: GPL-2.0
"""Prints what scripts/vm shows while a guest runs. An object is for one boot. It gets the results of
the guest as they come, or in the mode "run" the output of the command."""

import os
import time

from common import say


class Output:
    """Writes the output of a command to descriptor 3, or to standard output if there is none."""

    watches = "output"
    descriptor = 3 if os.path.exists("/proc/self/fd/3") else 1

    def __init__(self, _tag):
        self.gone = False

    def feed(self, data):
        while data and not self.gone:
            try:
                data = data[os.write(self.descriptor, data):]
            except BrokenPipeError:
                self.gone = True

    def end(self):
        pass


class Lines:
    """Divides what comes into lines. A class below gets each line, without its end."""

    watches = "results"

    def __init__(self, tag):
        self.tag, self.rest = tag, b""

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.line(line.decode(errors="surrogateescape"))

    def end(self):
        """Drops what is left, a line without its end."""


class Words(Lines):
    """Prints what a program writes."""

    def line(self, line, end="\n"):
        if not line.startswith(("# ", "KAIO-VERDICT")):
            say(line, end=end)

    def end(self):
        self.line(self.rest.decode(errors="surrogateescape"), end="")


class Measured(Lines):
    """Prints the medians that kaio-bench reports."""

    def line(self, line):
        word, *fields = list(filter(None, line.split("\t"))) or [""]
        if word == "measured":
            case, engine, variant, _unit, _least, median, *_ = fields + 6 * [""]
            say(f"  {case:<14} {engine:<15} {variant:<10} {median:>12}")
        elif word != "rate" and not word.startswith(("# ", "KAIO-VERDICT")):
            say(f"  {word}")


class Programs(Lines):
    """Prints a line for each program: how many of its tests passed and failed, and its time."""

    def __init__(self, tag):
        super().__init__(tag)
        self.begin("")

    def begin(self, program):
        self.program, self.start, self.good, self.bad = program, int(time.monotonic()), 0, 0
        # KUnit's results are in suites.
        self.indent = "    " if program == "kunit" else ""

    def line(self, line):
        if line.startswith("# program "):
            self.begin(line.removeprefix("# program "))
        elif line.startswith("# status "):
            seconds = int(time.monotonic()) - self.start
            say(f"  {self.tag:<6} {self.program:<20} {self.good:4} ok {self.bad:3} not ok "
                f"{seconds:4} s")
        elif line.startswith(self.indent + "ok "):
            self.good += 1
        elif line.startswith(self.indent + "not ok "):
            self.bad += 1
