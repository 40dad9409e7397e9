// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the quick way in: fadvise64(2) on the device stands for the ioctls of
 * which a program makes many.
 */
#include "context_fixture.h"
#include "task_work.h"

/* Makes the ioctl by fadvise64(2). Returns the result, or -errno. */
static long kaio_quick(int fd, unsigned long cmd, const void *arg)
{
	long ret = syscall(SYS_fadvise64, fd, (uintptr_t)arg, 0L, (int)cmd);

	return ret < 0 ? -errno : ret;
}

static struct kaio_submit submit_arg(__u64 ctx, long nr, struct iocb **iocbs)
{
	return (struct kaio_submit){
		.ctx_id = ctx,
		.nr = nr,
		.iocbpp = (uintptr_t)iocbs,
	};
}

/* Each of the three calls does what its ioctl does. */
TEST_F(context, calls)
{
	struct iocb iocb, *pointer = &iocb;
	struct io_event event;
	struct kaio_submit submit = submit_arg(self->ctx, 1, &pointer);
	struct kaio_getevents take = getevents_arg(self->ctx, 1, 1, &event, &patience);
	struct kaio_submit_wait both = {
		.ctx_id = self->ctx,
		.nr = 1,
		.iocbpp = (uintptr_t)&pointer,
		.min_nr = 1,
		.nr_events = 1,
		.events = (uintptr_t)&event,
		.timeout = (uintptr_t)&patience,
	};
	int pipes[2];
	char byte;

	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	prep_pread(&iocb, pipes[0], &byte, 1, 0);
	iocb.aio_data = 17;
	ASSERT_EQ(1, kaio_quick(self->fd, KAIO_SUBMIT, &submit));
	ASSERT_EQ(1, write(pipes[1], "x", 1));
	ASSERT_EQ(1, kaio_quick(self->fd, KAIO_GETEVENTS, &take));
	EXPECT_EQ(17, event.data);
	EXPECT_EQ(1, event.res);
	EXPECT_EQ('x', byte);
	ASSERT_EQ(1, write(pipes[1], "y", 1));
	ASSERT_EQ(1, kaio_quick(self->fd, KAIO_SUBMIT_WAIT, &both));
	EXPECT_EQ(1, both.submitted);
	EXPECT_EQ(1, event.res);
	EXPECT_EQ('y', byte);
	/* The error of a second request is told in the same field. */
	both.nr = 2;
	both.iocbpp = (uintptr_t)(struct iocb *[]){ pointer, NULL };
	both.min_nr = 0;
	both.submitted = 0;
	EXPECT_EQ(0, kaio_quick(self->fd, KAIO_SUBMIT_WAIT, &both));
	EXPECT_EQ(1, both.submitted);
	EXPECT_EQ(-EFAULT, both.error);
	ASSERT_EQ(1, write(pipes[1], "z", 1));
	EXPECT_EQ(1, kaio_quick(self->fd, KAIO_GETEVENTS, &take));
	close(pipes[0]);
	close(pipes[1]);
}

/* The other ioctls, at which security modules look, have no quick way. */
TEST_F(context, other_calls)
{
	static const unsigned long others[] = {
		KAIO_QUERY, KAIO_SETUP, KAIO_DESTROY, KAIO_CANCEL, 6, ~0UL, 0x4b00,
		_IOC(_IOC_READ | _IOC_WRITE, KAIO_IOC_MAGIC, 0x07, sizeof(struct kaio_submit)),
		_IOC(_IOC_READ, KAIO_IOC_MAGIC, 0x03, sizeof(struct kaio_submit)),
	};
	__u64 zeros[16] = {};
	unsigned int i;

	for (i = 0; i < sizeof(others) / sizeof(*others); i++) {
		EXPECT_EQ(-EINVAL, kaio_quick(self->fd, others[i], zeros))
		{
			TH_LOG("number %#lx", others[i]);
		}
	}
	/* What is advice has no effect, as on other devices. */
	for (i = 0; i <= POSIX_FADV_NOREUSE; i++)
		EXPECT_EQ(0, kaio_quick(self->fd, i, NULL));
	/* The context is still there. */
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

/* A length that is not 0 is left for later versions. */
TEST_F(context, length)
{
	struct kaio_getevents take = getevents_arg(self->ctx, 0, 1, NULL, NULL);
	static const __s64 lengths[] = { 1, -1, LLONG_MAX, LLONG_MIN };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		EXPECT_EQ(-1, syscall(SYS_fadvise64, self->fd, &take, lengths[i],
				      (int)KAIO_GETEVENTS));
		EXPECT_EQ(EINVAL, errno);
	}
}

/* What is wrong has the errno that the ioctl has. */
TEST_F(context, errors)
{
	struct iocb iocb, *pointer = &iocb;
	struct kaio_submit submit = submit_arg(self->ctx, 1, &pointer);
	static char page[PAGE];

	prep_pread(&iocb, -1, page, 1, 0);
	EXPECT_EQ(-EBADF, kaio_quick(self->fd, KAIO_SUBMIT, &submit));
	submit.nr = -1;
	EXPECT_EQ(-EINVAL, kaio_quick(self->fd, KAIO_SUBMIT, &submit));
	submit.nr = 1;
	submit.ctx_id++;
	EXPECT_EQ(-EINVAL, kaio_quick(self->fd, KAIO_SUBMIT, &submit));
	EXPECT_EQ(-EFAULT, kaio_quick(self->fd, KAIO_SUBMIT, NULL));
	EXPECT_EQ(-EFAULT, kaio_quick(self->fd, KAIO_SUBMIT, (void *)-1L));
	EXPECT_EQ(-EFAULT, kaio_quick(self->fd, KAIO_SUBMIT, (void *)KERNEL_ADDR));
	memcpy(page, &submit, sizeof(submit));
	page[499] = 1;
	EXPECT_EQ(-E2BIG, kaio_quick(self->fd, ioc_resize(KAIO_SUBMIT, 500), page));
	EXPECT_EQ(-EINVAL, kaio_quick(self->fd, ioc_resize(KAIO_SUBMIT, 8), page));
	EXPECT_EQ(-EBADF, kaio_quick(-1, KAIO_SUBMIT, &submit));
}

/* A child that has the descriptor has no context. */
TEST_F(context, child)
{
	struct kaio_getevents take = getevents_arg(self->ctx, 0, 1, NULL, NULL);
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(kaio_quick(self->fd, KAIO_GETEVENTS, &take) != -EINVAL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

static void do_nothing(int sig)
{
	(void)sig;
}

/* A signal ends the wait, and so does the time. */
TEST_F(context, wait)
{
	const struct itimerval timer = { .it_value.tv_usec = 50000 };
	struct timespec moment = { .tv_nsec = 20 * NSEC_PER_MSEC };
	struct kaio_getevents take = getevents_arg(self->ctx, 1, 1, NULL, &moment);

	EXPECT_EQ(0, kaio_quick(self->fd, KAIO_GETEVENTS, &take));
	signal(SIGALRM, do_nothing);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	take.timeout = (uintptr_t)&patience;
	EXPECT_EQ(-EINTR, kaio_quick(self->fd, KAIO_GETEVENTS, &take));
}

/* The address of a field of a ring of io_uring. */
#define RING_FIELD(ring, offset)	((unsigned int *)((char *)(ring) + (offset)))

/* Makes the call by IORING_OP_FADVISE. Returns its result. */
static int by_uring(struct __test_metadata *const _metadata, int fd, int uring,
		    const struct io_uring_params *params, const void *arg)
{
	void *ring = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			  uring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_POPULATE, uring, IORING_OFF_SQES);
	struct io_uring_cqe *cqe;

	ASSERT_NE(MAP_FAILED, ring);
	ASSERT_NE(MAP_FAILED, (void *)sqe);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_FADVISE,
		.fd = fd,
		.off = (uintptr_t)arg,
		.fadvise_advice = KAIO_GETEVENTS,
	};
	*RING_FIELD(ring, params->sq_off.array) = 0;
	__atomic_store_n(RING_FIELD(ring, params->sq_off.tail), 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, syscall(SYS_io_uring_enter, uring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	cqe = (struct io_uring_cqe *)RING_FIELD(ring, params->cq_off.cqes);
	return cqe->res;
}

/* A worker of io_uring is no task of the program's own. */
TEST_F(context, worker_of_io_uring)
{
	struct kaio_getevents take = getevents_arg(self->ctx, 0, 1, NULL, NULL);
	struct io_uring_params params = {};
	const int uring = syscall(SYS_io_uring_setup, 1, &params);

	if (uring < 0)
		SKIP(return, "there is no io_uring");
	EXPECT_EQ(-EINVAL, by_uring(_metadata, self->fd, uring, &params, &take));
	close(uring);
}

/* On a file that is not the device the call is advice that no file knows. */
TEST_F(context, other_files)
{
	struct kaio_getevents take = getevents_arg(self->ctx, 0, 1, NULL, NULL);
	const int file = open_temp(MEM_DIR, 0);
	int pipes[2];

	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	EXPECT_EQ(-EINVAL, kaio_quick(file, KAIO_GETEVENTS, &take));
	EXPECT_EQ(-ESPIPE, kaio_quick(pipes[0], KAIO_GETEVENTS, &take));
	close(file);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_HARNESS_MAIN
