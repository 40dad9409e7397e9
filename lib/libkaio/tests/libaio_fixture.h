/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The context, the file and the requests that the tests of libaio's ABI share.
 */
#ifndef KAIO_LIBAIO_FIXTURE_H
#define KAIO_LIBAIO_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "drop.h"
#include "kselftest_harness.h"

#define PAGE	4096
/* An address of the kernel, which no program can use. */
#define KERNEL_POINTER	((void *)0xffffffff81000000)

/* The longest time that a correct operation may take. */
static struct timespec __attribute__((unused)) patience = { .tv_sec = 20 };
static struct timespec __attribute__((unused)) no_time;

/* Returns a page that can be neither read nor written. */
static inline void *inaccessible_page(void)
{
	void *page = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}

/*
 * A context, and a pipe that is empty: reads and polls of it wait until the
 * test writes.
 */
FIXTURE(aio)
{
	io_context_t ctx;
	int pipe[2];
	char buf[64];
	struct iocb iocb;
	struct io_event events[64];
};

FIXTURE_SETUP(aio)
{
	self->ctx = NULL;
	ASSERT_EQ(io_setup(64, &self->ctx), 0);
	ASSERT_EQ(pipe(self->pipe), 0);
}

FIXTURE_TEARDOWN(aio)
{
	if (self->ctx)
		EXPECT_EQ(io_destroy(self->ctx), 0);
}

static inline int submit_poll(io_context_t ctx, struct iocb *iocb, int fd)
{
	io_prep_poll(iocb, fd, POLLIN);
	iocb->data = iocb;
	return io_submit(ctx, 1, &iocb);
}

/* Submits polls of a pipe that can be written; they are complete at once. */
static inline int submit_ready(io_context_t ctx, struct iocb *iocb, int nr, int fd)
{
	struct iocb *list[64];
	int i;

	for (i = 0; i < nr; i++) {
		io_prep_poll(&iocb[i], fd, POLLOUT);
		iocb[i].data = &iocb[i];
		list[i] = &iocb[i];
	}
	return io_submit(ctx, nr, list);
}

/*
 * Moves the ring of a context. Returns the context's new address, or NULL if
 * the kernel refuses.
 */
static inline io_context_t move_ring(io_context_t ctx)
{
	unsigned int nr = ((unsigned int *)ctx)[1];
	size_t size = (32 + nr * sizeof(struct io_event) + PAGE - 1) / PAGE * PAGE;
	void *where = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *ring = mremap(ctx, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, where);

	return ring == MAP_FAILED ? NULL : ring;
}

/*
 * Waits for a child. Returns 0 if it has exited with 0, otherwise its wait
 * status.
 */
static inline int join(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

#endif /* KAIO_LIBAIO_FIXTURE_H */
