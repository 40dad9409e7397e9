// SPDX-License-Identifier: GPL-2.0
/*
 * Tests writes that append: all data arrives, in the order of submission.
 */
#include "devices.h"
#include "sleeps.h"

#define NR_RECORDS	200

/*
 * Fills @buf with records. Record number @i is a page that differs from all
 * others.
 */
static void make_records(char *buf, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		fill_pattern(buf + i * PAGE, PAGE, i, 0);
}

/*
 * Returns -1 if the file @fd has these records and nothing else, or the index
 * of the first wrong record.
 */
static int wrong_record(int fd, const int *records, int nr)
{
	static char page[PAGE];
	struct stat stat;
	int i;

	for (i = 0; i < nr; i++) {
		if (pread(fd, page, PAGE, i * PAGE) != (ssize_t)PAGE)
			return i;
		if (!is_pattern(page, PAGE, records[i], 0))
			return i;
	}
	if (fstat(fd, &stat) || stat.st_size != nr * (loff_t)PAGE)
		return nr;
	return -1;
}

FIXTURE(append)
{
	int fd;
	__u64 ctx;
	/* @plain is open without flags, @file with those of the variant. */
	int plain;
	int file;
	char *buf;
	struct iocb iocbs[NR_RECORDS];
	struct iocb *pointers[NR_RECORDS];
	struct io_event events[NR_RECORDS];
	int records[NR_RECORDS];
};

FIXTURE_VARIANT(append)
{
	const char *dir;
	int flags;
	int rw_flags;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(append, disk) { DISK_DIR, O_APPEND, 0 };
FIXTURE_VARIANT_ADD(append, disk_flag) { DISK_DIR, 0, RWF_APPEND };
FIXTURE_VARIANT_ADD(append, disk_direct) { DISK_DIR, O_APPEND | O_DIRECT, 0 };
FIXTURE_VARIANT_ADD(append, disk_direct_flag) {
	DISK_DIR, O_DIRECT, RWF_APPEND
};
FIXTURE_VARIANT_ADD(append, memory) { MEM_DIR, O_APPEND, 0 };
FIXTURE_VARIANT_ADD(append, memory_flag) { MEM_DIR, 0, RWF_APPEND };
FIXTURE_VARIANT_ADD(append, memory_direct) { MEM_DIR, O_APPEND | O_DIRECT, 0 };
FIXTURE_VARIANT_ADD(append, memory_direct_flag) {
	MEM_DIR, O_DIRECT, RWF_APPEND
};
/* clang-format on */

/*
 * Prepares @nr appends of one record each, and lists them. Returns the records.
 */
static char *prep_appends(struct __test_metadata *const _metadata,
			  struct iocb *iocbs, struct iocb **pointers, int nr,
			  int file)
{
	char *const buf = map_guarded(nr);
	int i;

	ASSERT_NE(NULL, buf);
	make_records(buf, nr);
	for (i = 0; i < nr; i++) {
		prep_pwrite(&iocbs[i], file, buf + i * PAGE, PAGE, 0);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	return buf;
}

FIXTURE_SETUP(append)
{
	int i;

	if (!open_context(_metadata, &self->fd, NR_RECORDS, &self->ctx))
		return;
	self->plain = open_temp(variant->dir, 0);
	ASSERT_LE(0, self->plain);
	self->file = reopen(self->plain, O_RDWR | variant->flags);
	ASSERT_LE(0, self->file);
	self->buf = prep_appends(_metadata, self->iocbs, self->pointers,
				 NR_RECORDS, self->file);
	for (i = 0; i < NR_RECORDS; i++) {
		self->iocbs[i].aio_rw_flags = variant->rw_flags;
		self->records[i] = i;
	}
}

FIXTURE_TEARDOWN(append)
{
	kaio_destroy(self->fd, self->ctx);
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
}

/* Expects each of @nr events once, with the result of a whole page. */
static void expect_all(struct __test_metadata *const _metadata,
		       const struct io_event *events, int nr)
{
	bool seen[NR_RECORDS] = {};
	int i;

	for (i = 0; i < nr; i++) {
		ASSERT_GT(NR_RECORDS, (int)events[i].data);
		EXPECT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
		EXPECT_EQ((__s64)PAGE, events[i].res)
		{
			TH_LOG("record %lld", events[i].data);
		}
	}
}

TEST_F_TIMEOUT(append, in_one_call, 60)
{
	const long before = sleeps();

	ASSERT_EQ(NR_RECORDS, kaio_submit(self->fd, self->ctx, NR_RECORDS,
					  self->pointers));
	EXPECT_EQ(before, sleeps());
	ASSERT_EQ(NR_RECORDS, kaio_wait(self->fd, self->ctx, NR_RECORDS,
					self->events));
	expect_all(_metadata, self->events, NR_RECORDS);
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
}

TEST_F_TIMEOUT(append, one_by_one, 60)
{
	int i;

	for (i = 0; i < NR_RECORDS; i++)
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx,
					     &self->iocbs[i]));
	ASSERT_EQ(NR_RECORDS, kaio_wait(self->fd, self->ctx, NR_RECORDS,
					self->events));
	expect_all(_metadata, self->events, NR_RECORDS);
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
}

/* The order is that of the file, whatever contexts and open files are used. */
TEST_F_TIMEOUT(append, two_contexts, 60)
{
	const int other_kaio = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	const int other_file = reopen(self->plain, fcntl(self->file, F_GETFL));
	__u64 other;
	int i;

	ASSERT_EQ(0, kaio_setup(other_kaio, NR_RECORDS, &other));
	for (i = 1; i < NR_RECORDS; i += 2)
		self->iocbs[i].aio_fildes = other_file;
	for (i = 0; i < NR_RECORDS; i++) {
		ASSERT_EQ(1, i % 2 ? kaio_submit_one(other_kaio, other,
						     &self->iocbs[i]) :
				     kaio_submit_one(self->fd, self->ctx,
						     &self->iocbs[i]));
	}
	ASSERT_EQ(NR_RECORDS / 2, kaio_wait(self->fd, self->ctx,
					    NR_RECORDS / 2, self->events));
	ASSERT_EQ(NR_RECORDS / 2,
		  kaio_wait(other_kaio, other, NR_RECORDS / 2,
			    self->events + NR_RECORDS / 2));
	expect_all(_metadata, self->events, NR_RECORDS);
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
	close(other_kaio);
}

/* A write with RWF_NOAPPEND and the appends do not wait for each other. */
TEST_F_TIMEOUT(append, beside_an_overwrite, 60)
{
	struct iocb overwrite;
	struct io_event event;
	const int half = NR_RECORDS / 2;

	ASSERT_EQ((ssize_t)PAGE, pwrite(self->plain, self->buf, PAGE, 0));
	ASSERT_EQ(0, fsync(self->plain));
	self->records[0] = NR_RECORDS + 1;
	fill_pattern(self->buf, PAGE, NR_RECORDS + 1, 0);
	prep_pwrite(&overwrite, self->file, self->buf, PAGE, 0);
	overwrite.aio_rw_flags = RWF_NOAPPEND;
	overwrite.aio_data = 0;
	ASSERT_EQ(half - 1, kaio_submit(self->fd, self->ctx, half - 1,
					self->pointers + 1));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &overwrite));
	/* The context may be full now. */
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	ASSERT_EQ(half, kaio_submit(self->fd, self->ctx, half,
				    self->pointers + half));
	self->events[0] = event;
	ASSERT_EQ(NR_RECORDS - 1, kaio_wait(self->fd, self->ctx, NR_RECORDS - 1,
					    self->events + 1));
	expect_all(_metadata, self->events, NR_RECORDS);
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
}

/* An append that fails does not delay those behind it. */
TEST_F_TIMEOUT(append, one_fails, 60)
{
	const int bad = NR_RECORDS / 2;
	char *nothing = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	int i;

	self->iocbs[bad].aio_buf = (uintptr_t)nothing;
	ASSERT_EQ(NR_RECORDS, kaio_submit(self->fd, self->ctx, NR_RECORDS,
					  self->pointers));
	ASSERT_EQ(NR_RECORDS, kaio_wait(self->fd, self->ctx, NR_RECORDS,
					self->events));
	for (i = 0; i < NR_RECORDS; i++) {
		EXPECT_EQ((int)self->events[i].data == bad ? -EFAULT :
							     (__s64)PAGE,
			  self->events[i].res);
	}
	memmove(self->records + bad, self->records + bad + 1,
		(NR_RECORDS - bad - 1) * sizeof(int));
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS - 1));
}

/* The process that submits the first half exits. */
TEST_F_TIMEOUT(append, submitter_exits, 60)
{
	const int half = NR_RECORDS / 2;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const __u64 ctx = setup_in_child(self->fd, half);

		_exit(kaio_submit(self->fd, ctx, half, self->pointers) != half);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(half, kaio_submit(self->fd, self->ctx, half,
				    self->pointers + half));
	ASSERT_EQ(half, kaio_wait(self->fd, self->ctx, half, self->events));
	expect_all(_metadata, self->events, half);
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
}

/* Destroy waits until all appends are written. */
TEST_F_TIMEOUT(append, destroyed, 60)
{
	ASSERT_EQ(NR_RECORDS, kaio_submit(self->fd, self->ctx, NR_RECORDS,
					  self->pointers));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, NR_RECORDS));
}

/*
 * The file system is frozen: the first append has begun, and the others wait
 * until the test thaws the file system.
 */
#define NR_FROZEN	20

FIXTURE(frozen)
{
	int fd;
	__u64 ctx;
	int plain;
	int file;
	char *buf;
	struct guard freezer;
	struct iocb iocbs[NR_FROZEN];
	struct iocb *pointers[NR_FROZEN];
	struct io_event events[NR_FROZEN];
	/* The records that the file must have. */
	int records[NR_FROZEN];
	int nr;
};

FIXTURE_VARIANT(frozen)
{
	int flags;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(frozen, buffered) { 0 };
FIXTURE_VARIANT_ADD(frozen, direct) { O_DIRECT };
/* clang-format on */

FIXTURE_SETUP(frozen)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->plain = open_temp(DISK_DIR, 0);
	ASSERT_LE(0, self->plain);
	self->file = reopen(self->plain, O_RDWR | O_APPEND | variant->flags);
	ASSERT_LE(0, self->file);
	self->buf = prep_appends(_metadata, self->iocbs, self->pointers,
				 NR_FROZEN, self->file);
	ASSERT_TRUE(freeze(&self->freezer, DISK_DIR));
	ASSERT_EQ(NR_FROZEN, kaio_submit(self->fd, self->ctx, NR_FROZEN,
					 self->pointers));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

FIXTURE_TEARDOWN(frozen)
{
	guard_end(&self->freezer);
	kaio_destroy(self->fd, self->ctx);
	expect_all_completed(_metadata, self->fd);
	close(self->fd);
}

/*
 * Thaws the file system. Expects that the appends that were not cancelled are
 * written, and that all have an event.
 */
static void expect_rest(struct __test_metadata *const _metadata,
			FIXTURE_DATA(frozen) *self, const bool *cancelled)
{
	bool seen[NR_FROZEN] = {};
	int i;

	guard_end(&self->freezer);
	ASSERT_EQ(NR_FROZEN,
		  kaio_wait(self->fd, self->ctx, NR_FROZEN, self->events));
	for (i = 0; i < NR_FROZEN; i++) {
		const struct io_event *event = &self->events[i];

		ASSERT_GT(NR_FROZEN, (int)event->data);
		EXPECT_FALSE(seen[event->data]);
		seen[event->data] = true;
		EXPECT_EQ(cancelled[event->data] ? -ECANCELED : (__s64)PAGE,
			  event->res);
	}
	for (i = 0; i < NR_FROZEN; i++)
		if (!cancelled[i])
			self->records[self->nr++] = i;
	EXPECT_EQ(-1, wrong_record(self->plain, self->records, self->nr));
}

TEST_F(frozen, thawed)
{
	const bool none[NR_FROZEN] = {};

	expect_rest(_metadata, self, none);
}

TEST_F(frozen, one_cancelled)
{
	bool cancelled[NR_FROZEN] = {};

	cancelled[10] = true;
	EXPECT_EQ(-EINPROGRESS,
		  kaio_cancel(self->fd, self->ctx, self->pointers[10]));
	/* The event comes at once and not after the thaw. */
	ASSERT_EQ(1, kaio_peek(self->fd, self->ctx, 0, 1, &no_wait));
	EXPECT_EQ(1, kaio_stat(self->fd, "cancelled"));
	expect_rest(_metadata, self, cancelled);
}

TEST_F(frozen, last_cancelled)
{
	bool cancelled[NR_FROZEN] = {};

	cancelled[NR_FROZEN - 1] = true;
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx,
					    self->pointers[NR_FROZEN - 1]));
	expect_rest(_metadata, self, cancelled);
}

/*
 * All appends can be cancelled except those that have begun, and only one
 * begins at a time.
 */
TEST_F(frozen, all_cancelled)
{
	bool cancelled[NR_FROZEN] = {};
	int i, k, nr_begun = 0;

	for (i = 0; i < NR_FROZEN; i++) {
		k = (i * 7 + 3) % NR_FROZEN;
		cancelled[k] = kaio_cancel(self->fd, self->ctx,
					   self->pointers[k]) == -EINPROGRESS;
	}
	for (i = 0; i < NR_FROZEN; i++)
		nr_begun += !cancelled[i];
	EXPECT_GE(1, nr_begun);
	expect_rest(_metadata, self, cancelled);
}

/* Appends to other files do not wait. */
TEST_F(frozen, other_files_do_not_wait)
{
	const bool none[NR_FROZEN] = {};
	const int file = open_temp(MEM_DIR, O_APPEND);
	struct iocb iocbs[NR_FROZEN];
	int i;

	ASSERT_LE(0, file);
	for (i = 0; i < NR_FROZEN; i++) {
		prep_pwrite(&iocbs[i], file, self->buf + i * PAGE, PAGE, 0);
		EXPECT_EQ((__s64)PAGE,
			  kaio_do(self->fd, self->ctx, &iocbs[i]));
		self->records[i] = i;
	}
	EXPECT_EQ(-1, wrong_record(file, self->records, NR_FROZEN));
	expect_rest(_metadata, self, none);
}

TEST_HARNESS_MAIN
