/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Brings a request into each state that it can be in. The tests then end its
 * context, its process or its file.
 */
#ifndef KAIO_ENDING_FIXTURE_H
#define KAIO_ENDING_FIXTURE_H

#include "worker_saturation.h"

enum state {
	PARKED,
	RETRIED,	/* An attempt of the kick handler sleeps in the file. */
	QUEUED,		/* No worker is free. */
	BLOCKED,	/* A worker sleeps in the file. */
	INTERRUPTED,	/* A worker sleeps in the file, interruptibly. */
	IN_DRIVER,	/* A driver has the request. */
	PAGE_WAIT,	/* The request waits for a page. */
	ORDERED,	/* Another request, which waits for the same file, is ahead. */
	ORDERED_WRITE,	/* A write to the same file is ahead, and sleeps in it. */
};

/*
 * For each state, the file that brings a request into it, and the step that the
 * file takes.
 */
static const struct {
	const char *node;
	struct kaio_mock_step step;
} setups[] = {
	[PARKED] = { KAIO_MOCK, NOT_NOW },
	[RETRIED] = { KAIO_MOCK, NOT_NOW },
	[QUEUED] = { KAIO_MOCK_SLOW_DISK, GIVES(5) },
	[BLOCKED] = { KAIO_MOCK_SLOW_DISK,
		      SLEEPS(5, KAIO_MOCK_KILLABLE) },
	[INTERRUPTED] = { KAIO_MOCK_SLOW_DISK,
			  SLEEPS(5, KAIO_MOCK_INTERRUPTIBLE) },
	[IN_DRIVER] = { KAIO_MOCK_DISK,
		     COMPLETES(5, KAIO_MOCK_TOLD) },
	[PAGE_WAIT] = { KAIO_MOCK_PAGES,
		    { .result = -EAGAIN, .page = KAIO_MOCK_TOLD } },
	[ORDERED] = { KAIO_MOCK, NOT_NOW },
	[ORDERED_WRITE] = { KAIO_MOCK_PAGES,
			  SLEEPS(5, KAIO_MOCK_KILLABLE) },
};

FIXTURE(end)
{
	int fd;
	int file;
	__s64 nr;
	long refs;
	/*
	 * Shared memory that the child maps: a seal on it shows whether the
	 * child's mm is alive.
	 */
	int memory;
	int ready[2];
	int mail[2];
	struct saturation *saturation;
	/* The value of end_seconds before the test. */
	int end_seconds;
};

FIXTURE_VARIANT(end)
{
	enum state state;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(end, parked) { .state = PARKED };
FIXTURE_VARIANT_ADD(end, retried) { .state = RETRIED };
FIXTURE_VARIANT_ADD(end, queued) { .state = QUEUED };
FIXTURE_VARIANT_ADD(end, blocked) { .state = BLOCKED };
FIXTURE_VARIANT_ADD(end, interrupted) { .state = INTERRUPTED };
FIXTURE_VARIANT_ADD(end, in_driver) { .state = IN_DRIVER };
FIXTURE_VARIANT_ADD(end, page_wait) { .state = PAGE_WAIT };
FIXTURE_VARIANT_ADD(end, ordered) { .state = ORDERED };
FIXTURE_VARIANT_ADD(end, ordered_write) { .state = ORDERED_WRITE };
/* clang-format on */

/* Returns -1 if the module is built in. */
static inline long module_refs(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	return read_number(path);
}

FIXTURE_SETUP(end)
{
	static struct saturation saturation;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	self->file = open_mock(_metadata, setups[variant->state].node);
	if (self->file < 0)
		return;
	self->end_seconds = read_number(END_SECONDS);
	ASSERT_EQ(10, self->end_seconds);
	ASSERT_TRUE(write_number(END_SECONDS, SHORT_PATIENCE));
	/*
	 * The kernel drops the references of the previous test a moment after
	 * that test has ended. Two references stay: this test's descriptor, and
	 * kaio_mock, which uses kaio.
	 */
	ASSERT_TRUE(wait_until(module_refs("kaio") <= 2));
	if (variant->state == QUEUED) {
		start_saturation(_metadata, &saturation);
		self->saturation = &saturation;
	}
	self->nr = kaio_nr(self->fd);
	self->refs = module_refs("kaio");
	self->memory = memfd_create("kaio", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, self->memory);
	ASSERT_EQ(0, ftruncate(self->memory, PAGE));
	ASSERT_EQ(0, pipe2(self->ready, O_CLOEXEC));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				self->mail));
}

FIXTURE_TEARDOWN(end)
{
	EXPECT_TRUE(write_number(END_SECONDS, self->end_seconds));
	mock_let_go(self->file, MAX_BLOCKED_READS);
	if (self->saturation) {
		EXPECT_TRUE(release_workers(self->saturation, 0));
		close(self->saturation->fd);
		close(self->saturation->file);
	}
	close(self->file);
	close(self->fd);
}

/*
 * Returns the number of requests: one is in the state, and in two states it
 * waits for a second one.
 */
static inline int requests(enum state state)
{
	return state == ORDERED || state == ORDERED_WRITE ? 2 : 1;
}

static inline bool submits(int fd, __u64 ctx, struct iocb *iocb, int file,
		    enum state state)
{
	static char buf[8];

	if (state == ORDERED_WRITE) {
		prep_pwrite(iocb, file, buf, 5, 0);
		/*
		 * A write with RWF_DSYNC goes to a worker without an attempt in
		 * the submit call.
		 */
		iocb->aio_rw_flags = RWF_DSYNC;
	} else {
		prep_pread(iocb, file, buf, 5, 0);
	}
	return kaio_submit_one(fd, ctx, iocb) == 1;
}

/*
 * Brings the child's request into the state. Returns 0, or the number of the
 * step that failed.
 */
static inline int reach_state(FIXTURE_DATA(end) *self, enum state state, int fd,
		       __u64 *ctx, struct iocb *iocb)
{
	const struct kaio_mock_step hangs_once = {
		.attempts = 1, .result = -EAGAIN, .sleep = KAIO_MOCK_KILLABLE,
	};
	static struct iocb ahead;
	const int file = self->file;

	if (mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->memory,
		 0) == MAP_FAILED)
		return 101;
	if (kaio_setup(fd, requests(state), ctx))
		return 102;
	if (mock_program(file, 1, 0, setups[state].step))
		return 103;
	if (requests(state) == 2 && !submits(fd, *ctx, &ahead, file, state))
		return 104;
	if (state == ORDERED_WRITE && !mock_sleeps(file))
		return 105;
	if (!submits(fd, *ctx, iocb, file, state))
		return 106;
	if (state == RETRIED && (mock_program(file, 1, 0, hangs_once, NOT_NOW) ||
				 mock_wake(file, KAIO_MOCK_NOW, 0, IN)))
		return 107;
	if ((state == RETRIED || state == BLOCKED) && !mock_sleeps(file))
		return 108;
	if (state == INTERRUPTED && !wait_until(mock_info(file).attempts))
		return 109;
	if (state == IN_DRIVER && mock_info(file).queued != 1)
		return 110;
	if (state == PAGE_WAIT && !wait_until(mock_info(file).page_waiters == 1))
		return 111;
	if ((state == PARKED || state == ORDERED) && mock_waiters(file) != 1)
		return 112;
	if (state == QUEUED &&
	    (kaio_stat(fd, "queued") != 1 || mock_info(file).attempts))
		return 113;
	if (state == ORDERED_WRITE && mock_info(file).attempts != 1)
		return 114;
	return 0;
}

/* Lets all attempts, driver requests and page waits of the file go on. */
static inline void release(FIXTURE_DATA(end) *self)
{
	mock_let_go(self->file, 2);
	mock_complete(self->file, 5);
	if (mock_info(self->file).page_waiters) {
		mock_program(self->file, 1, 0, GIVES(5));
		mock_unlock(self->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE);
	}
}

/*
 * Returns true if the context ends the request in that state without waiting
 * for it.
 */
static inline bool ends_at_once(enum state state)
{
	return state == PARKED || state == QUEUED || state == INTERRUPTED ||
	       state == ORDERED;
}

/*
 * Returns true if the request waits for hardware, which cannot be told to stop.
 */
static inline bool is_in_hardware(enum state state)
{
	return state == IN_DRIVER || state == PAGE_WAIT;
}

/* Returns true if no task has the child's memory any more. */
static inline bool mm_is_gone(FIXTURE_DATA(end) *self)
{
	return !fcntl(self->memory, F_ADD_SEALS, F_SEAL_WRITE);
}

/*
 * Returns true if the kernel has released the context with all its references
 * and no request waits for the file.
 */
static inline bool context_is_released(FIXTURE_DATA(end) *self)
{
	return wait_until(kaio_nr(self->fd) == self->nr) &&
	       wait_until(module_refs("kaio") == self->refs) &&
	       wait_until(mock_info(self->file).running == 0) &&
	       mock_info(self->file).queued == 0 &&
	       mock_info(self->file).page_waiters == 0 &&
	       mock_waiters(self->file) == 0;
}

/* These are the actions of a child once its request is in the state. */
enum action {
	DESTROY,
	CLOSE,
	UNMAP,
	EXIT,
	EXEC,
	EXEC_AND_WAIT,
	WAIT,
	LEAVE_FD,	/* Leave the only descriptor in a message, and wait. */
};

/* Puts the only descriptor into a message that no process receives. */
static inline bool leave_fd(FIXTURE_DATA(end) *self, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(fd))];
	} control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(fd)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	} };
	struct iovec byte = { .iov_base = "f", .iov_len = 1 };
	const struct msghdr message = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(self->mail[1], &message, 0) == 1 && !close(fd);
}

static inline void do_as_child(FIXTURE_DATA(end) *self, enum state state,
			enum action action)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct iocb iocb;
	__u64 ctx;
	int ret = reach_state(self, state, fd, &ctx, &iocb);

	if (ret)
		_exit(ret);
	if (action == DESTROY && write(self->ready[1], "r", 1) != 1)
		_exit(1);
	if (action == DESTROY)
		_exit(kaio_destroy(fd, ctx) || kaio_stat(fd, "inflight") ||
		      kaio_stat(fd, "completed") != requests(state));
	if (action == CLOSE) {
		/* The close waits for the request, as KAIO_DESTROY does. */
		if (write(self->ready[1], "r", 1) != 1 || close(fd) ||
		    write(self->ready[1], "c", 1) != 1)
			_exit(3);
		pause();
	}
	if (action == UNMAP && munmap(ring_of(ctx), PAGE))
		_exit(4);
	if (action == LEAVE_FD && !leave_fd(self, fd))
		_exit(6);
	if (write(self->ready[1], "r", 1) != 1)
		_exit(5);
	if (action == EXEC_AND_WAIT)
		execl("/bin/sleep", "sleep", "100", (char *)NULL);
	if (action == EXEC)
		execl("/bin/true", "true", (char *)NULL);
	if (action != EXIT)
		pause();
	_exit(0);
}

static inline pid_t start_child(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(end) *self, enum state state,
			 enum action action)
{
	int status;
	pid_t pid;
	char c;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		do_as_child(self, state, action);
	close(self->ready[1]);
	ASSERT_EQ(1, read(self->ready[0], &c, 1))
	{
		waitpid(pid, &status, 0);
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	return pid;
}

/* Returns the wait status of @pid, or -1 if it does not end in time. */
static inline int status_of(pid_t pid)
{
	int status;

	return wait_until(waitpid(pid, &status, WNOHANG) == pid) ? status : -1;
}

#endif /* KAIO_ENDING_FIXTURE_H */
