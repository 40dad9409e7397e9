// SPDX-License-Identifier: GPL-2.0
/*
 * Tests requests that complete within the submit call: NOOPs, requests for
 * files that are ready, and reads of the page cache. Their arguments are
 * checked and their completions counted and signalled like those of other
 * requests.
 */
#include "context_fixture.h"

/* The size is not a multiple of the page size. */
#define FILE_SIZE	(8 * PAGE + 100)

/*
 * The tests below submit requests for several files in one call.
 */

/* Submits @nr requests in one call. Returns how many were submitted. */
static long submit_all(int fd, __u64 ctx, struct iocb *iocbs, int nr,
		       struct kaio_submit *arg)
{
	struct iocb *pointers[NR_EVENTS];
	int i;

	for (i = 0; i < nr; i++)
		pointers[i] = &iocbs[i];
	*arg = (struct kaio_submit){
		.ctx_id = ctx,
		.nr = nr,
		.iocbpp = (uintptr_t)pointers,
	};
	return kaio_ioctl(fd, KAIO_SUBMIT, arg);
}

TEST_F(context, several_files)
{
	static const unsigned char order[] = {
		0, 0, 1, 0, 2, 2, 1, 1, 0, 2, 0, 1, 2, 0, 0, 2,
	};
	enum { NR = ARRAY_SIZE(order) };
	struct io_event events[NR];
	struct iocb iocbs[NR];
	struct kaio_submit arg;
	static char bufs[NR][PAGE];
	int files[3], i;

	for (i = 0; i < 3; i++) {
		files[i] = open_pattern(DISK_DIR, i + 1, FILE_SIZE);
		ASSERT_LE(0, files[i]);
	}
	for (i = 0; i < NR; i++) {
		prep_pread(&iocbs[i], files[order[i]], bufs[i], PAGE,
			   i % 8 * PAGE);
		iocbs[i].aio_data = i;
	}
	ASSERT_EQ(NR, submit_all(self->fd, self->ctx, iocbs, NR, &arg));
	ASSERT_EQ(NR, kaio_getevents(self->fd, self->ctx, NR, NR, events,
				     &no_wait));
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(i, events[i].data);
		EXPECT_EQ((uintptr_t)&iocbs[i], events[i].obj);
		EXPECT_EQ((long)PAGE, events[i].res);
		EXPECT_EQ(0, events[i].res2);
		EXPECT_TRUE(is_pattern(bufs[i], PAGE, order[i] + 1,
				       i % 8 * PAGE))
		{
			TH_LOG("request %d", i);
		}
	}
	EXPECT_EQ(NR, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(NR, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(NR, self->fd, "completed");
}

/*
 * Some requests complete in the call and others do not, for the same file and
 * for different ones.
 */
TEST_F(context, some_complete_in_call)
{
	struct io_event events[6];
	struct iocb iocbs[6];
	struct kaio_submit arg;
	static char buf[PAGE];
	int file, ends[2];
	bool seen[6] = {};
	char c[2] = {};
	int i;

	file = open_pattern(DISK_DIR, 1, FILE_SIZE);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_noop(&iocbs[0], ends[0]);
	prep_pread(&iocbs[1], ends[0], &c[0], 1, 0);
	prep_poll(&iocbs[2], ends[0], POLLIN);
	prep_pread(&iocbs[3], file, buf, PAGE, 0);
	prep_noop(&iocbs[4], file);
	prep_pread(&iocbs[5], ends[0], &c[1], 1, 0);
	for (i = 0; i < 6; i++)
		iocbs[i].aio_data = i;
	ASSERT_EQ(6, submit_all(self->fd, self->ctx, iocbs, 6, &arg));
	ASSERT_EQ(3, kaio_getevents(self->fd, self->ctx, 0, 6, events,
				    &no_wait));
	EXPECT_EQ(0, events[0].data);
	EXPECT_EQ(3, events[1].data);
	EXPECT_EQ((long)PAGE, events[1].res);
	EXPECT_TRUE(is_pattern(buf, PAGE, 1, 0));
	EXPECT_EQ(4, events[2].data);
	EXPECT_STAT(3, self->fd, "inflight");
	/*
	 * The reads and the POLL complete in any order. The POLL reports all
	 * events of its wake-up.
	 */
	ASSERT_EQ(3, write(ends[1], "xyz", 3));
	ASSERT_EQ(3, kaio_wait(self->fd, self->ctx, 3, events));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(events[i].data == 2 ? POLLIN | POLLRDNORM : 1, events[i].res);
		EXPECT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
	}
	EXPECT_TRUE(seen[1] && seen[2] && seen[5]);
	EXPECT_EQ(0, memcmp(c, "xy", 2));
}

/*
 * A bad descriptor is at each place in turn. The requests before it are
 * submitted, and no others.
 */
TEST_F(context, bad_descriptor)
{
	enum { NR = 12 };
	struct io_event events[NR];
	struct iocb iocbs[NR];
	struct kaio_submit arg;
	int files[2], bad, i;

	files[0] = open_pattern(DISK_DIR, 1, PAGE);
	files[1] = open_pattern(DISK_DIR, 2, PAGE);
	ASSERT_LE(0, files[0]);
	ASSERT_LE(0, files[1]);
	for (bad = 0; bad < NR; bad++) {
		for (i = 0; i < NR; i++)
			prep_noop(&iocbs[i], i == bad ? -1 : files[i / 2 & 1]);
		ASSERT_EQ(bad ?: -EBADF,
			  submit_all(self->fd, self->ctx, iocbs, NR, &arg));
		EXPECT_EQ(-EBADF, arg.error);
		ASSERT_EQ(bad, kaio_getevents(self->fd, self->ctx, 0, NR,
					      events, &no_wait));
		for (i = 0; i < bad; i++)
			EXPECT_EQ((uintptr_t)&iocbs[i], events[i].obj);
	}
}

/* A descriptor means the file that it refers to at submission. */
TEST_F(context, reused_descriptor)
{
	static char buf[PAGE];
	struct iocb iocb;
	int files[2], file, i;

	for (i = 0; i < 2; i++) {
		files[i] = open_pattern(DISK_DIR, i + 1, PAGE);
		ASSERT_LE(0, files[i]);
	}
	file = dup(files[0]);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(file, dup3(files[i & 1], file, O_CLOEXEC));
		prep_pread(&iocb, file, buf, PAGE, 0);
		EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
		EXPECT_TRUE(is_pattern(buf, PAGE, (i & 1) + 1, 0));
	}
	close(file);
	EXPECT_EQ(-EBADF, kaio_submit_one(self->fd, self->ctx, &iocb));
}

/*
 * Another thread changes the descriptor during the submit call. Each request
 * uses one of the two files as a whole.
 */
struct changer {
	int file;
	int files[2];
	bool stop;
};

static void *change_file(void *arg)
{
	struct changer *changer = arg;
	int i;

	for (i = 0; !__atomic_load_n(&changer->stop, __ATOMIC_RELAXED); i++) {
		if (i % 3 == 2)
			close(changer->file);
		else
			dup3(changer->files[i % 3], changer->file, O_CLOEXEC);
	}
	return NULL;
}

TEST_F_TIMEOUT(context, descriptor_changes_meanwhile, 60)
{
	enum { NR = 8 };
	const int rounds = 1000;
	struct changer changer = {};
	struct io_event events[NR];
	struct iocb iocbs[NR];
	struct kaio_submit arg;
	static char bufs[NR][512];
	long sum = 0, ret, i, k;
	pthread_t thread;

	for (i = 0; i < 2; i++) {
		changer.files[i] = open_pattern(DISK_DIR, i + 1, PAGE);
		ASSERT_LE(0, changer.files[i]);
	}
	changer.file = dup(changer.files[0]);
	ASSERT_EQ(0, pthread_create(&thread, NULL, change_file, &changer));
	for (k = 0; k < rounds;) {
		for (i = 0; i < NR; i++) {
			prep_pread(&iocbs[i], changer.file, bufs[i], 512, 512);
			iocbs[i].aio_data = i;
		}
		memset(bufs, 0, sizeof(bufs));
		ret = submit_all(self->fd, self->ctx, iocbs, NR, &arg);
		if (ret == -EBADF) {
			/*
			 * The other thread may have lost its CPU while the
			 * descriptor is closed.
			 */
			sched_yield();
			continue;
		}
		ASSERT_LT(0, ret);
		k++;
		sum += ret;
		ASSERT_EQ(ret, kaio_wait(self->fd, self->ctx, ret, events));
		for (i = 0; i < ret; i++) {
			const char *buf = bufs[events[i].data];

			ASSERT_EQ(512, events[i].res);
			ASSERT_TRUE(is_pattern(buf, 512, 1, 512) ||
				    is_pattern(buf, 512, 2, 512));
		}
	}
	__atomic_store_n(&changer.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LE(rounds, sum);
	EXPECT_STAT(sum, self->fd, "completed");
}

/*
 * The tests below read data that is, or was, in the page cache.
 */
FIXTURE(cached)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
	aio_context_t native;
};

FIXTURE_SETUP(cached)
{
	self->file = -1;
	if (!open_both_contexts(_metadata, &self->fd, NR_EVENTS, &self->ctx,
				&self->native))
		return;
	self->file = open_pattern(DISK_DIR, 1, FILE_SIZE);
	ASSERT_LE(0, self->file);
	self->buf = map_guarded(16);
	ASSERT_NE(NULL, self->buf);
	/*
	 * The last page also has blocks beyond the end of the file, which were
	 * never written.
	 */
	ASSERT_EQ((long)FILE_SIZE, pread(self->file, self->buf, 16 * PAGE, 0));
}

FIXTURE_TEARDOWN(cached)
{
	native_destroy(self->native);
	kaio_destroy(self->fd, self->ctx);
	EXPECT_STAT(0, self->fd, "inflight");
	close(self->fd);
	close(self->file);
}

/* Expects the answer of native AIO, all bytes of the file and no others. */
static void expect_as_native(struct __test_metadata *const _metadata,
			     FIXTURE_DATA(cached) *self, struct iocb *iocb)
{
	char *buf = (char *)(uintptr_t)iocb->aio_buf;
	const bool in_buf = buf >= self->buf && buf < self->buf + 16 * PAGE;
	struct answer kaio, native;
	size_t room = 0, i;

	if (in_buf) {
		room = self->buf + 16 * PAGE - buf;
		memset(self->buf, 0x5a, 16 * PAGE);
	}
	kaio = ask_kaio(self->fd, self->ctx, iocb);
	if (in_buf && kaio.submit == 1 && kaio.res >= 0) {
		ASSERT_GE(room, (size_t)kaio.res);
		EXPECT_TRUE(is_pattern(buf, kaio.res, 1, iocb->aio_offset));
		for (i = kaio.res; i < room && buf[i] == 0x5a; i++)
			;
		EXPECT_EQ(room, i);
		for (i = 0; self->buf + i < buf && self->buf[i] == 0x5a; i++)
			;
		EXPECT_EQ(buf, self->buf + i);
	}
	native = ask_native(self->native, iocb);
	EXPECT_EQ(native.submit, kaio.submit);
	EXPECT_EQ(native.res, kaio.res)
	{
		TH_LOG("offset %lld, %llu bytes", iocb->aio_offset,
		       iocb->aio_nbytes);
	}
}

static const __s64 offsets[] = {
	0, 1, PAGE - 1, PAGE, FILE_SIZE - PAGE, FILE_SIZE - 1, FILE_SIZE,
	FILE_SIZE + 1, FILE_SIZE + PAGE, 1LL << 40, LLONG_MAX - PAGE,
	LLONG_MAX, -1, LLONG_MIN,
};

static const size_t lengths[] = {
	0, 1, 99, 100, 101, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 16 * PAGE,
};

TEST_F_TIMEOUT(cached, offsets_and_lengths, 60)
{
	struct iocb iocb;
	size_t i, k;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (k = 0; k < ARRAY_SIZE(lengths); k++) {
			prep_pread(&iocb, self->file, self->buf, lengths[k],
				   offsets[i]);
			expect_as_native(_metadata, self, &iocb);
		}
	}
	/* No request had to wait. */
	EXPECT_EQ(kaio_stat(self->fd, "submitted"),
		  kaio_stat(self->fd, "inline"));
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
}

TEST_F_TIMEOUT(cached, parts_not_cached, 120)
{
	const int rounds = 300;
	__u32 seed = 4711;
	struct iocb iocb;
	int i;

	for (i = 0; i < rounds; i++) {
		const __u64 hole = next_random(&seed) % 8 * PAGE;
		const __u64 from = next_random(&seed) % FILE_SIZE;
		const size_t skew = next_random(&seed) % 64;

		ASSERT_EQ(0, posix_fadvise(self->file, hole,
					   (next_random(&seed) % 4 + 1) * PAGE,
					   POSIX_FADV_DONTNEED));
		prep_pread(&iocb, self->file, self->buf + skew,
			   next_random(&seed) % (FILE_SIZE + PAGE), from);
		expect_as_native(_metadata, self, &iocb);
	}
	EXPECT_LT(0, kaio_stat(self->fd, "queued"));
	EXPECT_LT(0, kaio_stat(self->fd, "inline"));
}

/* The buffer, or a part of it, is not mapped. */
TEST_F(cached, bad_buffers)
{
	static const size_t lens[] = { 1, 100, PAGE, 2 * PAGE, 3 * PAGE };
	char *const end = self->buf + 16 * PAGE;
	struct iocb iocb;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		prep_pread(&iocb, self->file, NULL, lens[i], 0);
		expect_as_native(_metadata, self, &iocb);
		prep_pread(&iocb, self->file, end, lens[i], 0);
		expect_as_native(_metadata, self, &iocb);
		prep_pread(&iocb, self->file, (void *)KERNEL_ADDR, lens[i], 0);
		expect_as_native(_metadata, self, &iocb);
		/* At the end of the file there is no data to copy. */
		prep_pread(&iocb, self->file, NULL, lens[i], FILE_SIZE);
		expect_as_native(_metadata, self, &iocb);
		/*
		 * Half of the buffer is mapped, at the start and at the end of
		 * the file.
		 */
		prep_pread(&iocb, self->file, end - 50, lens[i], 0);
		expect_as_native(_metadata, self, &iocb);
		prep_pread(&iocb, self->file, end - 50, lens[i],
			   FILE_SIZE - 100);
		expect_as_native(_metadata, self, &iocb);
		prep_pread(&iocb, self->file, end - 50, lens[i],
			   FILE_SIZE - 50);
		expect_as_native(_metadata, self, &iocb);
	}
	prep_pread(&iocb, self->file, NULL, 0, 0);
	expect_as_native(_metadata, self, &iocb);
	prep_pread(&iocb, self->file, (void *)KERNEL_ADDR, 0, 0);
	expect_as_native(_metadata, self, &iocb);
	prep_pread(&iocb, self->file, self->buf, SIZE_MAX, 0);
	expect_as_native(_metadata, self, &iocb);
	prep_pread(&iocb, self->file, self->buf, SSIZE_MAX, 0);
	expect_as_native(_metadata, self, &iocb);
}

/* Memory that has no page yet is not a bad buffer. */
TEST_F(cached, fresh_buffer)
{
	struct iocb iocb;

	ASSERT_EQ(0, madvise(self->buf, 16 * PAGE, MADV_DONTNEED));
	prep_pread(&iocb, self->file, self->buf + 10, FILE_SIZE, 0);
	EXPECT_EQ((long)FILE_SIZE, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(is_pattern(self->buf + 10, FILE_SIZE, 1, 0));
}

TEST_F(cached, not_open_for_reading)
{
	const int file = reopen(self->file, O_WRONLY);
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_pread(&iocb, file, self->buf, PAGE, 0);
	EXPECT_EQ(-EBADF, kaio_submit_one(self->fd, self->ctx, &iocb));
	close(file);
}

/*
 * O_DIRECT is set and cleared between calls. Each call obeys the current flag.
 */
TEST_F(cached, direct_toggled)
{
	const int file = reopen(self->file, O_RDWR);
	const int flags = fcntl(file, F_GETFL);
	struct iocb aligned, skewed;
	int i;

	ASSERT_LE(0, file);
	prep_pread(&aligned, file, self->buf, PAGE, PAGE);
	prep_pread(&skewed, file, self->buf + 1, 99, PAGE + 1);
	for (i = 0; i < 4; i++) {
		const bool direct = i & 1;

		ASSERT_EQ(0, fcntl(file, F_SETFL,
				   flags | (direct ? O_DIRECT : 0)));
		memset(self->buf, 0, PAGE);
		EXPECT_EQ((long)PAGE,
			  kaio_do(self->fd, self->ctx, &aligned));
		EXPECT_TRUE(is_pattern(self->buf, PAGE, 1, PAGE));
		EXPECT_EQ(direct ? -EINVAL : 99,
			  kaio_do(self->fd, self->ctx, &skewed));
		expect_as_native(_metadata, self, &skewed);
	}
	close(file);
}

/* O_NONBLOCK does not matter for a file on a disk. */
TEST_F(cached, nonblock)
{
	const int file = reopen(self->file, O_RDWR | O_NONBLOCK);
	struct iocb iocb;
	int i;

	ASSERT_LE(0, file);
	for (i = 0; i < 2; i++) {
		prep_pread(&iocb, file, self->buf, 2 * PAGE, FILE_SIZE - PAGE);
		expect_as_native(_metadata, self, &iocb);
		prep_pread(&iocb, file, self->buf, 2 * PAGE, 0);
		EXPECT_EQ(2 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
		EXPECT_TRUE(is_pattern(self->buf, 2 * PAGE, 1, 0));
		ASSERT_EQ(0, posix_fadvise(self->file, 0, 0,
					   POSIX_FADV_DONTNEED));
	}
	close(file);
}

/* The file shrinks and grows between two reads. */
TEST_F(cached, size_changes)
{
	struct iocb iocb;

	prep_pread(&iocb, self->file, self->buf, 2 * PAGE, FILE_SIZE - PAGE);
	EXPECT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE - 10));
	EXPECT_EQ((long)PAGE - 10, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE - PAGE));
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, ftruncate(self->file, FILE_SIZE + PAGE));
	EXPECT_EQ(2 * (long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
	/* The range that was cut off reads as zeros. */
	EXPECT_EQ(0, self->buf[0]);
	EXPECT_EQ(0, self->buf[2 * PAGE - 1]);
}

/*
 * A read sees data that was written a moment before, whether or not it is on
 * the disk.
 */
TEST_F(cached, read_after_write)
{
	struct iocb iocb;
	int i;

	prep_pread(&iocb, self->file, self->buf, PAGE, PAGE);
	for (i = 0; i < 50; i++) {
		const char c = i;

		ASSERT_EQ(1, pwrite(self->file, &c, 1, PAGE + i));
		ASSERT_EQ((long)PAGE, kaio_do(self->fd, self->ctx, &iocb));
		ASSERT_EQ(c, self->buf[i]);
	}
}

/*
 * The tests below use IOCB_FLAG_RESFD.
 */
FIXTURE(resfd)
{
	int fd;
	__u64 ctx;
	int event;
	struct iocb iocb;
	int ends[2];
	char buf[PAGE];
};

FIXTURE_VARIANT(resfd)
{
	int opcode;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(resfd, noop) { KAIO_CMD_NOOP };
FIXTURE_VARIANT_ADD(resfd, poll) { IOCB_CMD_POLL };
FIXTURE_VARIANT_ADD(resfd, read) { IOCB_CMD_PREAD };
/* clang-format on */

FIXTURE_SETUP(resfd)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->event = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	switch (variant->opcode) {
	case KAIO_CMD_NOOP:
		prep_noop(&self->iocb, self->fd);
		break;
	case IOCB_CMD_POLL:
		prep_poll(&self->iocb, self->ends[1], POLLOUT);
		break;
	case IOCB_CMD_PREAD:
		prep_pread(&self->iocb, open_pattern(DISK_DIR, 1, PAGE),
			   self->buf, PAGE, 0);
		break;
	}
}

FIXTURE_TEARDOWN(resfd)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

/* Submits @nr requests, every second of which has the eventfd. */
static void submit_with_resfd(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(resfd) *self, int nr)
{
	struct iocb iocbs[NR_EVENTS];
	struct kaio_submit arg;
	int i;

	for (i = 0; i < nr; i++) {
		iocbs[i] = self->iocb;
		if (i & 1) {
			iocbs[i].aio_flags = IOCB_FLAG_RESFD;
			iocbs[i].aio_resfd = self->event;
		}
	}
	ASSERT_EQ(nr, submit_all(self->fd, self->ctx, iocbs, nr, &arg));
}

TEST_F(resfd, counted_once)
{
	struct io_event events[NR_EVENTS];
	__u64 count;
	int nr;

	for (nr = 2; nr <= 40; nr++) {
		submit_with_resfd(_metadata, self, nr);
		ASSERT_EQ((ssize_t)sizeof(count),
			  read(self->event, &count, sizeof(count)));
		EXPECT_EQ((__u64)nr / 2, count);
		EXPECT_EQ(nr, kaio_getevents(self->fd, self->ctx, 0, NR_EVENTS,
					     events, &no_wait));
		EXPECT_EQ(0, poll_now(self->event, POLLIN));
	}
}

/*
 * A thread that the eventfd wakes finds the event, and the events of the
 * requests before it.
 */
struct listener {
	__u64 ctx;
	int event;
	int early;
	__u64 told;
	__u64 taken;
	__u64 end;
};

static void *listen_and_reap(void *arg)
{
	struct listener *listener = arg;
	struct io_event events[NR_EVENTS];
	__u64 count;

	while (listener->told < listener->end &&
	       read(listener->event, &count, sizeof(count)) > 0) {
		listener->told += count;
		__atomic_fetch_add(&listener->taken,
				   ring_reap(listener->ctx, events, NR_EVENTS),
				   __ATOMIC_RELEASE);
		if (listener->taken < 2 * listener->told)
			listener->early++;
	}
	return NULL;
}

TEST_F_TIMEOUT(resfd, not_before_event, 60)
{
	enum { ROUNDS = 1000, NR = 10 };
	struct listener listener = {
		.ctx = self->ctx,
		.event = self->event,
		.end = ROUNDS * NR / 2,
	};
	pthread_t thread;
	__u64 i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, listen_and_reap, &listener));
	for (i = 0; i < ROUNDS; i++) {
		/* Wait until the ring has room. */
		ASSERT_TRUE(wait_until(__atomic_load_n(&listener.taken,
						       __ATOMIC_ACQUIRE) +
					       NR_EVENTS >= (i + 1) * NR));
		submit_with_resfd(_metadata, self, NR);
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, listener.early);
	EXPECT_EQ(ROUNDS * NR, (int)listener.taken);
	EXPECT_EQ(0, poll_now(self->event, POLLIN));
}

/*
 * The tests below fill the ring.
 */

/*
 * The context takes as many requests as it has room for, whatever happened
 * before.
 */
TEST_F_TIMEOUT(context, room_is_exact, 120)
{
	enum { PARKED = 16 };
	const int capacity = ring_of(self->ctx)->nr - 1;
	const int rounds = 1500;
	struct iocb *iocbs = calloc(capacity + 1, sizeof(*iocbs));
	struct iocb **pointers = calloc(capacity + 1, sizeof(*pointers));
	struct io_event *events = calloc(capacity + 1, sizeof(*events));
	/* The numbers of requests in flight and of events in the ring. */
	int parked = 0, there = 0, ends[2], i, k, n, room;
	struct iocb reads[PARKED], bad;
	__u32 seed = 4711;
	char c[PARKED];
	long ret;

	ASSERT_TRUE(iocbs && pointers && events);
	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	for (i = 0; i <= capacity; i++) {
		prep_noop(&iocbs[i], self->fd);
		pointers[i] = &iocbs[i];
	}
	prep_noop(&bad, -1);
	for (k = 0; k < rounds; k++) {
		room = capacity - parked - there;
		switch (next_random(&seed) % 7) {
		case 0:
		case 1:
			n = next_random(&seed) % (capacity + 1) + 1;
			if (n > 40 && next_random(&seed) & 1)
				n = n % 40 + 1;
			ret = kaio_submit(self->fd, self->ctx, n, pointers);
			ASSERT_EQ(!room ? -EAGAIN : n < room ? n : room, ret)
			{
				TH_LOG("round %d: %d of %d", k, n, room);
			}
			there += ret > 0 ? ret : 0;
			break;
		case 2:
			if (parked == PARKED)
				break;
			/*
			 * The parked reads are all alike, so it does not matter
			 * which one completes.
			 */
			prep_pread(&reads[parked], ends[0], &c[parked], 1, 0);
			ret = kaio_submit_one(self->fd, self->ctx,
					      &reads[parked]);
			ASSERT_EQ(room ? 1 : -EAGAIN, ret);
			parked += ret == 1;
			break;
		case 3:
			if (!parked)
				break;
			ASSERT_STAT(parked, self->fd, "inflight");
			ASSERT_EQ(1, write(ends[1], "x", 1));
			parked--;
			there++;
			ASSERT_TRUE(wait_until(kaio_stat(self->fd, "inflight") ==
					       parked));
			break;
		case 4:
			n = next_random(&seed) % (capacity + 1);
			ret = ring_reap(self->ctx, events, n);
			ASSERT_EQ(n < there ? n : there, ret);
			there -= ret;
			break;
		case 5:
			n = next_random(&seed) % (capacity + 1);
			ret = kaio_getevents(self->fd, self->ctx, 0, n, events,
					     &no_wait);
			ASSERT_EQ(n < there ? n : there, ret);
			there -= ret;
			break;
		case 6:
			/* The requests behind the refused one take no room. */
			n = next_random(&seed) % 20;
			pointers[n] = &bad;
			ret = kaio_submit(self->fd, self->ctx, 40, pointers);
			pointers[n] = &iocbs[n];
			ASSERT_EQ(!room ? -EAGAIN :
				  n >= room ? room :
				  n ? n : -EBADF, ret);
			there += ret > 0 ? ret : 0;
			break;
		}
	}
	free(iocbs);
	free(pointers);
	free(events);
}

/*
 * A wrong head loses its own events only. Requests in flight keep their place.
 */
TEST_F_TIMEOUT(context, wrong_head, 60)
{
	struct kaio_ring *ring = ring_of(self->ctx);
	const int capacity = ring->nr - 1;
	struct io_event events[8];
	struct iocb iocbs[8], noop;
	bool seen[8] = {};
	__u32 seed = 4711;
	int ends[2], i, k;

	park_reads(_metadata, self, iocbs, 8, ends);
	prep_noop(&noop, self->fd);
	noop.aio_data = 99;
	for (k = 0; k < 500; k++) {
		__atomic_store_n(&ring->head, next_random(&seed),
				 __ATOMIC_RELEASE);
		for (i = 0; i < 2 * capacity; i++)
			if (kaio_submit_one(self->fd, self->ctx, &noop) != 1)
				break;
	}
	EXPECT_STAT(8, self->fd, "inflight");
	/* Set the head to the right value again. */
	__atomic_store_n(&ring->head,
			 __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	for (i = 0; i < capacity - 8; i++)
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &noop));
	EXPECT_EQ(-EAGAIN, kaio_submit_one(self->fd, self->ctx, &noop));
	for (i = 0; i < capacity - 8; i++)
		ASSERT_EQ(1, ring_reap(self->ctx, events, 1));
	ASSERT_EQ(8, write(ends[1], "12345678", 8));
	ASSERT_EQ(8, kaio_wait(self->fd, self->ctx, 8, events));
	for (i = 0; i < 8; i++) {
		ASSERT_GT(8, events[i].data);
		EXPECT_FALSE(seen[events[i].data]);
		seen[events[i].data] = true;
		EXPECT_EQ(1, events[i].res);
	}
}

/*
 * The submit call below stops in the middle.
 */
#define MIDDLE	20

FIXTURE(stops)
{
	int fd;
	__u64 ctx;
	/* The memory from here on is protected. */
	char *end;
	struct iocb iocbs[MIDDLE];
};

FIXTURE_VARIANT(stops)
{
	/*
	 * The part that cannot be read from number k on: the array, or a
	 * request.
	 */
	bool array;
	/* The number of its bytes that can be read. */
	size_t bytes;
	int prot;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(stops, array) { true, 0, PROT_NONE };
FIXTURE_VARIANT_ADD(stops, half_a_pointer) { true, 4, PROT_NONE };
FIXTURE_VARIANT_ADD(stops, request) { false, 0, PROT_NONE };
FIXTURE_VARIANT_ADD(stops, half_a_request) { false, 32, PROT_NONE };
FIXTURE_VARIANT_ADD(stops, last_byte_of_a_request) { false, 63, PROT_NONE };
FIXTURE_VARIANT_ADD(stops, key) { false, 0, PROT_READ };
/* clang-format on */

FIXTURE_SETUP(stops)
{
	char *map;

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	self->end = map + PAGE;
}

FIXTURE_TEARDOWN(stops)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

static void stop_at(struct __test_metadata *const _metadata,
		    FIXTURE_DATA(stops) *self,
		    const FIXTURE_VARIANT(stops) *variant, int k)
{
	struct iocb *pointers[MIDDLE], **array = pointers, *last;
	struct io_event events[MIDDLE];
	struct kaio_submit arg = { .ctx_id = self->ctx, .nr = MIDDLE };
	int i;

	ASSERT_EQ(0, mprotect(self->end, PAGE, PROT_READ | PROT_WRITE));
	for (i = 0; i < MIDDLE; i++) {
		prep_noop(&self->iocbs[i], self->fd);
		self->iocbs[i].aio_data = i;
		pointers[i] = &self->iocbs[i];
	}
	if (variant->array) {
		array = (struct iocb **)(self->end - variant->bytes -
					 k * sizeof(*array));
		memcpy(array, pointers, sizeof(pointers));
	} else {
		last = (struct iocb *)(self->end - variant->bytes);
		memcpy(last, &self->iocbs[k], sizeof(*last));
		pointers[k] = last;
	}
	ASSERT_EQ(0, mprotect(self->end, PAGE, variant->prot));
	arg.iocbpp = (uintptr_t)array;
	ASSERT_EQ(k ?: -EFAULT, kaio_ioctl(self->fd, KAIO_SUBMIT, &arg))
	{
		TH_LOG("k %d", k);
	}
	EXPECT_EQ(-EFAULT, arg.error);
	ASSERT_EQ(k, kaio_getevents(self->fd, self->ctx, 0, MIDDLE, events,
				    &no_wait));
	for (i = 0; i < k; i++) {
		EXPECT_EQ(i, events[i].data);
		EXPECT_EQ((uintptr_t)&self->iocbs[i], events[i].obj);
	}
}

TEST_F(stops, at_each_request)
{
	long sum = 0;
	int k;

	for (k = 0; k < MIDDLE; k++) {
		stop_at(_metadata, self, variant, k);
		sum += k;
	}
	EXPECT_EQ(sum, kaio_stat(self->fd, "submitted"));
	EXPECT_STAT(sum, self->fd, "completed");
}

TEST_HARNESS_MAIN
