# SPDX-License-Identifier: GPL-2.0
"""Prints, runs commands and handles signals for the scripts in Python, as scripts/common.sh does for
those in bash."""

import os
import re
import signal
import subprocess
import sys
import tempfile


class Interrupted(BaseException):
    """Is raised when a signal comes that ends this command."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def on_signal(number, _frame):
    """Interrupts the script. A second signal of that number ends it at once."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


def say(*words, end="\n"):
    """Prints words. If the reader of the output has gone, the guest runs on all the same."""
    try:
        print(*words, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(text, end="\n"):
    """Prints a text to standard error."""
    print(text, end=end, file=sys.stderr, flush=True)


def die(message, hint):
    """Says in one line what is wrong, and in the next what to do."""
    warn(f"kaio: error: {message}")
    warn(f"kaio: {hint}")
    sys.exit(1)


def number(name, default):
    """Returns the number in an environment variable, or the default if it is empty or not set."""
    text = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]+", text):
        die(f"{name} is '{text}'.", "It is a number.")
    return int(text)


def wait_for(process):
    """Waits for a command and returns its status. A terminal sends SIGINT and SIGHUP to the command
    as well, so only SIGTERM is passed on."""
    try:
        return process.wait()
    except Interrupted as interrupted:
        if interrupted.number == signal.SIGTERM:
            process.terminate()
        process.wait()
        raise


def run(*command, **options):
    """Runs a command. If it fails, this command ends with its status."""
    process = subprocess.Popen(command, **options)
    status = wait_for(process)
    if status != 0:
        sys.exit(status if status > 0 else 128 - status)


def output_of(*command, **options):
    """Runs a command and returns its standard output, without the last newline."""
    with tempfile.TemporaryFile() as output:
        run(*command, stdout=output, **options)
        output.seek(0)
        return output.read().decode().removesuffix("\n")


def with_functions(script, *words):
    """Runs a shell script with the functions and variables of scripts/common.sh."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "common.sh")
    return output_of("bash", "-c", f'. "$0"; {script}', path, *words)


def lines_of(path):
    """Returns the lines of a file that may not exist, without their ends."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return []
    return lines if lines[-1] else lines[:-1]


def remove(path):
    """Removes a file that may not exist."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def start(main):
    """Runs a script and exits with the status that `main` returns."""
    sys.stdout.reconfigure(errors="surrogateescape")
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that the caller ignores stays ignored.
        if signal.getsignal(name) != signal.SIG_IGN:
            signal.signal(name, on_signal)
    try:
        sys.exit(main(*sys.argv[1:]))
    except Interrupted as interrupted:
        signal.signal(interrupted.number, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.number)
        # The first process of a namespace ignores the signal.
        os._exit(128 + interrupted.number)
