#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
#
# Runs and checks one case of caio's linux_aio for caio_test.sh. The last line of the
# output is the number of operations.
#
#   caio_program.py CASE SCALE

import asyncio
import os
import random
import select
import sys

from caio import linux_aio, linux_aio_asyncio

BLOCK = 4096
random.seed(1)


def open_file():
    return os.open("file", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)


def finish(context, nr):
    """Processes events until nr callbacks were called."""
    done = 0
    while done < nr:
        done += context.process_events(512, 1, 10)
    return done


def blocks(nr):
    return [random.randbytes(BLOCK) for _ in range(nr)]


def case_context(scale):
    """Writes blocks in a random order and reads each of them."""
    nr = 64 * scale
    fd, content, results = open_file(), blocks(nr), []
    order = random.sample(range(nr), nr)
    did = 0
    context = linux_aio.Context(64)
    for start in range(0, nr, 64):
        writes = [linux_aio.Operation.write(content[i], fd, i * BLOCK) for i in order[start : start + 64]]
        for write in writes:
            write.set_callback(results.append)
        assert context.submit(*writes) == len(writes)
        did += finish(context, len(writes))
    assert results == [BLOCK] * nr, results
    with open("file", "rb") as file:
        assert file.read() == b"".join(content)
    for start in range(0, nr, 64):
        reads = [linux_aio.Operation.read(BLOCK, fd, i * BLOCK) for i in range(start, start + 64)]
        assert context.submit(*reads) == len(reads)
        did += finish(context, len(reads))
        for i, read in enumerate(reads, start):
            assert read.get_value() == content[i], i
    return did


def case_full(scale):
    """A context takes as many operations as it was made for."""
    del scale
    fd, context = open_file(), linux_aio.Context(16)
    os.pwrite(fd, bytes(BLOCK), 0)
    reads = [linux_aio.Operation.read(BLOCK, fd, 0) for _ in range(16)]
    assert context.submit(*reads) == 16
    return finish(context, 16)


def case_poll(scale):
    """The context's eventfd becomes readable when an operation completes."""
    fd, context = open_file(), linux_aio.Context(8)
    poll = select.poll()
    poll.register(context.fileno, select.POLLIN)
    for i in range(8 * scale):
        write = linux_aio.Operation.write(b"x" * BLOCK, fd, i * BLOCK)
        assert not poll.poll(0)
        assert context.submit(write) == 1
        assert poll.poll(10000), "nothing in 10 s"
        assert context.poll() == 1
        assert context.process_events() == 1
        assert write.get_value() == BLOCK
    return 8 * scale


def case_error(scale):
    """An error belongs to its operation and becomes an exception."""
    del scale
    context = linux_aio.Context(8)
    fd = os.open("file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    os.pwrite(os.open("file", os.O_WRONLY), bytes(2 * BLOCK), 0)
    # The offset is odd, which O_DIRECT does not allow.
    read = linux_aio.Operation.read(BLOCK, fd, 1)
    assert context.submit(read) == 1
    finish(context, 1)
    try:
        read.get_value()
    except (OSError, SystemError) as error:  # The type depends on the version of caio.
        assert "Invalid argument" in str(error), error
        return 1
    raise AssertionError("no error")


def case_fsync(scale):
    fd, context = open_file(), linux_aio.Context(8)
    for _ in range(scale):
        for sync in (linux_aio.Operation.fsync(fd), linux_aio.Operation.fdsync(fd)):
            assert os.pwrite(fd, b"x" * BLOCK, 0) == BLOCK
            assert context.submit(sync) == 1
            finish(context, 1)
            assert not sync.get_value()
    return 2 * scale


async def side_by_side(nr, **options):
    fd, content = open_file(), blocks(nr)
    async with linux_aio_asyncio.AsyncioContext(32, **options) as context:
        written = await asyncio.gather(*(context.write(content[i], fd, i * BLOCK) for i in range(nr)))
        assert written == [BLOCK] * nr
        await context.fdsync(fd)
        assert await asyncio.gather(*(context.read(BLOCK, fd, i * BLOCK) for i in range(nr))) == content
    return 2 * nr + 1


def case_asyncio(scale):
    return asyncio.run(side_by_side(200 * scale))


def case_deferred(scale):
    return asyncio.run(side_by_side(200 * scale, deferred=True))


print(globals()["case_" + sys.argv[1]](int(sys.argv[2])))
