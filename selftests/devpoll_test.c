// SPDX-License-Identifier: GPL-2.0
/*
 * Tests poll on the descriptor of the device: it is readable while a context
 * that was made through it has events.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "context_fixture.h"

#define READABLE	(POLLIN | POLLRDNORM)
/* All events that poll can ask for. */
#define ALL		(READABLE | POLLPRI | POLLRDBAND | POLLOUT | POLLWRNORM | \
			 POLLWRBAND | POLLRDHUP)

static int ready(int fd)
{
	return poll_now(fd, ALL);
}

/* Returns the events as soon as there are any, or 0 on a timeout. */
static int ready_soon(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = ALL };

	return poll(&pollfd, 1, PATIENCE_SECONDS * 1000) == 1 ?
		       pollfd.revents :
		       0;
}

static long wait_until_ready(void *arg)
{
	return ready_soon(*(int *)arg);
}

static void take(struct __test_metadata *const _metadata, int fd, __u64 ctx,
		 int nr)
{
	struct io_event events[NR_EVENTS];

	ASSERT_EQ(nr, kaio_getevents(fd, ctx, nr, nr, events, &no_wait));
}

/* Puts one event into the ring of @ctx. */
static void submit_noop(struct __test_metadata *const _metadata, int fd,
			__u64 ctx)
{
	struct iocb iocb;

	prep_noop(&iocb, fd);
	ASSERT_EQ(1, kaio_submit_one(fd, ctx, &iocb));
}

/*
 * The tests below call poll(2).
 */
TEST_F(context, empty)
{
	EXPECT_EQ(0, ready(self->fd));
}

TEST_F(context, without_context)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, ready(self->fd));
}

TEST_F(context, event)
{
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, ready(self->fd));
	/* A poll takes no event away. */
	EXPECT_EQ(READABLE, ready(self->fd));
	take(_metadata, self->fd, self->ctx, 1);
	EXPECT_EQ(0, ready(self->fd));
}

TEST_F(context, until_last_event_is_taken)
{
	produce(_metadata, self, 3);
	take(_metadata, self->fd, self->ctx, 2);
	EXPECT_EQ(READABLE, ready(self->fd));
	take(_metadata, self->fd, self->ctx, 1);
	EXPECT_EQ(0, ready(self->fd));
}

/* The kernel notices that user space took events without a call. */
TEST_F(context, reaped_in_user_space)
{
	struct io_event events[4];

	produce(_metadata, self, 3);
	ASSERT_EQ(2, ring_reap(self->ctx, events, 2));
	EXPECT_EQ(READABLE, ready(self->fd));
	ASSERT_EQ(1, ring_reap(self->ctx, events, 2));
	EXPECT_EQ(0, ready(self->fd));
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, ready(self->fd));
}

TEST_F(context, around_the_ring)
{
	const __u32 nr = ring_of(self->ctx)->nr;
	struct io_event event;
	__u32 i;

	for (i = 0; i < 2 * nr; i++) {
		produce(_metadata, self, 1);
		ASSERT_EQ(READABLE, ready(self->fd))
		{
			TH_LOG("event %u", i);
		}
		ASSERT_EQ(1, ring_reap(self->ctx, &event, 1));
		ASSERT_EQ(0, ready(self->fd))
		{
			TH_LOG("event %u", i);
		}
	}
}

TEST_F(context, full_ring)
{
	const int nr = ring_of(self->ctx)->nr - 1;

	produce(_metadata, self, nr);
	EXPECT_EQ(READABLE, ready(self->fd));
}

/* The descriptor is not readable while the request waits. */
TEST_F(context, completed_later)
{
	struct iocb iocb;

	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(0, ready(self->fd));
	EXPECT_EQ(READABLE, ready_soon(self->fd));
	take(_metadata, self->fd, self->ctx, 1);
	EXPECT_EQ(0, ready(self->fd));
}

/* A driver completes the request. */
TEST_F(context, completed_by_interrupt)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	const int direct = reopen(file, O_RDONLY | O_DIRECT);
	char *buf = map_guarded(1);
	struct iocb iocb;
	int i;

	ASSERT_LE(0, direct);
	ASSERT_NE(NULL, buf);
	for (i = 0; i < 100; i++) {
		prep_pread(&iocb, direct, buf, PAGE, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(READABLE, ready_soon(self->fd));
		take(_metadata, self->fd, self->ctx, 1);
		ASSERT_EQ(0, ready(self->fd));
	}
}

TEST_F(context, cancelled)
{
	struct sleeper sleeper;
	struct iocb iocb;
	int ends[2];

	park_reads(_metadata, self, &iocb, 1, ends);
	EXPECT_EQ(0, ready(self->fd));
	ASSERT_TRUE(fall_asleep(&sleeper, wait_until_ready, &self->fd));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	EXPECT_EQ(READABLE, woken(&sleeper));
}

TEST_F(context, wakes_many)
{
	struct sleeper sleepers[4];
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_TRUE(fall_asleep(&sleepers[i], wait_until_ready,
					&self->fd));
	produce(_metadata, self, 1);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(READABLE, woken(&sleepers[i]))
		{
			TH_LOG("thread %d", i);
		}
	}
}

/* Threads that sleep in getevents and in poll are both woken. */
TEST_F(context, beside_getevents)
{
	struct waiter waiter = { self->fd, self->ctx, 1, {} };
	struct sleeper in_getevents, in_poll;

	ASSERT_TRUE(fall_asleep(&in_getevents, wait_for_events, &waiter));
	ASSERT_TRUE(fall_asleep(&in_poll, wait_until_ready, &self->fd));
	produce(_metadata, self, 1);
	EXPECT_EQ(1, woken(&in_getevents));
	/*
	 * The first thread may take the event before the other one looks, but
	 * it takes no second one.
	 */
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, woken(&in_poll));
}

/*
 * The tests below check whose events make the descriptor readable.
 */
TEST_F(context, several_contexts)
{
	__u64 second;

	ASSERT_EQ(0, kaio_setup(self->fd, 1, &second));
	submit_noop(_metadata, self->fd, second);
	EXPECT_EQ(READABLE, ready(self->fd));
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, ready(self->fd));
	take(_metadata, self->fd, second, 1);
	EXPECT_EQ(READABLE, ready(self->fd));
	take(_metadata, self->fd, self->ctx, 1);
	EXPECT_EQ(0, ready(self->fd));
}

TEST_F(context, context_made_while_polled)
{
	struct sleeper sleeper;
	__u64 second;

	ASSERT_TRUE(fall_asleep(&sleeper, wait_until_ready, &self->fd));
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &second));
	submit_noop(_metadata, self->fd, second);
	EXPECT_EQ(READABLE, woken(&sleeper));
}

TEST_F(context, other_open_file)
{
	const int other = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, other);
	produce(_metadata, self, 1);
	EXPECT_EQ(0, ready(other));
	EXPECT_EQ(READABLE, ready(self->fd));
}

TEST_F(context, same_open_file)
{
	const int copy = dup(self->fd);

	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, ready(copy));
}

/* A child has the open file too. */
TEST_F(context, in_child)
{
	int status;
	pid_t pid;

	produce(_metadata, self, 1);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(ready(self->fd) == READABLE ? 0 : 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* The events end with their context. */
TEST_F(context, destroyed)
{
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, ready(self->fd));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, ready(self->fd));
}

TEST_F(context, unmapped)
{
	produce(_metadata, self, 1);
	ASSERT_EQ(0, munmap(ring_of(self->ctx), PAGE));
	EXPECT_TRUE(wait_until(ready(self->fd) == 0));
}

/* The process that submitted the request has exited. */
TEST_F(context, process_exited)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		struct iocb iocb;
		__u64 ctx;

		prep_noop(&iocb, self->fd);
		_exit(kaio_setup(self->fd, 1, &ctx) ||
		      kaio_submit_one(self->fd, ctx, &iocb) != 1 ||
		      ready(self->fd) != READABLE);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(wait_until(ready(self->fd) == 0));
}

TEST_F(context, destroyed_while_polled)
{
	const struct timespec timeout = ms(20);
	struct pollfd pollfd = { .fd = self->fd, .events = ALL };
	struct sleeper sleeper;
	__u64 second;

	ASSERT_TRUE(fall_asleep(&sleeper, wait_until_ready, &self->fd));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, ppoll(&pollfd, 1, &timeout, NULL));
	/* The open file still works. */
	EXPECT_TRUE(is_asleep(&sleeper));
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &second));
	self->ctx = second;
	produce(_metadata, self, 1);
	EXPECT_EQ(READABLE, woken(&sleeper));
}

/* User space writes the head. Poll works with any value. */
TEST_F(context, wrong_head)
{
	const __u32 heads[] = { 1, 126, 127, 128, 0x7fffffff, 0x80000000, ~0U };
	size_t i;

	produce(_metadata, self, 1);
	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		int seen;

		ring_of(self->ctx)->head = heads[i];
		seen = ready(self->fd);
		EXPECT_TRUE(seen == 0 || seen == READABLE)
		{
			TH_LOG("head %#x: %#x", heads[i], seen);
		}
	}
	ring_of(self->ctx)->head = 0;
	EXPECT_EQ(READABLE, ready(self->fd));
}

/*
 * The test below calls select(2).
 */
TEST_F(context, select)
{
	struct timeval at_once = {};
	fd_set in, out, exceptional;

	FD_ZERO(&in);
	FD_SET(self->fd, &in);
	out = exceptional = in;
	EXPECT_EQ(0, select(self->fd + 1, &in, &out, &exceptional, &at_once));
	produce(_metadata, self, 1);
	FD_SET(self->fd, &in);
	out = exceptional = in;
	EXPECT_EQ(1, select(self->fd + 1, &in, &out, &exceptional, &at_once));
	EXPECT_TRUE(FD_ISSET(self->fd, &in));
	EXPECT_FALSE(FD_ISSET(self->fd, &out));
	EXPECT_FALSE(FD_ISSET(self->fd, &exceptional));
}

/*
 * The tests below use epoll(7).
 */
static int make_epoll(int fd, __u32 events)
{
	struct epoll_event event = { .events = events, .data.fd = fd };
	const int epoll = epoll_create1(EPOLL_CLOEXEC);

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -1 : epoll;
}

/*
 * Returns the events that epoll reports, or 0 if it reports none within @msec.
 */
static int report(int epoll, int msec)
{
	struct epoll_event event = {};

	return epoll_wait(epoll, &event, 1, msec) == 1 ? (int)event.events : 0;
}

TEST_F(context, epoll_level)
{
	const int epoll = make_epoll(self->fd, EPOLLIN | EPOLLOUT);
	struct io_event event;
	struct iocb iocb;

	ASSERT_LE(0, epoll);
	EXPECT_EQ(0, report(epoll, 0));
	produce_later(_metadata, self, &iocb, 20);
	EXPECT_EQ(EPOLLIN, report(epoll, PATIENCE_SECONDS * 1000));
	/* A level-triggered epoll repeats its report ... */
	EXPECT_EQ(EPOLLIN, report(epoll, 0));
	EXPECT_EQ(EPOLLIN, report(epoll, 0));
	/* ... until there is no event. */
	ASSERT_EQ(1, ring_reap(self->ctx, &event, 1));
	EXPECT_EQ(0, report(epoll, 0));
}

TEST_F(context, epoll_edge_of_older_event)
{
	int epoll;

	produce(_metadata, self, 1);
	epoll = make_epoll(self->fd, EPOLLIN | EPOLLET);
	ASSERT_LE(0, epoll);
	EXPECT_EQ(EPOLLIN, report(epoll, 0));
	EXPECT_EQ(0, report(epoll, 0));
}

TEST_F(context, epoll_edge)
{
	const int epoll = make_epoll(self->fd, EPOLLIN | EPOLLET);
	int i;

	ASSERT_LE(0, epoll);
	EXPECT_EQ(0, report(epoll, 0));
	/*
	 * Each event makes a new edge, whether or not the events before it were
	 * taken.
	 */
	for (i = 0; i < 5; i++) {
		produce(_metadata, self, 1);
		EXPECT_EQ(EPOLLIN, report(epoll, PATIENCE_SECONDS * 1000))
		{
			TH_LOG("event %d", i);
		}
		EXPECT_EQ(0, report(epoll, 0))
		{
			TH_LOG("event %d", i);
		}
	}
	take(_metadata, self->fd, self->ctx, 5);
	EXPECT_EQ(0, report(epoll, 0));
}

TEST_F(context, epoll_once)
{
	const int epoll = make_epoll(self->fd, EPOLLIN | EPOLLONESHOT);
	struct epoll_event event = { .events = EPOLLIN };

	ASSERT_LE(0, epoll);
	produce(_metadata, self, 1);
	EXPECT_EQ(EPOLLIN, report(epoll, PATIENCE_SECONDS * 1000));
	produce(_metadata, self, 1);
	EXPECT_EQ(0, report(epoll, 0));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_MOD, self->fd, &event));
	EXPECT_EQ(EPOLLIN, report(epoll, 0));
}

TEST_F(context, epoll_of_epoll)
{
	const int inner = make_epoll(self->fd, EPOLLIN);
	const int outer = make_epoll(inner, EPOLLIN);

	ASSERT_LE(0, outer);
	EXPECT_EQ(0, report(outer, 0));
	produce(_metadata, self, 1);
	EXPECT_EQ(EPOLLIN, report(outer, PATIENCE_SECONDS * 1000));
	take(_metadata, self->fd, self->ctx, 1);
	EXPECT_EQ(0, report(outer, 0));
}

static long wait_for_report(void *arg)
{
	return report(*(int *)arg, PATIENCE_SECONDS * 1000);
}

TEST_F(context, epoll_wakes)
{
	int epoll = make_epoll(self->fd, EPOLLIN);
	struct sleeper sleeper;

	ASSERT_LE(0, epoll);
	ASSERT_TRUE(fall_asleep(&sleeper, wait_for_report, &epoll));
	produce(_metadata, self, 1);
	EXPECT_EQ(EPOLLIN, woken(&sleeper));
}

/*
 * A server sleeps in epoll and takes all events it finds. If a wake-up were
 * missing, the server would sleep on.
 */
#define SERVED	5000

struct server {
	FIXTURE_DATA(context) *self;
	int epoll;
	bool in_user_space;
	int taken;
};

static void *serve(void *arg)
{
	struct server *server = arg;
	const int fd = server->self->fd;
	const __u64 ctx = server->self->ctx;
	struct io_event events[NR_EVENTS];
	long n;

	while (server->taken < SERVED) {
		if (report(server->epoll, PATIENCE_SECONDS * 1000) != EPOLLIN)
			break;
		do {
			n = server->in_user_space ?
				    ring_reap(ctx, events, NR_EVENTS) :
				    kaio_getevents(fd, ctx, 0, NR_EVENTS,
						   events, &no_wait);
			__atomic_fetch_add(&server->taken, n, __ATOMIC_RELEASE);
		} while (n > 0);
	}
	return NULL;
}

static void expect_served(struct __test_metadata *const _metadata,
			  FIXTURE_DATA(context) *self, __u32 mode,
			  bool in_user_space)
{
	struct server server = {
		.self = self,
		.epoll = make_epoll(self->fd, EPOLLIN | mode),
		.in_user_space = in_user_space,
	};
	struct iocb iocb;
	pthread_t thread;
	int i;

	ASSERT_LE(0, server.epoll);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &server));
	prep_noop(&iocb, self->fd);
	for (i = 0; i < SERVED; i++) {
		/* In some rounds the server has time to fall asleep. */
		if (i % 3)
			wait_until(__atomic_load_n(&server.taken,
						   __ATOMIC_ACQUIRE) == i);
		ASSERT_TRUE(wait_until(
			kaio_submit_one(self->fd, self->ctx, &iocb) == 1));
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(SERVED, server.taken);
}

TEST_F_TIMEOUT(context, server_level, 120)
{
	expect_served(_metadata, self, 0, false);
}

TEST_F_TIMEOUT(context, server_level_in_user_space, 120)
{
	expect_served(_metadata, self, 0, true);
}

TEST_F_TIMEOUT(context, server_edge, 120)
{
	expect_served(_metadata, self, EPOLLET, false);
}

TEST_F_TIMEOUT(context, server_edge_in_user_space, 120)
{
	expect_served(_metadata, self, EPOLLET, true);
}

/*
 * In the tests below, a request of kaio waits for a descriptor of kaio.
 */
TEST_F(context, request_for_other_device)
{
	const int other = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct iocb poll;
	struct io_event event;
	__u64 ctx;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, kaio_setup(other, 1, &ctx));
	prep_poll(&poll, other, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	submit_noop(_metadata, other, ctx);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(POLLIN, event.res);
	/* The request completes at once while there are events. */
	EXPECT_EQ(POLLIN, kaio_do(self->fd, self->ctx, &poll));
}

/* The request waits for the device through which it was submitted. */
TEST_F(context, request_for_itself)
{
	struct io_event events[2];
	struct iocb poll;

	prep_poll(&poll, self->fd, POLLIN);
	poll.aio_data = 42;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	produce(_metadata, self, 1);
	/* Take no event before both are there: the POLL waits for the first. */
	ASSERT_EQ(2, kaio_peek(self->fd, self->ctx, 2, 2, &patience));
	ASSERT_EQ(2, ring_reap(self->ctx, events, 2));
	EXPECT_EQ(0, events[0].data);
	EXPECT_EQ(42, events[1].data);
	EXPECT_EQ(POLLIN, events[1].res);
	EXPECT_STAT(0, self->fd, "inflight");
}

/* The event of each request makes the descriptor readable for the others. */
TEST_F(context, many_requests_for_itself)
{
	struct io_event events[NR_EVENTS];
	struct iocb polls[NR_EVENTS];
	int i;

	for (i = 0; i < NR_EVENTS - 1; i++) {
		prep_poll(&polls[i], self->fd, POLLIN);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &polls[i]));
	}
	produce(_metadata, self, 1);
	ASSERT_EQ(NR_EVENTS, kaio_peek(self->fd, self->ctx, NR_EVENTS,
				       NR_EVENTS, &patience));
	ASSERT_EQ(NR_EVENTS, ring_reap(self->ctx, events, NR_EVENTS));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
}

/* The request holds the file that it waits for, and the exit still ends it. */
TEST_F(context, exit_with_request_for_itself)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		struct iocb poll;
		__u64 ctx;

		if (kaio_setup(fd, 1, &ctx))
			_exit(1);
		prep_poll(&poll, fd, POLLIN);
		_exit(kaio_submit_one(fd, ctx, &poll) != 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

TEST_F(context, unmap_with_request_for_itself)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct iocb poll;
	__u64 ctx;

	ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
	prep_poll(&poll, fd, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(fd, ctx, &poll));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, munmap(ring_of(ctx), PAGE));
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

TEST_F(context, destroy_with_request_for_itself)
{
	struct iocb poll;

	prep_poll(&poll, self->fd, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_EQ(0, ready(self->fd));
}

/* Each device waits for the next, and the last one for the first. */
#define CHAIN	100

TEST_F_TIMEOUT(context, chain, 60)
{
	struct iocb polls[CHAIN];
	int fds[CHAIN], i;
	__u64 ctx[CHAIN];
	struct io_event event = {};

	for (i = 0; i < CHAIN; i++) {
		fds[i] = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, kaio_setup(fds[i], 2, &ctx[i]));
	}
	for (i = 0; i < CHAIN; i++) {
		prep_poll(&polls[i], fds[(i + 1) % CHAIN], POLLIN);
		ASSERT_EQ(1, kaio_submit_one(fds[i], ctx[i], &polls[i]))
		{
			TH_LOG("link %d", i);
		}
	}
	EXPECT_TRUE(stays_quiet(fds[0], ctx[0]));
	/* One request ends, and the others follow one after the other. */
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(fds[50], ctx[50], &polls[50]));
	/* Events stay in their rings until all requests have seen them. */
	for (i = 0; i < CHAIN; i++) {
		ASSERT_EQ(1, kaio_peek(fds[i], ctx[i], 1, 2, &patience))
		{
			TH_LOG("link %d", i);
		}
	}
	for (i = 0; i < CHAIN; i++) {
		ASSERT_EQ(1, ring_reap(ctx[i], &event, 2));
		EXPECT_EQ(i == 50 ? 0 : POLLIN, event.res);
	}
}

/* The request waits through an epoll file, which has its own locks. */
TEST_F(context, request_for_epoll_of_itself)
{
	const int epoll = make_epoll(self->fd, EPOLLIN);
	struct io_event events[2];
	struct iocb poll;

	ASSERT_LE(0, epoll);
	prep_poll(&poll, epoll, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	produce(_metadata, self, 1);
	ASSERT_EQ(2, kaio_peek(self->fd, self->ctx, 2, 2, &patience));
	ASSERT_EQ(2, ring_reap(self->ctx, events, 2));
	EXPECT_EQ(POLLIN, events[1].res);
}

/* The request waits for the eventfd that counts its completion. */
TEST_F(context, request_with_eventfd_in_epoll)
{
	const int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int epoll = make_epoll(counter, EPOLLIN);
	struct epoll_event add = { .events = EPOLLIN };
	struct io_event events[2];
	struct iocb poll, noop;
	__u64 count = 0, sum = 0;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &add));
	prep_poll(&poll, epoll, POLLIN);
	poll.aio_flags = IOCB_FLAG_RESFD;
	poll.aio_resfd = counter;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	prep_noop(&noop, self->fd);
	noop.aio_flags = IOCB_FLAG_RESFD;
	noop.aio_resfd = counter;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &noop));
	ASSERT_EQ(2, kaio_peek(self->fd, self->ctx, 2, 2, &patience));
	ASSERT_EQ(2, ring_reap(self->ctx, events, 2));
	EXPECT_TRUE(wait_until(
		(sum += read(counter, &count, 8) == 8 ? count : 0) == 2));
}

/*
 * The descriptor is closed while epoll watches it.
 */
TEST_F(context, closed_in_epoll)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	const int epoll = make_epoll(fd, EPOLLIN);
	__u64 ctx;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
	submit_noop(_metadata, fd, ctx);
	EXPECT_EQ(EPOLLIN, report(epoll, 0));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(0, report(epoll, 0));
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

/* A request completes after all descriptors are closed. */
TEST_F(context, closed_with_requests_in_epoll)
{
	int ends[2], round;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	for (round = 0; round < 100; round++) {
		const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		const int epoll = make_epoll(fd, EPOLLIN);
		struct iocb iocb;
		__u64 ctx;
		char c;

		ASSERT_LE(0, epoll);
		ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
		prep_pread(&iocb, ends[0], &c, 1, 0);
		ASSERT_EQ(1, kaio_submit_one(fd, ctx, &iocb));
		ASSERT_EQ(1, write(ends[1], "x", 1));
		ASSERT_EQ(0, close(round & 1 ? epoll : fd));
		ASSERT_EQ(0, close(round & 1 ? fd : epoll));
		/* The request may have read the byte. */
		ASSERT_EQ(0, fcntl(ends[0], F_SETFL, O_NONBLOCK));
		(void)!read(ends[0], &c, 1);
		ASSERT_EQ(0, fcntl(ends[0], F_SETFL, 0));
	}
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

/* A thread that sleeps in poll(2) keeps the open file. */
TEST_F(context, closed_while_polled)
{
	int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct sleeper sleeper;
	struct iocb iocb;
	int ends[2];
	__u64 ctx;
	char c;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(fd, ctx, &iocb));
	ASSERT_TRUE(fall_asleep(&sleeper, wait_until_ready, &fd));
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	/* The thread wakes up, and its descriptor does not exist any more. */
	EXPECT_EQ(POLLNVAL, woken(&sleeper));
	/* The context ends with the open file. */
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

/* A request that waits for the open file keeps it as well. */
TEST_F(context, closed_with_request_for_it)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct io_event event;
	struct iocb poll;
	__u64 ctx;

	ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
	prep_poll(&poll, fd, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &poll));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS) + kaio_capacity(1), kaio_nr(self->fd));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &poll));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) ==
			       self->nr_before + kaio_capacity(NR_EVENTS)));
}

TEST_HARNESS_MAIN
