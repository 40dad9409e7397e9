// SPDX-License-Identifier: GPL-2.0
/*
 * Tests KAIO_CANCEL on requests that a worker or a device has, on very many
 * requests, and in races with other calls. Each request has exactly one event,
 * and its result agrees with the answer of the cancel.
 */
#include "context_fixture.h"
#include "devices.h"
#include "opponent.h"

/*
 * MANY requests wait at once. To cancel one of them costs as much as to cancel
 * one of FEW.
 */
#define MANY	10000
#define FEW	10

/*
 * The tests below cancel requests that a device or a worker has, which go on.
 */

/*
 * The answer of the cancel, the result of the request and the number of its
 * events.
 */
struct outcome {
	long said;
	__s64 res;
	int events;
};

/*
 * Submits all requests, cancels all at once and takes all events. Sets
 * iocbs[i].aio_data to i.
 */
static void submit_and_cancel(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(context) *self, struct iocb *iocbs,
			      int nr, struct outcome *outcomes)
{
	struct iocb *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	int i;

	for (i = 0; i < nr; i++) {
		pointers[i] = &iocbs[i];
		iocbs[i].aio_data = i;
		outcomes[i].events = 0;
	}
	ASSERT_EQ(nr, kaio_submit(self->fd, self->ctx, nr, pointers));
	for (i = 0; i < nr; i++)
		outcomes[i].said = kaio_cancel(self->fd, self->ctx, &iocbs[i]);
	ASSERT_EQ(nr, kaio_wait(self->fd, self->ctx, nr, events));
	for (i = 0; i < nr; i++) {
		struct outcome *outcome;

		ASSERT_GT((__u64)nr, events[i].data);
		outcome = &outcomes[events[i].data];
		outcome->events++;
		outcome->res = events[i].res;
	}
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(1, outcomes[i].events)
		{
			TH_LOG("request %d", i);
		}
		EXPECT_TRUE(outcomes[i].said == -EINPROGRESS ||
			    outcomes[i].said == -EINVAL)
		{
			TH_LOG("cancel of %d: %ld", i, outcomes[i].said);
		}
		/* A request whose cancel failed is not cancelled. */
		if (outcomes[i].said == -EINVAL)
			EXPECT_NE(-ECANCELED, outcomes[i].res)
			{
				TH_LOG("request %d", i);
			}
	}
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

#define NR_PAGES	16

/*
 * Reads pages of the pattern, and cancels the reads. Expects the data of each
 * read that was not cancelled.
 */
static void cancel_page_reads(struct __test_metadata *const _metadata,
			      FIXTURE_DATA(context) *self, int file, char *buf,
			      struct outcome *outcomes)
{
	struct iocb iocbs[NR_PAGES];
	int i;

	memset(buf, 0, NR_PAGES * PAGE);
	for (i = 0; i < NR_PAGES; i++)
		prep_pread(&iocbs[i], file, buf + i * PAGE, PAGE, i * PAGE);
	submit_and_cancel(_metadata, self, iocbs, NR_PAGES, outcomes);
	for (i = 0; i < NR_PAGES; i++) {
		if (outcomes[i].res == -ECANCELED)
			continue;
		EXPECT_EQ((long)PAGE, outcomes[i].res);
		EXPECT_TRUE(is_pattern(buf + i * PAGE, PAGE, 1, i * PAGE));
	}
}

TEST_F(context, direct_read_in_flight)
{
	const int file = open_pattern(DISK_DIR, 1, NR_PAGES * PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	char *buf = map_guarded(NR_PAGES);
	struct outcome outcomes[NR_PAGES];
	int round;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	for (round = 0; round < 10; round++)
		cancel_page_reads(_metadata, self, direct, buf, outcomes);
}

TEST_F(context, cold_read)
{
	const int file = open_pattern(DISK_DIR, 1, NR_PAGES * PAGE);
	char *buf = map_guarded(NR_PAGES);
	struct outcome outcomes[NR_PAGES];
	int i, round;

	ASSERT_LE(0, file);
	ASSERT_NE(NULL, buf);
	for (round = 0; round < 10; round++) {
		ASSERT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
		cancel_page_reads(_metadata, self, file, buf, outcomes);
		/* A cancelled read has transferred nothing. */
		for (i = 0; i < NR_PAGES; i++)
			if (outcomes[i].res == -ECANCELED)
				EXPECT_EQ(0, buf[i * PAGE + 1]);
	}
}

/*
 * A cancelled write was not done, and a write that was not cancelled was done.
 */
TEST_F(context, write)
{
	static const char *const dirs[] = { DISK_DIR, MEM_DIR };
	static const char done[PAGE] = { 'x' };
	struct outcome outcomes[16];
	struct iocb iocbs[16];
	int i, round;

	for (round = 0; round < 20; round++) {
		const int file = open_temp(dirs[round % 2], 0);

		ASSERT_LE(0, file);
		ASSERT_EQ(0, ftruncate(file, 16 * PAGE));
		for (i = 0; i < 16; i++)
			prep_pwrite(&iocbs[i], file, done, PAGE, i * PAGE);
		submit_and_cancel(_metadata, self, iocbs, 16, outcomes);
		for (i = 0; i < 16; i++) {
			const bool cancelled = outcomes[i].res == -ECANCELED;
			char c = 0;

			if (!cancelled)
				EXPECT_EQ((long)PAGE, outcomes[i].res);
			ASSERT_EQ(1, pread(file, &c, 1, i * PAGE));
			EXPECT_EQ(cancelled ? 0 : 'x', c)
			{
				TH_LOG("write %d, res %lld", i,
				       outcomes[i].res);
			}
		}
		close(file);
	}
}

TEST_F(context, fsync)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	struct outcome outcomes[16];
	struct iocb iocbs[16];
	int i, round;

	ASSERT_LE(0, file);
	for (round = 0; round < 10; round++) {
		for (i = 0; i < 16; i++)
			prep_fsync(&iocbs[i], file);
		submit_and_cancel(_metadata, self, iocbs, 16, outcomes);
		for (i = 0; i < 16; i++) {
			EXPECT_TRUE(outcomes[i].res == 0 ||
				    outcomes[i].res == -ECANCELED)
			{
				TH_LOG("res %lld", outcomes[i].res);
			}
		}
	}
}

/*
 * The file system is frozen. The first append hangs in a worker, where it
 * cannot be cancelled. Those behind it wait for their turn.
 */
TEST_F(context, appends_in_turn)
{
	const int file = open_temp(DISK_DIR, O_APPEND);
	static const char text[] = "abcd";
	const struct timespec timeout = ms(200);
	struct io_event events[4];
	struct guard guard;
	struct iocb iocbs[4];
	char buf[8] = {};
	int i;

	ASSERT_LE(0, file);
	ASSERT_TRUE(freeze(&guard, DISK_DIR));
	for (i = 0; i < 4; i++) {
		prep_pwrite(&iocbs[i], file, text + i, 1, 0);
		iocbs[i].aio_data = i;
		EXPECT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocbs[i]));
	}
	/* After this wait a worker has the first append. */
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 4, events,
				    &timeout));
	EXPECT_EQ(-EINVAL, kaio_cancel(self->fd, self->ctx, &iocbs[0]));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocbs[2]));
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 4, events,
				    &no_wait));
	EXPECT_EQ(-ECANCELED, events[0].res);
	EXPECT_EQ(2, events[0].data);
	guard_end(&guard);
	EXPECT_EQ(3, kaio_wait(self->fd, self->ctx, 3, events));
	EXPECT_EQ(3, pread(file, buf, sizeof(buf), 0));
	EXPECT_STREQ("abd", buf);
}

/*
 * The requests are reads of one pipe, which are served one after the other, or
 * POLLs of it, which all wait. Their addresses are a fixed distance apart,
 * which must not matter.
 */
FIXTURE(many)
{
	int fd;
	__u64 ctx;
	int ends[2];
	char *memory;
	struct iocb **pointers;
	struct io_event *events;
};

FIXTURE_VARIANT(many)
{
	size_t stride;
	bool poll;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(many, reads) { .stride = sizeof(struct iocb) };
FIXTURE_VARIANT_ADD(many, polls) {
	.stride = sizeof(struct iocb),
	.poll = true,
};

FIXTURE_VARIANT_ADD(many, polls_1_kib_apart) { .stride = 1024, .poll = true };
FIXTURE_VARIANT_ADD(many, polls_1_page_apart) { .stride = PAGE, .poll = true };
/* clang-format on */

FIXTURE_SETUP(many)
{
	static char c;
	int i;

	if (!open_context(_metadata, &self->fd, MANY, &self->ctx))
		return;
	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	self->memory = map_guarded(MANY * variant->stride / PAGE + 1);
	self->pointers = calloc(MANY, sizeof(*self->pointers));
	self->events = calloc(MANY, sizeof(*self->events));
	ASSERT_NE(NULL, self->memory);
	ASSERT_NE(NULL, self->pointers);
	ASSERT_NE(NULL, self->events);
	for (i = 0; i < MANY; i++) {
		self->pointers[i] = (void *)(self->memory + i * variant->stride);
		if (variant->poll)
			prep_poll(self->pointers[i], self->ends[0], POLLIN);
		else
			prep_pread(self->pointers[i], self->ends[0], &c, 1, 0);
		self->pointers[i]->aio_data = i;
	}
}

FIXTURE_TEARDOWN(many)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

/* Submits the first @nr requests and then shuffles their pointers. */
static void park_many(struct __test_metadata *const _metadata,
		      FIXTURE_DATA(many) *self, int nr)
{
	__u32 seed = 4711;
	int i;

	ASSERT_EQ(nr, kaio_submit(self->fd, self->ctx, nr, self->pointers));
	ASSERT_STAT(nr, self->fd, "inflight");
	for (i = nr - 1; i > 0; i--) {
		const int k = next_random(&seed) % (i + 1);
		struct iocb *const other = self->pointers[k];

		self->pointers[k] = self->pointers[i];
		self->pointers[i] = other;
	}
}

TEST_F_TIMEOUT(many, each_once, 120)
{
	static bool seen[MANY];
	int i;

	park_many(_metadata, self, MANY);
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx,
						    self->pointers[i]))
		{
			TH_LOG("request %d", i);
		}
	}
	/* Requests that wait have completed in the order of the cancels. */
	ASSERT_EQ(MANY, kaio_getevents(self->fd, self->ctx, MANY, MANY,
				       self->events,
				       variant->poll ? &no_wait : &patience));
	for (i = 0; i < MANY; i++) {
		ASSERT_GT((__u64)MANY, self->events[i].data);
		ASSERT_FALSE(seen[self->events[i].data])
		{
			TH_LOG("event %d", i);
		}
		seen[self->events[i].data] = true;
		ASSERT_EQ(variant->poll ? 0 : -ECANCELED, self->events[i].res);
		if (variant->poll)
			ASSERT_EQ((uintptr_t)self->pointers[i],
				  self->events[i].obj);
	}
	EXPECT_EQ(MANY, kaio_stat(self->fd, "cancelled"));
	EXPECT_STAT(0, self->fd, "inflight");
}

static int compare_times(const void *a, const void *b)
{
	const __s64 x = *(const __s64 *)a, y = *(const __s64 *)b;

	return x < y ? -1 : x > y;
}

/*
 * Returns the median time of @nr cancels, which no kworker in between can
 * falsify.
 */
static __s64 time_of_cancel(struct __test_metadata *const _metadata,
			    FIXTURE_DATA(many) *self, struct iocb **pointers,
			    int nr)
{
	static __s64 times[MANY];
	int i;

	for (i = 0; i < nr; i++) {
		const __s64 start = now_ns();

		EXPECT_EQ(-EINPROGRESS,
			  kaio_cancel(self->fd, self->ctx, pointers[i]));
		times[i] = now_ns() - start;
	}
	qsort(times, nr, sizeof(*times), compare_times);
	return times[nr / 2];
}

/* The lookup does not walk over all requests that wait. */
TEST_F_TIMEOUT(many, cost_does_not_grow, 120)
{
	const int sample = MANY / 10;
	__s64 few = LLONG_MAX, many;
	int i;

	for (i = 0; i < sample / FEW; i++) {
		__s64 time;

		park_many(_metadata, self, FEW);
		time = time_of_cancel(_metadata, self, self->pointers, FEW);
		few = time < few ? time : few;
		ASSERT_EQ(FEW, kaio_wait(self->fd, self->ctx, FEW,
					 self->events));
	}
	park_many(_metadata, self, MANY);
	many = time_of_cancel(_metadata, self, self->pointers, sample);
	TH_LOG("cancelling one of %d takes %lld ns, one of %d %lld ns", FEW,
	       few, MANY, many);
	EXPECT_GT(4 * few, many);
}

/*
 * In each of the races below there is one event, whichever side wins, and its
 * result agrees with the answer of the cancel.
 */
#define ROUNDS	1000

FIXTURE(race)
{
	int fd;
	__u64 ctx;
	struct opponent canceller;
	/* The request that the canceller cancels in each round: a read of @c. */
	struct iocb iocb;
	char c;
	/* An empty pipe. */
	int ends[2];
	/* The answer in the last round. */
	long said;
	bool ended;
};

static void cancel_request(void *arg)
{
	FIXTURE_DATA(race) *self = arg;

	self->said = kaio_cancel_ended(self->fd, self->ctx, &self->iocb,
				       &self->ended);
}

FIXTURE_SETUP(race)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	ASSERT_EQ(0, pipe2(self->ends, O_CLOEXEC));
	prep_pread(&self->iocb, self->ends[0], &self->c, 1, 0);
	self->canceller = (struct opponent){
		.act = cancel_request,
		.arg = self,
		.rounds = ROUNDS,
	};
	start_opponent(_metadata, &self->canceller);
}

FIXTURE_TEARDOWN(race)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

/* Lets the thread cancel, and waits for a moment that depends on @round. */
static void start_round(FIXTURE_DATA(race) *self, int round)
{
	begin_round(&self->canceller);
	dawdle(round);
}

static void submit_and_start_round(struct __test_metadata *const _metadata,
				   FIXTURE_DATA(race) *self, int round)
{
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	start_round(self, round);
}

/*
 * Takes the event of the request. If the cancel said that the request has
 * ended, the event is in the ring.
 */
static void take_event(struct __test_metadata *const _metadata,
		       FIXTURE_DATA(race) *self, struct io_event *event)
{
	ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, event,
				    self->ended ? &no_wait : &patience));
}

/* Waits for the end of the thread, and expects that @counter has become @nr. */
static void end_race(struct __test_metadata *const _metadata,
		     FIXTURE_DATA(race) *self, const char *counter, int nr)
{
	ASSERT_EQ(0, result_of_call(&self->canceller.thread));
	EXPECT_EQ(nr, kaio_stat(self->fd, counter));
}

TEST_F_TIMEOUT(race, against_data, 120)
{
	struct io_event event;
	int i, cancelled = 0;

	ASSERT_EQ(0, fcntl(self->ends[1], F_SETFL, O_NONBLOCK));
	for (i = 0; i < ROUNDS; i++) {
		self->c = 0;
		submit_and_start_round(_metadata, self, i);
		ASSERT_EQ(1, write(self->ends[1], "x", 1));
		end_round(&self->canceller);
		take_event(_metadata, self, &event);
		/* Only a cancelled request has ended by then. */
		if (self->ended)
			ASSERT_EQ(-ECANCELED, event.res);
		if (event.res == -ECANCELED) {
			cancelled++;
			ASSERT_EQ(-EINPROGRESS, self->said);
			/* The byte is still in the pipe. */
			ASSERT_EQ(0, self->c);
			ASSERT_EQ(1, read(self->ends[0], &self->c, 1));
		} else {
			ASSERT_EQ(1, event.res);
			ASSERT_EQ('x', self->c);
		}
		ASSERT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
					    &no_wait))
		{
			TH_LOG("round %d has a second event", i);
		}
	}
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	end_race(_metadata, self, "completed", ROUNDS);
	TH_LOG("%d of %d were cancelled", cancelled, ROUNDS);
}

TEST_F_TIMEOUT(race, poll_against_data, 120)
{
	struct io_event event;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		prep_poll(&self->iocb, self->ends[0], POLLIN);
		submit_and_start_round(_metadata, self, i);
		ASSERT_EQ(1, write(self->ends[1], "x", 1));
		end_round(&self->canceller);
		take_event(_metadata, self, &event);
		ASSERT_TRUE((event.res == 0 && self->said == -EINPROGRESS) ||
			    (event.res == (POLLIN | POLLRDNORM) && !self->ended))
		{
			TH_LOG("round %d: res %lld, cancel %ld", i, event.res,
			       self->said);
		}
		ASSERT_EQ(1, read(self->ends[0], &self->c, 1));
		ASSERT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event,
					    &no_wait));
	}
	end_race(_metadata, self, "completed", ROUNDS);
}

/* Two threads cancel the same request, and exactly one of them succeeds. */
TEST_F_TIMEOUT(race, against_cancel, 120)
{
	struct io_event event;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		long said;

		submit_and_start_round(_metadata, self, i);
		said = kaio_cancel(self->fd, self->ctx, &self->iocb);
		end_round(&self->canceller);
		ASSERT_TRUE((said == -EINPROGRESS && self->said == -EINVAL) ||
			    (said == -EINVAL && self->said == -EINPROGRESS))
		{
			TH_LOG("round %d: %ld and %ld", i, said, self->said);
		}
		ASSERT_EQ(1, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
					    &no_wait));
		ASSERT_EQ(-ECANCELED, event.res);
	}
	end_race(_metadata, self, "cancelled", ROUNDS);
}

/*
 * A request that queues up while the one before it leaves can be cancelled as
 * soon as it is submitted.
 */
TEST_F_TIMEOUT(race, behind_cancelled_request, 120)
{
	struct io_event events[2];
	struct iocb mine;
	int i;
	char c;

	for (i = 0; i < ROUNDS; i++) {
		long said;

		prep_pread(&mine, self->ends[0], &c, 1, 0);
		submit_and_start_round(_metadata, self, i);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &mine));
		said = kaio_cancel(self->fd, self->ctx, &mine);
		end_round(&self->canceller);
		ASSERT_EQ(-EINPROGRESS, self->said);
		ASSERT_EQ(-EINPROGRESS, said)
		{
			TH_LOG("round %d", i);
		}
		ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
		ASSERT_EQ(-ECANCELED, events[0].res);
		ASSERT_EQ(-ECANCELED, events[1].res);
	}
	end_race(_metadata, self, "cancelled", 2 * ROUNDS);
}

/* The cancel may come before the request waits, or after that. */
TEST_F_TIMEOUT(race, against_submit, 120)
{
	struct io_event event;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		start_round(self, i);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
		end_round(&self->canceller);
		if (self->said == -EINVAL)
			self->said = kaio_cancel(self->fd, self->ctx,
						&self->iocb);
		ASSERT_EQ(-EINPROGRESS, self->said);
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		ASSERT_EQ(-ECANCELED, event.res);
	}
	end_race(_metadata, self, "completed", ROUNDS);
}

TEST_F_TIMEOUT(race, against_destroy, 120)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		submit_and_start_round(_metadata, self, i);
		ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
		ASSERT_STAT(0, self->fd, "inflight");
		end_round(&self->canceller);
		ASSERT_TRUE(self->said == -EINPROGRESS || self->said == -EINVAL);
		ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	}
	end_race(_metadata, self, "completed", ROUNDS);
	EXPECT_EQ(ROUNDS, kaio_stat(self->fd, "cancelled"));
}

/*
 * Data for all requests comes while all are cancelled. Each request ends once.
 */
TEST_F_TIMEOUT(context, all_against_data, 120)
{
	struct io_event events[NR_EVENTS];
	struct iocb iocbs[NR_EVENTS];
	int ends[2], i, round, status;
	pid_t pid;

	for (round = 0; round < 20; round++) {
		int seen[NR_EVENTS] = {}, left = NR_EVENTS;
		char junk[NR_EVENTS];
		ssize_t n;

		park_reads(_metadata, self, iocbs, NR_EVENTS, ends);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			for (i = 0; i < NR_EVENTS; i++)
				if (write(ends[1], "x", 1) != 1)
					_exit(1);
			_exit(0);
		}
		for (i = 0; i < NR_EVENTS; i++)
			kaio_cancel(self->fd, self->ctx, &iocbs[i]);
		ASSERT_EQ(NR_EVENTS,
			  kaio_wait(self->fd, self->ctx, NR_EVENTS, events));
		for (i = 0; i < NR_EVENTS; i++) {
			ASSERT_GT((__u64)NR_EVENTS, events[i].data);
			seen[events[i].data]++;
			ASSERT_TRUE(events[i].res == 1 ||
				    events[i].res == -ECANCELED);
			left -= events[i].res == 1;
		}
		for (i = 0; i < NR_EVENTS; i++) {
			ASSERT_EQ(1, seen[i])
			{
				TH_LOG("request %d", i);
			}
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		/* No byte is lost or read twice. */
		ASSERT_EQ(0, fcntl(ends[0], F_SETFL, O_NONBLOCK));
		n = read(ends[0], junk, sizeof(junk));
		ASSERT_EQ(left, n < 0 ? 0 : n);
		close(ends[0]);
		close(ends[1]);
	}
}

TEST_HARNESS_MAIN
