// SPDX-License-Identifier: GPL-2.0
/*
 * Tests parked requests and wake-ups that are easy to lose: an end of file that
 * comes while others compete for the data, and sockets that return EAGAIN for
 * ever.
 */

#include "context_fixture.h"
#include "streams.h"

/*
 * Datagram sockets that are shut down return EAGAIN to an attempt that may not
 * wait.
 */
FIXTURE(datagram)
{
	int fd;
	__u64 ctx;
	int ends[2];
};

FIXTURE_VARIANT(datagram)
{
	int family;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(datagram, unix_socket) {
	.family = AF_UNIX,
};

FIXTURE_VARIANT_ADD(datagram, udp) {
	.family = AF_INET,
};
/* clang-format on */

FIXTURE_SETUP(datagram)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	if (variant->family == AF_UNIX) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, self->ends));
		return;
	}
	self->ends[0] = socket(AF_INET, SOCK_DGRAM, 0);
	self->ends[1] = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_TRUE(bind_to_loopback(self->ends[0], &addr));
	ASSERT_EQ(0, connect(self->ends[1], (struct sockaddr *)&addr, len));
	ASSERT_EQ(0, getsockname(self->ends[1], (struct sockaddr *)&addr, &len));
	/* shutdown(2) needs a connected socket. */
	ASSERT_EQ(0, connect(self->ends[0], (struct sockaddr *)&addr, len));
}

FIXTURE_TEARDOWN(datagram)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
	close(self->ends[0]);
	close(self->ends[1]);
}

TEST_F_TIMEOUT(datagram, shut_down_while_parked, 60)
{
	struct io_event event;
	struct iocb iocb;
	char buf[16];

	prep_pread(&iocb, self->ends[0], buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event, &no_wait));
	ASSERT_EQ(0, shutdown(self->ends[0], SHUT_RD));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
}

TEST_F_TIMEOUT(datagram, shut_down_before, 60)
{
	struct iocb iocb;
	char buf[16];

	ASSERT_EQ(0, shutdown(self->ends[0], SHUT_RD));
	prep_pread(&iocb, self->ends[0], buf, sizeof(buf), 0);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F_TIMEOUT(datagram, one_message_per_read, 60)
{
	struct iocb iocbs[8], *pointers[8];
	struct io_event events[8];
	char bufs[8][16];
	bool seen[9] = {};
	int i;

	for (i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->ends[0], bufs[i], sizeof(bufs[i]), 0);
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(8, kaio_submit(self->fd, self->ctx, 8, pointers));
	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(i, send(self->ends[1], "12345678", i, 0))
		{
			TH_LOG("message %d", i);
		}
	}
	ASSERT_EQ(8, kaio_wait(self->fd, self->ctx, 8, events));
	for (i = 0; i < 8; i++) {
		ASSERT_LT(0, events[i].res)
		{
			TH_LOG("event %d", i);
		}
		ASSERT_GE(8, events[i].res)
		{
			TH_LOG("event %d", i);
		}
		EXPECT_FALSE(seen[events[i].res])
		{
			TH_LOG("length %lld twice", events[i].res);
		}
		seen[events[i].res] = true;
	}
}

struct rival {
	int pipe;
	bool stop;
};

static void *read_as_rival(void *arg)
{
	struct rival *rival = arg;
	char c;

	while (!__atomic_load_n(&rival->stop, __ATOMIC_RELAXED))
		if (read(rival->pipe, &c, 1) == 0)
			break;
	return NULL;
}

/*
 * Another thread reads the same pipe, so a parked read is woken for bytes that
 * are gone when it runs. In any case the end of the pipe ends it.
 */
TEST_F_TIMEOUT(context, end_after_wakeups_without_data, 120)
{
	const int rounds = 100;
	int i, k;

	for (i = 0; i < rounds; i++) {
		struct iocb iocbs[4], *pointers[4];
		struct io_event events[4];
		struct rival rival = {};
		char bufs[4][4];
		pthread_t thread;
		int ends[2];
		long sum = 0, want = 0;

		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
		rival.pipe = fcntl(ends[0], F_DUPFD_CLOEXEC, 0);
		ASSERT_EQ(0, fcntl(rival.pipe, F_SETFL, 0));
		for (k = 0; k < 4; k++) {
			prep_pread(&iocbs[k], ends[0], bufs[k], 4, 0);
			pointers[k] = &iocbs[k];
		}
		ASSERT_EQ(4, kaio_submit(self->fd, self->ctx, 4, pointers));
		ASSERT_EQ(0, pthread_create(&thread, NULL, read_as_rival, &rival));
		for (k = 0; k < 3; k++)
			want += write(ends[1], "x", 1);
		close(ends[1]);
		ASSERT_EQ(4, kaio_wait(self->fd, self->ctx, 4, events))
		{
			TH_LOG("round %d", i);
		}
		for (k = 0; k < 4; k++) {
			ASSERT_LE(0, events[k].res)
			{
				TH_LOG("round %d", i);
			}
			sum += events[k].res;
		}
		EXPECT_LE(sum, want);
		__atomic_store_n(&rival.stop, true, __ATOMIC_RELAXED);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		close(rival.pipe);
		close(ends[0]);
	}
}

TEST_HARNESS_MAIN
