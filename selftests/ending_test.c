// SPDX-License-Identifier: GPL-2.0
/*
 * How a request ends with its context, its process or its file, in each state that
 * it can be in.
 */
#include "crowd.h"

enum state {
	PARKED,
	RETRIED,	/* an attempt of the kick handler hangs */
	QUEUED,		/* no worker is free */
	BLOCKED,	/* a worker hangs */
	INTERRUPTED,	/* a worker waits, and can be told not to */
	DRIVEN,		/* a driver has it */
	PAGED,		/* it waits for a page */
	LINED,		/* it waits for one that waits for the same file */
	LINED_WRITE,	/* it waits for a write to the same file, which hangs */
};

/* The file that brings a request there, and what it does. */
static const struct {
	const char *node;
	struct kaio_mock_step step;
} ways[] = {
	[PARKED] = { KAIO_MOCK, NOT_NOW },
	[RETRIED] = { KAIO_MOCK, NOT_NOW },
	[QUEUED] = { KAIO_MOCK_SLOW_DISK, GIVES(5) },
	[BLOCKED] = { KAIO_MOCK_SLOW_DISK,
		      { .result = 5, .sleep = KAIO_MOCK_KILLABLE } },
	[INTERRUPTED] = { KAIO_MOCK_SLOW_DISK,
			  { .result = 5, .sleep = KAIO_MOCK_INTERRUPTIBLE } },
	[DRIVEN] = { KAIO_MOCK_DISK,
		     { .result = 5, .complete = KAIO_MOCK_TOLD } },
	[PAGED] = { KAIO_MOCK_PAGES,
		    { .result = -EAGAIN, .page = KAIO_MOCK_TOLD } },
	[LINED] = { KAIO_MOCK, NOT_NOW },
	[LINED_WRITE] = { KAIO_MOCK_PAGES,
			  { .result = 5, .sleep = KAIO_MOCK_KILLABLE } },
};

FIXTURE(end)
{
	int fd;
	int file;
	__s64 nr;
	long refs;
	/* Shared memory that the child maps: it shows whether its mm lives. */
	int memory;
	int ready[2];
	struct crowd *crowd;
	/* Seconds, before the test. */
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
FIXTURE_VARIANT_ADD(end, driven) { .state = DRIVEN };
FIXTURE_VARIANT_ADD(end, paged) { .state = PAGED };
FIXTURE_VARIANT_ADD(end, lined) { .state = LINED };
FIXTURE_VARIANT_ADD(end, lined_write) { .state = LINED_WRITE };
/* clang-format on */

/* -1 if it is built in. */
static long module_refs(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", name);
	return read_number(path);
}

#define END_SECONDS "/sys/module/kaio/parameters/end_seconds"
/* Seconds, for the tests: what they wait for is the same. */
#define SHORT_PATIENCE	2

FIXTURE_SETUP(end)
{
	static struct crowd crowd;

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	self->file = open_mock(_metadata, ways[variant->state].node);
	if (self->file < 0)
		return;
	self->end_seconds = read_number(END_SECONDS);
	ASSERT_EQ(10, self->end_seconds);
	ASSERT_TRUE(write_number(END_SECONDS, SHORT_PATIENCE));
	/* What the test before this one has left goes a moment after it. */
	ASSERT_TRUE(wait_until(module_refs("kaio") <= 1));
	if (variant->state == QUEUED) {
		ASSERT_TRUE(open_crowd(_metadata, &crowd));
		ASSERT_TRUE(crowd_out(&crowd));
		self->crowd = &crowd;
	}
	self->nr = kaio_nr(self->fd);
	self->refs = module_refs("kaio");
	self->memory = memfd_create("kaio", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, self->memory);
	ASSERT_EQ(0, ftruncate(self->memory, PAGE));
	ASSERT_EQ(0, pipe2(self->ready, O_CLOEXEC));
}

FIXTURE_TEARDOWN(end)
{
	EXPECT_TRUE(write_number(END_SECONDS, self->end_seconds));
	mock_let_go(self->file, CROWD);
	if (self->crowd) {
		EXPECT_TRUE(crowd_leaves(self->crowd, 0));
		close(self->crowd->fd);
		close(self->crowd->file);
	}
	close(self->file);
	close(self->fd);
}

/* The one that is in that state, and the one that it waits for. */
static int requests(enum state state)
{
	return state == LINED || state == LINED_WRITE ? 2 : 1;
}

static bool submits(int fd, __u64 ctx, struct iocb *iocb, int file,
		    enum state state)
{
	static char buf[8];

	if (state == LINED_WRITE) {
		prep_pwrite(iocb, file, buf, 5, 0);
		/* It is left to a worker, untried. */
		iocb->aio_rw_flags = RWF_DSYNC;
	} else {
		prep_pread(iocb, file, buf, 5, 0);
	}
	return kaio_submit_one(fd, ctx, iocb) == 1;
}

/* The child's request, in that state; a step's number if that failed. */
static int reach_state(FIXTURE_DATA(end) *self, enum state state, int fd,
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
	if (mock_program(file, 1, 0, ways[state].step))
		return 103;
	if (requests(state) == 2 && !submits(fd, *ctx, &ahead, file, state))
		return 104;
	if (state == LINED_WRITE && !mock_sleeps(file))
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
	if (state == DRIVEN && mock_info(file).queued != 1)
		return 110;
	if (state == PAGED && !wait_until(mock_info(file).page_waiters == 1))
		return 111;
	if ((state == PARKED || state == LINED) && mock_waiters(file) != 1)
		return 112;
	if (state == QUEUED &&
	    (kaio_stat(fd, "queued") != 1 || mock_info(file).attempts))
		return 113;
	if (state == LINED_WRITE && mock_info(file).attempts != 1)
		return 114;
	return 0;
}

/* What hangs goes on. */
static void release(FIXTURE_DATA(end) *self)
{
	mock_let_go(self->file, 2);
	mock_complete(self->file, 5);
	if (mock_info(self->file).page_waiters) {
		mock_program(self->file, 1, 0, GIVES(5));
		mock_unlock(self->file, KAIO_MOCK_NOW, KAIO_MOCK_THIS_PAGE);
	}
}

/* It waits for nobody: it ends with its context. */
static bool ends_at_once(enum state state)
{
	return state == PARKED || state == QUEUED || state == INTERRUPTED ||
	       state == LINED;
}

/* It is done in any case, though nobody waits for it. */
static bool is_pledged(enum state state)
{
	return state == LINED_WRITE;
}

/* A kernel thread works in its memory, or is going to. */
static bool keeps_mm(enum state state)
{
	return state == RETRIED || state == BLOCKED || state == LINED_WRITE;
}

/* Nobody has the child's memory any more. */
static bool mm_is_gone(FIXTURE_DATA(end) *self)
{
	return !fcntl(self->memory, F_ADD_SEALS, F_SEAL_WRITE);
}

/* The context has gone, and all that it had, and nothing waits for the file. */
static bool nothing_is_left(FIXTURE_DATA(end) *self)
{
	return wait_until(kaio_nr(self->fd) == self->nr) &&
	       wait_until(module_refs("kaio") == self->refs) &&
	       wait_until(mock_info(self->file).running == 0) &&
	       mock_info(self->file).queued == 0 &&
	       mock_info(self->file).page_waiters == 0 &&
	       mock_waiters(self->file) == 0;
}

/* What a child does once its request is in that state. */
enum deed {
	DESTROY,
	CLOSE,
	UNMAP,
	EXIT,
	EXEC,
	WAIT,
};

static void do_as_child(FIXTURE_DATA(end) *self, enum state state,
			enum deed deed)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct iocb iocb;
	__u64 ctx;
	int ret = reach_state(self, state, fd, &ctx, &iocb);

	if (ret)
		_exit(ret);
	if (deed == DESTROY && write(self->ready[1], "r", 1) != 1)
		_exit(1);
	if (deed == DESTROY)
		_exit(kaio_destroy(fd, ctx) || kaio_stat(fd, "inflight") ||
		      kaio_stat(fd, "completed") != requests(state));
	if (deed == CLOSE) {
		/* It waits, as destroy does. */
		if (write(self->ready[1], "r", 1) != 1 || close(fd) ||
		    write(self->ready[1], "c", 1) != 1)
			_exit(3);
		pause();
	}
	if (deed == UNMAP && munmap(ring_of(ctx), PAGE))
		_exit(4);
	if (write(self->ready[1], "r", 1) != 1)
		_exit(5);
	if (deed == EXEC)
		execl("/bin/true", "true", (char *)NULL);
	if (deed != EXIT)
		pause();
	_exit(0);
}

static pid_t start_child(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(end) *self, enum state state,
			 enum deed deed)
{
	int status;
	pid_t pid;
	char c;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		do_as_child(self, state, deed);
	close(self->ready[1]);
	ASSERT_EQ(1, read(self->ready[0], &c, 1))
	{
		waitpid(pid, &status, 0);
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	return pid;
}

/* -1: it does not end in time. */
static int status_of(pid_t pid)
{
	int status;

	return wait_until(waitpid(pid, &status, WNOHANG) == pid) ? status : -1;
}

TEST_F_TIMEOUT(end, destroy, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, DESTROY);
	int status;

	if (!ends_at_once(variant->state)) {
		/* The buffer is in use. */
		usleep(50 * 1000);
		EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
		release(self);
	}
	EXPECT_EQ(0, status_of(pid));
	EXPECT_TRUE(nothing_is_left(self));
}

/* Whatever it waits for. */
TEST_F_TIMEOUT(end, kill_in_destroy, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, DESTROY);

	if (ends_at_once(variant->state)) {
		EXPECT_EQ(0, status_of(pid));
		return;
	}
	usleep(50 * 1000);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	/* An exit may take some time too: once is enough. */
	if (variant->state != DRIVEN)
		release(self);
	EXPECT_EQ(SIGKILL, status_of(pid));
	release(self);
	EXPECT_TRUE(nothing_is_left(self));
}

/* It does not wait for ever; and what has not begun by then never does, but writes. */
TEST_F_TIMEOUT(end, kill, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, WAIT);
	__s64 since, waited;
	__u64 attempts;

	EXPECT_EQ(self->nr + requests(variant->state), kaio_nr(self->fd));
	since = now_ns();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
	waited = now_ns() - since;
	/* It looks at whole seconds. */
	EXPECT_TRUE(ends_at_once(variant->state) ||
		    waited >= (SHORT_PATIENCE - 1) * NSEC_PER_SEC)
	{
		TH_LOG("after %lld ms", waited / 1000000);
	}
	attempts = mock_info(self->file).attempts;
	ASSERT_EQ(0, mock_wake(self->file, KAIO_MOCK_NOW, IN, IN));
	EXPECT_TRUE(keeps_mm(variant->state) || wait_until(mm_is_gone(self)));
	if (!ends_at_once(variant->state))
		release(self);
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(nothing_is_left(self));
	EXPECT_EQ(attempts + is_pledged(variant->state),
		  mock_info(self->file).attempts);
}

TEST_F_TIMEOUT(end, exit, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, EXIT);

	if (!ends_at_once(variant->state)) {
		usleep(50 * 1000);
		release(self);
	}
	EXPECT_EQ(0, status_of(pid));
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(nothing_is_left(self));
}

TEST_F_TIMEOUT(end, exec, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, EXEC);

	EXPECT_EQ(0, status_of(pid));
	if (!ends_at_once(variant->state))
		release(self);
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(nothing_is_left(self));
}

TEST_F_TIMEOUT(end, close, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, CLOSE);
	struct pollfd closed = { .fd = self->ready[0], .events = POLLIN };

	if (!ends_at_once(variant->state)) {
		/* The buffer is in use. */
		EXPECT_EQ(0, poll(&closed, 1, 50));
		release(self);
	}
	EXPECT_EQ(1, poll(&closed, 1, 60 * 1000));
	/* The process lives on without it. */
	EXPECT_TRUE(nothing_is_left(self));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
}

static bool is_mapped(void *addr)
{
	unsigned char resident;

	return !mincore(addr, PAGE, &resident);
}

/* Other threads see by the ring when the close is through. */
TEST_F_TIMEOUT(end, close_unmaps_last, 120)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct sleeper closer;
	struct iocb iocb;
	__u64 ctx;

	ASSERT_EQ(0, reach_state(self, variant->state, fd, &ctx, &iocb));
	ASSERT_TRUE(start_closing(&closer, &fd));
	if (!ends_at_once(variant->state)) {
		EXPECT_TRUE(close_waits(&closer));
		usleep(50 * 1000);
		EXPECT_TRUE(is_mapped(ring_of(ctx)));
		release(self);
	}
	EXPECT_EQ(0, woken(&closer));
	EXPECT_FALSE(is_mapped(ring_of(ctx)));
	EXPECT_TRUE(nothing_is_left(self));
}

/* Not even while the close waits is other memory taken for the ring. */
TEST_F_TIMEOUT(end, close_unmaps_no_other_memory, 120)
{
	const bool waits = !ends_at_once(variant->state);
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct sleeper closer;
	struct iocb iocb;
	__u64 ctx;

	ASSERT_EQ(0, reach_state(self, variant->state, fd, &ctx, &iocb));
	if (waits) {
		ASSERT_TRUE(start_closing(&closer, &fd));
		EXPECT_TRUE(close_waits(&closer));
	}
	EXPECT_EQ(0, munmap(ring_of(ctx), PAGE));
	EXPECT_EQ(ring_of(ctx), mmap(ring_of(ctx), PAGE, PROT_READ,
				     MAP_PRIVATE | MAP_ANONYMOUS |
				     MAP_FIXED_NOREPLACE, -1, 0));
	if (!waits)
		ASSERT_TRUE(start_closing(&closer, &fd));
	if (waits)
		release(self);
	EXPECT_EQ(0, woken(&closer));
	EXPECT_TRUE(is_mapped(ring_of(ctx)));
	EXPECT_TRUE(nothing_is_left(self));
}

TEST_F_TIMEOUT(end, unmap, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, UNMAP);

	if (!ends_at_once(variant->state))
		release(self);
	EXPECT_TRUE(wait_until(mock_info(self->file).running == 0));
	EXPECT_EQ(0, mock_waiters(self->file));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
	EXPECT_TRUE(nothing_is_left(self));
}

static long remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* While anything of a request is in use, the module stays. */
TEST_F_TIMEOUT(end, module_stays, 120)
{
	/* Ours must not be why it stays. */
	const long refs = self->refs - 1;
	pid_t pid;

	if (self->refs < 0)
		SKIP(return, "kaio is built in");
	close(self->fd);
	pid = start_child(_metadata, self, variant->state, CLOSE);
	if (!ends_at_once(variant->state)) {
		EXPECT_EQ(-EAGAIN, remove_module("kaio"));
		EXPECT_EQ(-EAGAIN, remove_module("kaio_mock"));
		release(self);
	}
	/* When it is over it may go. */
	EXPECT_TRUE(wait_until(module_refs("kaio") == refs));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
}

TEST_HARNESS_MAIN
