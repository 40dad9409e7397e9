// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the operations that keep their order: buffered writes to a file, an
 * fsync after them, and the requests that wait for one open file. Appends are
 * in append_test.c.
 */
#include <pty.h>
#include <termios.h>

#include "devices.h"
#include "streams.h"

#define NR_WRITES	200
#define NR_PAGES	8

/*
 * The writes go to the same few pages, so a page has the data of the last write
 * to it.
 */
FIXTURE(writes)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
	struct iocb iocbs[NR_WRITES + 1];
	struct iocb *pointers[NR_WRITES + 1];
	struct io_event events[NR_WRITES + 1];
};

FIXTURE_VARIANT(writes)
{
	const char *dir;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(writes, disk) { DISK_DIR };
FIXTURE_VARIANT_ADD(writes, memory) { MEM_DIR };
/* clang-format on */

FIXTURE_SETUP(writes)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_WRITES + 1, &self->ctx))
		return;
	self->file = open_temp(variant->dir, 0);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(NR_WRITES);
	ASSERT_NE(NULL, self->buf);
	for (i = 0; i < NR_WRITES; i++) {
		fill_pattern(self->buf + i * PAGE, PAGE, i, 0);
		prep_pwrite(&self->iocbs[i], self->file, self->buf + i * PAGE,
			    PAGE, i % NR_PAGES * PAGE);
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
	prep_fsync(&self->iocbs[NR_WRITES], self->file);
	self->iocbs[NR_WRITES].aio_data = NR_WRITES;
	self->pointers[NR_WRITES] = &self->iocbs[NR_WRITES];
}

FIXTURE_TEARDOWN(writes)
{
	close_context(_metadata, self->fd, self->ctx);
}

static void expect_last_written(struct __test_metadata *const _metadata,
				FIXTURE_DATA(writes) *self)
{
	static char page[PAGE];
	int i;

	for (i = NR_WRITES - NR_PAGES; i < NR_WRITES; i++) {
		ASSERT_EQ((ssize_t)PAGE, pread(self->file, page, PAGE,
					       i % NR_PAGES * PAGE));
		EXPECT_TRUE(is_pattern(page, PAGE, i, 0))
		{
			TH_LOG("page %d", i % NR_PAGES);
		}
	}
}

TEST_F_TIMEOUT(writes, in_one_call, 60)
{
	int i;

	ASSERT_EQ(NR_WRITES, kaio_submit(self->fd, self->ctx, NR_WRITES,
					 self->pointers));
	ASSERT_EQ(NR_WRITES,
		  kaio_wait(self->fd, self->ctx, NR_WRITES, self->events));
	for (i = 0; i < NR_WRITES; i++) {
		EXPECT_EQ((__s64)PAGE, self->events[i].res);
		EXPECT_EQ(i, (int)self->events[i].data);
	}
	expect_last_written(_metadata, self);
}

/* Writes of one user to one file are ordered, whatever contexts they use. */
TEST_F_TIMEOUT(writes, two_contexts, 60)
{
	const int other_file = reopen(self->file, O_RDWR);
	__u64 other;
	int i;

	ASSERT_EQ(0, kaio_setup(self->fd, NR_WRITES, &other));
	for (i = 0; i < NR_WRITES; i++) {
		if (i & 1)
			self->iocbs[i].aio_fildes = other_file;
		ASSERT_EQ(1, kaio_submit_one(self->fd,
					     i & 1 ? other : self->ctx,
					     self->pointers[i]));
	}
	ASSERT_EQ(NR_WRITES / 2,
		  kaio_wait(self->fd, other, NR_WRITES / 2, self->events));
	ASSERT_EQ(NR_WRITES / 2,
		  kaio_wait(self->fd, self->ctx, NR_WRITES / 2, self->events));
	expect_last_written(_metadata, self);
	EXPECT_EQ(0, kaio_destroy(self->fd, other));
}

/* An fsync starts after the writes that were submitted before it. */
TEST_F_TIMEOUT(writes, then_fsync, 60)
{
	const long before = sectors_written(self->file);

	ASSERT_EQ(NR_WRITES + 1, kaio_submit(self->fd, self->ctx,
					     NR_WRITES + 1, self->pointers));
	ASSERT_EQ(NR_WRITES + 1,
		  kaio_wait(self->fd, self->ctx, NR_WRITES + 1, self->events));
	EXPECT_EQ(NR_WRITES, (int)self->events[NR_WRITES].data);
	EXPECT_EQ(0, self->events[NR_WRITES].res);
	if (before >= 0)
		EXPECT_LE(NR_PAGES * (long)PAGE / 512,
			  sectors_written(self->file) - before);
	expect_last_written(_metadata, self);
}

/*
 * The files below are on a frozen file system. Requests for different files are
 * not ordered.
 */
FIXTURE(frozen)
{
	int fd;
	__u64 ctx;
	int file;
	struct guard freezer;
	char *buf;
	struct iocb iocbs[3];
	struct iocb *pointers[3];
	struct io_event events[3];
};

FIXTURE_SETUP(frozen)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	open_page(_metadata, DISK_DIR, &self->file, &self->buf);
	prep_pwrite(&self->iocbs[0], self->file, self->buf, PAGE, 0);
	prep_pwrite(&self->iocbs[1], self->file, self->buf, PAGE, PAGE);
	prep_fdsync(&self->iocbs[2], self->file);
	for (i = 0; i < 3; i++) {
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	ASSERT_EQ(3, kaio_submit(self->fd, self->ctx, 3, self->pointers));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

FIXTURE_TEARDOWN(frozen)
{
	guard_end(&self->freezer);
	close_context(_metadata, self->fd, self->ctx);
}

TEST_F(frozen, fsync_waits_for_writes)
{
	int i;

	guard_end(&self->freezer);
	ASSERT_EQ(3, kaio_wait(self->fd, self->ctx, 3, self->events));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(i, (int)self->events[i].data);
	EXPECT_EQ(0, self->events[2].res);
}

/*
 * Cancels request @k, thaws the file system, and takes the events of the other
 * two requests.
 */
static void cancel_and_thaw(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(frozen) *self, int k)
{
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->fd, self->ctx, self->pointers[k]));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, self->events));
	EXPECT_EQ(-ECANCELED, self->events[0].res);
	guard_end(&self->freezer);
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, self->events));
}

/* A cancelled request does not delay those behind it. */
TEST_F(frozen, fsync_cancelled)
{
	cancel_and_thaw(_metadata, self, 2);
	EXPECT_EQ((__s64)PAGE, self->events[0].res);
	EXPECT_EQ((__s64)PAGE, self->events[1].res);
}

TEST_F(frozen, write_cancelled)
{
	cancel_and_thaw(_metadata, self, 1);
	EXPECT_EQ(0, (int)self->events[0].data);
	EXPECT_EQ(2, (int)self->events[1].data);
}

/* Reads do not wait for writes. */
TEST_F(frozen, reads_overtake)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, PAGE, 0);
	EXPECT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
}

/* Writes to another file do not wait for these writes. */
TEST_F(frozen, other_files_overtake)
{
	const int file = open_temp(MEM_DIR, 0);
	struct iocb iocb;

	prep_pwrite(&iocb, file, self->buf, PAGE, 0);
	EXPECT_EQ((__s64)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	prep_fsync(&iocb, file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

/*
 * Readers of one open file complete in the order of their submission.
 */
#define NR_READERS	32

FIXTURE(readers)
{
	struct stream s;
	struct iocb iocbs[NR_READERS];
	struct iocb *pointers[NR_READERS];
	struct io_event events[NR_READERS];
	char bufs[NR_READERS][INOTIFY_SIZE];
};

FIXTURE_VARIANT(readers)
{
	bool (*open)(FIXTURE_DATA(readers) *self);
	size_t size;
	/*
	 * @raise lets one reader complete. @number returns the number that was
	 * raised, from what was read.
	 */
	void (*raise)(FIXTURE_DATA(readers) *self, int number);
	int (*number)(const char *buf);
};

static bool open_in_and_out(FIXTURE_DATA(readers) *self, int domain, int type)
{
	return open_ends(domain, type, &self->s.in, &self->s.out);
}

static bool open_pipe(FIXTURE_DATA(readers) *self)
{
	return open_in_and_out(self, 0, 0);
}

static bool open_socket(FIXTURE_DATA(readers) *self)
{
	return open_in_and_out(self, AF_UNIX, SOCK_STREAM);
}

static bool open_datagram(FIXTURE_DATA(readers) *self)
{
	return open_in_and_out(self, AF_UNIX, SOCK_DGRAM);
}

static bool open_fifo(FIXTURE_DATA(readers) *self)
{
	self->s.in = self->s.out = fifo_open(MEM_DIR "/kaio-order-fifo", 0);
	return self->s.in >= 0;
}

/* The terminal is raw, so that each character can be read on its own. */
static bool open_terminal(FIXTURE_DATA(readers) *self)
{
	struct termios termios;

	if (openpty(&self->s.out, &self->s.in, NULL, NULL, NULL) ||
	    tcgetattr(self->s.in, &termios))
		return false;
	cfmakeraw(&termios);
	return !tcsetattr(self->s.in, TCSANOW, &termios);
}

static bool open_watch(FIXTURE_DATA(readers) *self)
{
	self->s.in = inotify_open();
	return self->s.in >= 0;
}

static void write_char(FIXTURE_DATA(readers) *self, int number)
{
	const char c = '!' + number;

	if (write(self->s.out, &c, 1) != 1)
		abort();
}

static int char_number(const char *buf)
{
	return *buf - '!';
}

static void raise_event(FIXTURE_DATA(readers) *self, int number)
{
	(void)self;
	inotify_raise(number);
}

static int event_number(const char *buf)
{
	return inotify_number(buf);
}

/* clang-format off */
#define READERS(_name) \
	FIXTURE_VARIANT_ADD(readers, _name) { \
		open_##_name, 1, write_char, char_number \
	}

READERS(pipe);
READERS(fifo);
READERS(socket);
READERS(datagram);
READERS(terminal);
FIXTURE_VARIANT_ADD(readers, inotify) {
	open_watch, INOTIFY_SIZE, raise_event, event_number
};
/* clang-format on */

FIXTURE_SETUP(readers)
{
	int i;

	if (!open_context(_metadata, &self->s.fd, NR_EVENTS, &self->s.ctx))
		return;
	ASSERT_TRUE(variant->open(self));
	for (i = 0; i < NR_READERS; i++) {
		prep_pread(&self->iocbs[i], self->s.in, self->bufs[i],
			   variant->size, 0);
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
	ASSERT_EQ(NR_READERS, kaio_submit(self->s.fd, self->s.ctx, NR_READERS,
					  self->pointers));
	EXPECT_STAT(NR_READERS, self->s.fd, "inflight");
}

FIXTURE_TEARDOWN(readers)
{
	close_context(_metadata, self->s.fd, self->s.ctx);
}

TEST_F_TIMEOUT(readers, one_by_one, 60)
{
	int i;

	for (i = 0; i < NR_READERS; i++) {
		variant->raise(self, i);
		ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, self->events));
		ASSERT_EQ(i, (int)self->events[0].data);
		EXPECT_EQ((__s64)variant->size, self->events[0].res);
		EXPECT_EQ(i, variant->number(self->bufs[i]));
	}
}

TEST_F_TIMEOUT(readers, all_at_once, 60)
{
	int i;

	for (i = 0; i < NR_READERS; i++)
		variant->raise(self, i);
	ASSERT_EQ(NR_READERS,
		  kaio_wait(self->s.fd, self->s.ctx, NR_READERS, self->events));
	for (i = 0; i < NR_READERS; i++) {
		EXPECT_EQ(i, (int)self->events[i].data);
		EXPECT_EQ(i, variant->number(self->bufs[i]));
	}
}

/* After a cancel, the first of the remaining readers is next. */
TEST_F_TIMEOUT(readers, some_cancelled, 60)
{
	int i, nr = 0;

	for (i = 0; i < NR_READERS; i += 3) {
		ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->s.fd, self->s.ctx,
						    self->pointers[i]))
		{
			TH_LOG("reader %d", i);
		}
		ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, self->events));
		EXPECT_EQ(i, (int)self->events[0].data);
		EXPECT_EQ(-ECANCELED, self->events[0].res);
	}
	for (i = 0; i < NR_READERS; i++) {
		if (i % 3 == 0)
			continue;
		variant->raise(self, nr++);
		ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, self->events));
		ASSERT_EQ(i, (int)self->events[0].data);
		EXPECT_EQ(nr - 1, variant->number(self->bufs[i]));
	}
}

/* Readers of two contexts are not ordered, but all of them complete. */
TEST_F_TIMEOUT(readers, another_context, 60)
{
	bool seen[NR_READERS] = {};
	char buf[INOTIFY_SIZE];
	struct io_event event;
	int i, k, nr = 0;
	struct iocb iocb;
	__u64 other;

	ASSERT_EQ(0, kaio_setup(self->s.fd, 1, &other));
	prep_pread(&iocb, self->s.in, buf, variant->size, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, other, &iocb));
	for (i = 0; i <= NR_READERS; i++)
		variant->raise(self, i);
	ASSERT_EQ(NR_READERS,
		  kaio_wait(self->s.fd, self->s.ctx, NR_READERS, self->events));
	ASSERT_EQ(1, kaio_wait(self->s.fd, other, 1, &event));
	EXPECT_EQ((__s64)variant->size, event.res);
	for (i = 0; i < NR_READERS; i++) {
		k = self->events[i].data;
		ASSERT_GT(NR_READERS, k);
		EXPECT_FALSE(seen[k]);
		seen[k] = true;
		EXPECT_EQ((__s64)variant->size, self->events[i].res);
		nr += variant->number(self->bufs[k]);
	}
	nr += variant->number(buf);
	EXPECT_EQ(NR_READERS * (NR_READERS + 1) / 2, nr);
	EXPECT_EQ(0, kaio_destroy(self->s.fd, other));
}

/* A request with RWF_NOWAIT does not wait for its turn. */
TEST_F(readers, nowait_overtakes)
{
	struct iocb iocb;
	char c;

	if (variant->open != open_pipe && variant->open != open_socket)
		return;
	prep_pread(&iocb, self->s.in, &c, 1, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(-EAGAIN, kaio_do(self->s.fd, self->s.ctx, &iocb));
}

/*
 * The bytes of one write stay together.
 */
FIXTURE(writers)
{
	struct stream s;
	struct iocb iocbs[NR_READERS];
	struct iocb *pointers[NR_READERS];
	struct io_event events[NR_READERS];
};

FIXTURE_VARIANT(writers)
{
	int domain;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(writers, pipe) { 0 };
FIXTURE_VARIANT_ADD(writers, socket) { AF_UNIX };
/* clang-format on */

FIXTURE_SETUP(writers)
{
	stream_set_up(_metadata, &self->s, variant->domain, SOCK_STREAM);
}

FIXTURE_TEARDOWN(writers)
{
	close_context(_metadata, self->s.fd, self->s.ctx);
}

/*
 * The first write does not fit as a whole. The others would fit between its
 * parts.
 */
TEST_F_TIMEOUT(writers, long_and_short, 60)
{
	enum { LONG = 1 << 20, SHORT = 10 };
	static char out[LONG + NR_READERS * SHORT], in[sizeof(out)];
	ssize_t n, sum, len = LONG;
	int i;

	fill_pattern(out, sizeof(out), 3, 0);
	prep_pwrite(&self->iocbs[0], self->s.out, out, LONG, 0);
	for (i = 1; i < NR_READERS; i++) {
		prep_pwrite(&self->iocbs[i], self->s.out, out + len, SHORT, 0);
		len += SHORT;
	}
	for (i = 0; i < NR_READERS; i++) {
		self->iocbs[i].aio_data = i;
		self->pointers[i] = &self->iocbs[i];
	}
	ASSERT_EQ(NR_READERS, kaio_submit(self->s.fd, self->s.ctx, NR_READERS,
					  self->pointers));
	EXPECT_TRUE(stays_quiet(self->s.fd, self->s.ctx));
	for (sum = 0; sum < len; sum += n) {
		n = read(self->s.in, in + sum, len - sum);
		ASSERT_LT(0, n);
	}
	EXPECT_TRUE(is_pattern(in, len, 3, 0));
	ASSERT_EQ(NR_READERS,
		  kaio_wait(self->s.fd, self->s.ctx, NR_READERS, self->events));
	for (i = 0; i < NR_READERS; i++)
		EXPECT_EQ(i, (int)self->events[i].data);
	EXPECT_EQ(LONG, self->events[0].res);
}

/* A reader and a writer of one file do not wait for each other. */
TEST_F(writers, reader_does_not_wait)
{
	struct io_event event;
	struct iocb iocb;
	char c = 0;

	if (!variant->domain)
		return;
	ASSERT_LT(0, fill_fd(self->s.out));
	prep_pwrite(&self->iocbs[0], self->s.out, "x", 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &self->iocbs[0]));
	prep_pread(&iocb, self->s.out, &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	ASSERT_EQ(1, write(self->s.in, "y", 1));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &event));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ('y', c);
}

TEST_HARNESS_MAIN
