// SPDX-License-Identifier: GPL-2.0
/*
 * Tests kaio with control groups. Work that another task does for a submitter
 * later is charged to the groups of the submitter at submission. The memory of
 * requests and rings is charged to the submitter too, and limited like its
 * other memory.
 */
#include "cgroups.h"

/* The submitter starts in HERE, and moves to THERE after it has submitted. */
#define HERE	"kaio-here"
#define THERE	"kaio-there"

#define PAGES	16
#define LEN	(PAGES * PAGE)
/* A pipe of this size holds this many bytes. */
#define PIPE_LEN	(256 * PAGE)

FIXTURE(groups)
{
	int fd;
	__s64 nr_before;
	struct null_blk dev;
	struct guard freezer;
	int file;
	int ends[2];
	char *buf;
	pid_t child;
	/* The child has reached a step (@came), and may go on (@go). */
	int came[2];
	int go[2];
};

FIXTURE_SETUP(groups)
{
	self->file = -1;
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	if (!cgroup_set(".", "cgroup.subtree_control", "+io +memory"))
		SKIP(return, "there are no cgroups for I/O and memory");
	self->nr_before = kaio_nr(self->fd);
	self->buf = map_guarded(PIPE_LEN / PAGE);
	ASSERT_NE(NULL, self->buf);
	ASSERT_TRUE(make_cgroup(HERE));
	ASSERT_TRUE(make_cgroup(THERE));
	ASSERT_EQ(0, pipe2(self->came, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(self->go, O_CLOEXEC));
}

FIXTURE_TEARDOWN(groups)
{
	guard_end(&self->freezer);
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr_before));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	close(self->fd);
	close(self->file);
	null_blk_end(&self->dev);
	EXPECT_TRUE(remove_cgroup(HERE));
	EXPECT_TRUE(remove_cgroup(THERE));
	EXPECT_TRUE(cgroup_set(".", "cgroup.subtree_control", "-io -memory"));
}

/* Starts a child that runs @body in HERE and exits with its result. */
static bool start_child(FIXTURE_DATA(groups) *self,
			int (*body)(FIXTURE_DATA(groups) *self))
{
	self->child = fork();
	if (!self->child)
		_exit(enter_cgroup(HERE) ? body(self) : 100);
	/* Without this descriptor, a read fails when the child has exited. */
	close(self->came[1]);
	return self->child > 0;
}

/* Reports a step of the child and waits for the parent. */
static bool report_and_wait(FIXTURE_DATA(groups) *self)
{
	char c = 0;

	return write(self->came[1], &c, 1) == 1 &&
	       read(self->go[0], &c, 1) == 1;
}

static bool child_came(FIXTURE_DATA(groups) *self)
{
	struct pollfd pollfd = { .fd = self->came[0], .events = POLLIN };
	char c;

	return poll(&pollfd, 1, PATIENCE_SECONDS * 1000) == 1 &&
	       read(self->came[0], &c, 1) == 1;
}

static bool child_goes_on(FIXTURE_DATA(groups) *self)
{
	return write(self->go[1], "", 1) == 1;
}

/* Returns the wait status of the child, or -1 if it does not end. */
static int child_ended(FIXTURE_DATA(groups) *self)
{
	int status = -1;

	if (!wait_until(waitpid(self->child, &status, WNOHANG) == self->child))
		return -1;
	self->child = 0;
	return status;
}

/*
 * Submits the request. The child is then moved, and finds that the request was
 * done.
 */
static int submit_and_move(FIXTURE_DATA(groups) *self, struct iocb *iocb)
{
	struct io_event event;
	__u64 ctx;

	if (kaio_setup(self->fd, 1, &ctx))
		return 1;
	if (kaio_submit_one(self->fd, ctx, iocb) != 1)
		return 2;
	if (!report_and_wait(self))
		return 3;
	if (kaio_wait(self->fd, ctx, 1, &event) != 1)
		return 4;
	return event.res == (__s64)iocb->aio_nbytes ? 0 : 5;
}

static int read_pages(FIXTURE_DATA(groups) *self)
{
	struct iocb iocb;
	int ret;

	memset(self->buf, 0, LEN);
	prep_pread(&iocb, self->file, self->buf, LEN, 0);
	ret = submit_and_move(self, &iocb);
	return ret ?: is_pattern(self->buf, LEN, 1, 0) ? 0 : 6;
}

static int write_pages(FIXTURE_DATA(groups) *self)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->file, self->buf, LEN, 0);
	return submit_and_move(self, &iocb);
}

static int write_pipe(FIXTURE_DATA(groups) *self)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->ends[1], self->buf, PIPE_LEN, 0);
	return submit_and_move(self, &iocb);
}

/*
 * The device is slow and reads one page at a time, so most pages are read after
 * the move.
 */
TEST_F_TIMEOUT(groups, cold_read, 60)
{
	const __s64 delay = 200 * NSEC_PER_MSEC;

	self->file = null_blk_open(_metadata, &self->dev, "kaio-groups", delay,
				   NULL);
	if (self->file < 0)
		return;
	fill_pattern(self->buf, LEN, 1, 0);
	ASSERT_EQ((ssize_t)LEN, pwrite(self->file, self->buf, LEN, 0));
	ASSERT_TRUE(drop_cache(self->file));
	/* Files that are opened from now on have no readahead. */
	ASSERT_EQ(0, ioctl(self->file, BLKRASET, 0));
	close(self->file);
	self->file = open(self->dev.node, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->file);

	ASSERT_TRUE(start_child(self, read_pages));
	ASSERT_TRUE(child_came(self));
	ASSERT_TRUE(move_to_cgroup(THERE, self->child));
	ASSERT_GT((long)LEN, cgroup_io(HERE, self->file, "rbytes"));
	ASSERT_TRUE(child_goes_on(self));
	EXPECT_EQ(0, child_ended(self));
	EXPECT_EQ((long)LEN, cgroup_io(HERE, self->file, "rbytes"));
	EXPECT_EQ(0, cgroup_io(THERE, self->file, "rbytes"));
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "file") >= (long)LEN));
	EXPECT_EQ(0, cgroup_memory(THERE, "file"));
}

/* The file system is frozen until the submitter has moved. */
static void write_frozen(struct __test_metadata *const _metadata,
			 FIXTURE_DATA(groups) *self, int flags)
{
	self->file = open_temp(DISK_DIR, flags);
	ASSERT_LE(0, self->file);
	/* The file is a hole. */
	ASSERT_EQ(0, ftruncate(self->file, LEN));
	ASSERT_EQ(0, fsync(self->file));
	fill_pattern(self->buf, LEN, 1, 0);
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	ASSERT_TRUE(start_child(self, write_pages));
	ASSERT_TRUE(child_came(self));
	EXPECT_EQ(1, kaio_stat(self->fd, "queued"));
	ASSERT_TRUE(move_to_cgroup(THERE, self->child));
	EXPECT_EQ(0, cgroup_io(HERE, self->file, "wbytes"));
	guard_end(&self->freezer);
	ASSERT_TRUE(child_goes_on(self));
	EXPECT_EQ(0, child_ended(self));
}

TEST_F_TIMEOUT(groups, direct_write, 60)
{
	write_frozen(_metadata, self, O_DIRECT);
	EXPECT_LE((long)LEN, cgroup_io(HERE, self->file, "wbytes"));
	EXPECT_EQ(0, cgroup_io(THERE, self->file, "wbytes"));
}

TEST_F_TIMEOUT(groups, buffered_write, 60)
{
	write_frozen(_metadata, self, 0);
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "file") >= (long)LEN));
	EXPECT_EQ(0, cgroup_memory(THERE, "file"));
}

/* The kick handler writes this data: the full pipe gets new pages. */
TEST_F_TIMEOUT(groups, kicked_write, 60)
{
	const long most = PIPE_LEN * 3 / 4;
	ssize_t n, sum;

	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	ASSERT_EQ((int)PIPE_LEN, fcntl(self->ends[1], F_SETPIPE_SZ, PIPE_LEN));
	ASSERT_EQ(PIPE_LEN, fill_fd(self->ends[1]));
	ASSERT_TRUE(start_child(self, write_pipe));
	ASSERT_TRUE(child_came(self));
	EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	ASSERT_TRUE(move_to_cgroup(THERE, self->child));
	ASSERT_GT(most, cgroup_memory(HERE, "kernel"));
	/* Read what this process wrote, and no more. */
	for (sum = 0; sum < (ssize_t)PIPE_LEN; sum += n) {
		n = read(self->ends[0], self->buf, PIPE_LEN - sum);
		ASSERT_LT(0, n);
	}
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "completed") == 1));
	EXPECT_LT(0, kaio_stat(self->fd, "kicked"));
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "kernel") >= most));
	EXPECT_GT((long)PIPE_LEN / 4, cgroup_memory(THERE, "kernel"));
	ASSERT_TRUE(child_goes_on(self));
	EXPECT_EQ(0, child_ended(self));
}

/*
 * The tests below check the memory of the module itself.
 */
#define RING_EVENTS	100000
#define RING_BYTES	((long)(RING_EVENTS * sizeof(struct io_event)))
#define PARKED		8000
/* A request needs at least this many bytes. */
#define REQUEST_BYTES	512L

/* Parks @nr reads. Returns how many were parked when one was refused. */
static int park_many(FIXTURE_DATA(groups) *self, __u64 ctx, int nr)
{
	enum { BATCH = 100 };
	struct iocb *pointers[BATCH];
	static struct iocb iocb;
	static char c;
	int i, sum;
	long ret;

	prep_pread(&iocb, self->ends[0], &c, 1, 0);
	for (i = 0; i < BATCH; i++)
		pointers[i] = &iocb;
	for (sum = 0; sum < nr; sum += ret) {
		ret = kaio_submit(self->fd, ctx, BATCH, pointers);
		if (ret == -ENOMEM)
			break;
		if (ret <= 0)
			return -1;
	}
	return sum;
}

static int use_memory(FIXTURE_DATA(groups) *self)
{
	__u64 ctx;

	if (!report_and_wait(self))
		return 1;
	if (kaio_setup(self->fd, RING_EVENTS, &ctx) || !report_and_wait(self))
		return 2;
	if (park_many(self, ctx, PARKED) != PARKED || !report_and_wait(self))
		return 3;
	return kaio_destroy(self->fd, ctx) || !report_and_wait(self) ? 4 : 0;
}

/* Rings and requests are charged, and uncharged when they end. */
TEST_F_TIMEOUT(groups, charged, 120)
{
	long at_first, with_ring;

	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	ASSERT_TRUE(start_child(self, use_memory));
	ASSERT_TRUE(child_came(self));
	at_first = cgroup_memory(HERE, "kernel");
	ASSERT_LE(0, at_first);
	ASSERT_TRUE(child_goes_on(self));
	ASSERT_TRUE(child_came(self));
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "kernel") - at_first >=
			       RING_BYTES));
	with_ring = cgroup_memory(HERE, "kernel");
	ASSERT_TRUE(child_goes_on(self));
	ASSERT_TRUE(child_came(self));
	EXPECT_STAT(PARKED, self->fd, "inflight");
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "kernel") - with_ring >=
			       PARKED * REQUEST_BYTES));
	ASSERT_TRUE(child_goes_on(self));
	ASSERT_TRUE(child_came(self));
	/* The child itself may use some memory too. */
	EXPECT_TRUE(wait_until(cgroup_memory(HERE, "kernel") - at_first <
			       RING_BYTES / 4))
	{
		TH_LOG("%ld, at first %ld, with the ring %ld",
		       cgroup_memory(HERE, "kernel"), at_first, with_ring);
	}
	ASSERT_TRUE(child_goes_on(self));
	EXPECT_EQ(0, child_ended(self));
}

/* Expects that the child is refused memory or is killed for lack of it. */
static void expect_limited(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(groups) *self, const char *max,
			   int (*body)(FIXTURE_DATA(groups) *self))
{
	int status;

	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	ASSERT_TRUE(cgroup_set(HERE, "memory.max", max));
	/* Some kernels do not have this file. */
	cgroup_set(HERE, "memory.swap.max", "0");
	ASSERT_TRUE(start_child(self, body));
	status = child_ended(self);
	EXPECT_TRUE(status == 0 ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
	{
		TH_LOG("status %#x", status);
	}
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr_before));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "contexts") == 0));
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
}

static int ring_too_large(FIXTURE_DATA(groups) *self)
{
	__u64 ctx;

	return kaio_setup(self->fd, 10 * RING_EVENTS, &ctx) != -ENOMEM;
}

TEST_F_TIMEOUT(groups, limit_of_rings, 60)
{
	expect_limited(_metadata, self, "8M", ring_too_large);
}

static int too_many_requests(FIXTURE_DATA(groups) *self)
{
	__u64 ctx;
	int nr;

	if (kaio_setup(self->fd, RING_EVENTS, &ctx))
		return 1;
	nr = park_many(self, ctx, RING_EVENTS);
	return nr > 0 && nr < RING_EVENTS ? 0 : 2;
}

TEST_F_TIMEOUT(groups, limit_of_requests, 60)
{
	expect_limited(_metadata, self, "8M", too_many_requests);
}

TEST_HARNESS_MAIN
