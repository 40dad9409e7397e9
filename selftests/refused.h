/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests requests that submit refuses. Each request is valid but for one
 * thing. The program that includes this header adds the variants.
 */
#ifndef KAIO_REFUSED_H
#define KAIO_REFUSED_H

#include <sys/epoll.h>

#include "kaio_common.h"

/* Each of the functions below opens a file. */
static inline int a_file(void)
{
	return open_temp(MEM_DIR, 0);
}

static inline int a_directory(void)
{
	return open(DISK_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline int proc_directory(void)
{
	return open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline int proc_file(void)
{
	return open("/proc/version", O_RDONLY | O_CLOEXEC);
}

static inline int pipe_reader(void)
{
	int ends[2];

	return pipe2(ends, O_CLOEXEC) ? -1 : ends[0];
}

static inline int pipe_writer(void)
{
	int ends[2];

	return pipe2(ends, O_CLOEXEC) ? -1 : ends[1];
}

static inline int a_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static inline int an_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static inline int a_timerfd(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static inline int an_epoll_fd(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static inline int a_pidfd(void)
{
	return syscall(SYS_pidfd_open, getpid(), 0);
}

static inline int dev_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static inline int path_fd(void)
{
	return open("/", O_PATH | O_CLOEXEC);
}

static inline int closed_fd(void)
{
	const int fd = a_file();

	close(fd);
	return fd;
}

static inline int negative_fd(void)
{
	return -1;
}

/* Each of the functions below makes one thing of a request wrong. */
static inline void some_buf(struct iocb *iocb)
{
	iocb->aio_buf = 1;
}

static inline void some_offset(struct iocb *iocb)
{
	iocb->aio_offset = 1;
}

static inline void negative_offset(struct iocb *iocb)
{
	iocb->aio_offset = -1;
}

static inline void some_nbytes(struct iocb *iocb)
{
	iocb->aio_nbytes = 1;
}

static inline void known_rw_flag(struct iocb *iocb)
{
	iocb->aio_rw_flags = RWF_DSYNC;
}

static inline void unknown_rw_flag(struct iocb *iocb)
{
	iocb->aio_rw_flags = 1 << 30;
}

static inline void some_reserved2(struct iocb *iocb)
{
	iocb->aio_reserved2 = 1;
}

static inline void bad_resfd(struct iocb *iocb)
{
	iocb->aio_flags = IOCB_FLAG_RESFD;
	iocb->aio_resfd = -1;
}

static inline void own_fd_as_resfd(struct iocb *iocb)
{
	iocb->aio_flags = IOCB_FLAG_RESFD;
	iocb->aio_resfd = iocb->aio_fildes;
}

FIXTURE(refused)
{
	int fd;
	__u64 ctx;
	struct iocb iocb;
};

FIXTURE_VARIANT(refused)
{
	int opcode;
	int err;
	int (*open)(void);
	/* The buffer of a transfer, or the events of a POLL. */
	unsigned long buf;
	unsigned long nbytes;
	/* Makes a valid request invalid. */
	void (*make_invalid)(struct iocb *iocb);
};

FIXTURE_SETUP(refused)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	prep_rw(&self->iocb, variant->opcode, variant->open(),
		(void *)variant->buf, variant->nbytes, 0);
	if (variant->make_invalid)
		variant->make_invalid(&self->iocb);
}

FIXTURE_TEARDOWN(refused)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(refused, alone)
{
	struct iocb good;
	int i;

	/*
	 * Submit so often that the context would be full if each refusal lost a
	 * slot.
	 */
	for (i = 0; i < 2 * NR_EVENTS; i++) {
		ASSERT_EQ(-variant->err,
			  kaio_submit_one(self->fd, self->ctx, &self->iocb))
		{
			TH_LOG("i %d", i);
		}
	}
	EXPECT_EQ(0, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(0, self->fd, "inflight");
	for (i = 0; i < NR_EVENTS; i++) {
		prep_noop(&good, self->fd);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &good))
		{
			TH_LOG("i %d", i);
		}
	}
}

TEST_F(refused, as_native)
{
	aio_context_t native;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	EXPECT_EQ(-variant->err, ask_native(native, &self->iocb).submit);
}

#endif /* KAIO_REFUSED_H */
