// SPDX-License-Identifier: GPL-2.0
/*
 * Transfers on files that may never be ready: pipes, sockets, eventfds,
 * terminals. Submission never waits for them.
 */
#include <pty.h>

#include "context_fixture.h"

/* Two ends: what is written to @out can be read from @in. */
FIXTURE(stream)
{
	int fd;
	__u64 ctx;
	int in;
	int out;
	struct io_event event;
};

FIXTURE_VARIANT(stream)
{
	/* 0: a pipe. */
	int domain;
	int type;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(stream, pipe) {};
FIXTURE_VARIANT_ADD(stream, socket) {
	.domain = AF_UNIX, .type = SOCK_STREAM,
};
FIXTURE_VARIANT_ADD(stream, seqpacket) {
	.domain = AF_UNIX, .type = SOCK_SEQPACKET,
};
/* clang-format on */

FIXTURE_SETUP(stream)
{
	int ends[2];

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	ASSERT_EQ(0, variant->domain ?
			     socketpair(variant->domain,
					variant->type | SOCK_CLOEXEC, 0, ends) :
			     pipe2(ends, O_CLOEXEC));
	self->in = ends[0];
	self->out = ends[1];
	signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(stream)
{
	EXPECT_LT(0, kaio_stat(self->fd, "submitted"));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(0, kaio_stat(self->fd, "inflight"));
	EXPECT_EQ(kaio_stat(self->fd, "submitted"),
		  kaio_stat(self->fd, "completed"));
	close(self->fd);
}

/* Fill @out until it would block; returns how many bytes. */
static size_t stuff(int out)
{
	const int flags = fcntl(out, F_GETFL);
	static const char junk[PAGE];
	size_t sum = 0;
	ssize_t n;

	fcntl(out, F_SETFL, flags | O_NONBLOCK);
	while ((n = write(out, junk, sizeof(junk))) > 0)
		sum += n;
	fcntl(out, F_SETFL, flags);
	return sum;
}

static bool no_event(FIXTURE_DATA(stream) *self)
{
	const struct timespec moment = { .tv_nsec = 20 * NSEC_PER_MSEC };

	return !kaio_getevents(self->fd, self->ctx, 1, 1, &self->event,
			       &moment);
}

TEST_F(stream, read_ready)
{
	struct iocb iocb;
	char buf[16] = {};

	ASSERT_EQ(5, write(self->out, "hello", 5));
	prep_pread(&iocb, self->in, buf, sizeof(buf), 0);
	EXPECT_EQ(5, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_STREQ("hello", buf);
	EXPECT_EQ(1, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
}

TEST_F(stream, read_parks)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pread(&iocb, self->in, buf, sizeof(buf), 0);
	/* Were it to wait, it would wait for ever. */
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(1, kaio_stat(self->fd, "inflight"));
	EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	EXPECT_EQ(0, kaio_stat(self->fd, "completed"));
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_EQ((uintptr_t)&iocb, self->event.obj);
	EXPECT_STREQ("hello", buf);
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
}

TEST_F(stream, readv_parks)
{
	char first[3] = {}, second[16] = {}, never[4] = {};
	struct iovec iov[] = { { first, 2 }, { second, 16 } };
	struct iocb iocb;

	prep_preadv(&iocb, self->in, iov, 2, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* What the request needs it has by now. */
	iov[0].iov_base = iov[1].iov_base = never;
	memset(&iocb, 0xff, sizeof(iocb));
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("he", first);
	EXPECT_STREQ("llo", second);
	EXPECT_STREQ("", never);
}

TEST_F(stream, read_end)
{
	struct iocb iocb;
	char c;

	prep_pread(&iocb, self->in, &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	close(self->out);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(0, self->event.res);
}

TEST_F(stream, reads_in_turn)
{
	struct iocb iocbs[8], *pointers[8];
	char buf[8] = {};
	bool seen[8] = {};
	int i;

	for (i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->in, &buf[i], 1, 0);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(8, kaio_submit(self->fd, self->ctx, 8, pointers));
	EXPECT_EQ(8, kaio_stat(self->fd, "inflight"));
	for (i = 0; i < 8; i++) {
		const char c = 'a' + i;

		ASSERT_EQ(1, write(self->out, &c, 1));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
		EXPECT_EQ(1, self->event.res);
		ASSERT_GT(8, self->event.data);
		EXPECT_FALSE(seen[self->event.data]);
		seen[self->event.data] = true;
		EXPECT_EQ(c, buf[self->event.data]);
	}
}

TEST_F(stream, nonblock)
{
	struct iocb iocb;
	char c;

	ASSERT_EQ(0, fcntl(self->in, F_SETFL, O_NONBLOCK));
	prep_pread(&iocb, self->in, &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EAGAIN, self->event.res);
	ASSERT_EQ(1, write(self->out, "x", 1));
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ('x', c);
	EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
}

TEST_F(stream, nowait_flag)
{
	struct iocb iocb;
	char c;

	prep_pread(&iocb, self->in, &c, 1, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EAGAIN, self->event.res);
	ASSERT_EQ(1, write(self->out, "x", 1));
	EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ('x', c);
}

TEST_F(stream, write_ready)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pwrite(&iocb, self->out, "hello", 5, 0);
	EXPECT_EQ(5, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(5, read(self->in, buf, sizeof(buf)));
	EXPECT_STREQ("hello", buf);
}

TEST_F(stream, write_parks)
{
	static char junk[1 << 20];
	struct iocb iocb;
	size_t sum = 0;
	ssize_t n;

	EXPECT_LT(0, stuff(self->out));
	prep_pwrite(&iocb, self->out, "hello", 5, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	EXPECT_EQ(1, kaio_stat(self->fd, "inflight"));
	fcntl(self->in, F_SETFL, O_NONBLOCK);
	/* Drained, it goes on; what it wrote is what comes last. */
	while (kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
			      &no_wait) == 0) {
		n = read(self->in, junk, sizeof(junk));
		if (n > 0)
			sum = n;
	}
	EXPECT_EQ(5, self->event.res);
	while ((n = read(self->in, junk, sizeof(junk))) > 0)
		sum = n;
	ASSERT_LE(5, sum);
	EXPECT_EQ(0, memcmp(junk + sum - 5, "hello", 5));
}

/* More than fits is written to the end, as write(2) does. */
TEST_F(stream, write_all)
{
	const size_t len = 1 << 20;
	static char out[1 << 20], in[1 << 20];
	struct iocb iocb;
	size_t sum = 0;
	ssize_t n;

	fill_pattern(out, len, 1, 0);
	prep_pwrite(&iocb, self->out, out, len, 0);
	if (variant->type == SOCK_SEQPACKET) {
		/* A packet goes as a whole, and has a largest size. */
		EXPECT_EQ(-EMSGSIZE, kaio_do(self->fd, self->ctx, &iocb));
		return;
	}
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	while (sum < len) {
		n = read(self->in, in + sum, len - sum);
		ASSERT_LT(0, n);
		sum += n;
	}
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ((long)len, self->event.res);
	EXPECT_TRUE(is_pattern(in, len, 1, 0));
}

TEST_F(stream, write_without_reader)
{
	struct iocb iocb;

	close(self->in);
	prep_pwrite(&iocb, self->out, "x", 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EPIPE, self->event.res);
}

TEST_F(stream, reader_goes_away)
{
	struct iocb iocb;

	stuff(self->out);
	prep_pwrite(&iocb, self->out, "x", 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	close(self->in);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_TRUE(self->event.res == -EPIPE || self->event.res == -ECONNRESET)
	{
		TH_LOG("res %lld", self->event.res);
	}
}

TEST_F(stream, own_end_closed)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pread(&iocb, self->in, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* The request holds the file. */
	close(self->in);
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("hello", buf);
}

TEST_F(stream, buffer_goes_away)
{
	char *buf = map_guarded(1);
	struct iocb iocb;

	ASSERT_NE(NULL, buf);
	prep_pread(&iocb, self->in, buf, 16, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, munmap(buf, PAGE));
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(-EFAULT, self->event.res);
}

TEST_F(stream, counted_by_eventfd)
{
	const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct iocb iocb;
	__u64 count;
	char c;

	prep_pread(&iocb, self->in, &c, 1, 0);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = event;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(-1, read(event, &count, sizeof(count)));
	/* The request holds the eventfd too. */
	const int copy = dup(event);

	close(event);
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_TRUE(wait_until(read(copy, &count, sizeof(count)) == 8));
	EXPECT_EQ(1, count);
}

TEST_F(stream, offset)
{
	struct iocb iocb;
	char c = 0;

	ASSERT_EQ(1, write(self->out, "x", 1));
	prep_pread(&iocb, self->in, &c, 1, 1);
	if (variant->domain) {
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
		EXPECT_EQ(-ESPIPE, self->event.res);
	} else {
		EXPECT_EQ(1, kaio_do(self->fd, self->ctx, &iocb));
		EXPECT_EQ('x', c);
	}
}

TEST_F(stream, destroy_cancels)
{
	struct iocb iocb;
	char buf[8] = {};
	const __s64 start = now_ns();

	prep_pread(&iocb, self->in, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_EQ(0, kaio_stat(self->fd, "inflight"));
	/* The data is for somebody else now, the buffer no more in use. */
	ASSERT_EQ(5, write(self->out, "hello", 5));
	ASSERT_EQ(5, read(self->in, buf + 1, 6));
	EXPECT_EQ(0, buf[0]);
	/* For the teardown. */
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &self->ctx));
}

/*
 * Others that can be waited for.
 */
/*
 * Who sends: the submitter, whoever does the work.
 */
static int send_as_nobody(int fd, int out)
{
	__u64 ctx;
	struct iocb iocb;

	if (setresgid(65533, 65533, 65533) || setresuid(65534, 65534, 65534))
		return 2;
	/* The parent's context is not the child's. */
	if (kaio_setup(fd, 1, &ctx))
		return 3;
	prep_pwrite(&iocb, out, "hello", 5, 0);
	return kaio_do(fd, ctx, &iocb) == 5 ? 0 : 4;
}

TEST_F(context, credentials)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(struct ucred))];
	} control = {};
	static char junk[1 << 20];
	struct iovec iov = { junk, sizeof(junk) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct ucred cred = { .uid = 0 };
	const int on = 1;
	int ends[2], status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	ASSERT_EQ(0, setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on,
				sizeof(on)));
	EXPECT_LT(0, stuff(ends[1]));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(send_as_nobody(self->fd, ends[1]));
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 1));
	do {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		ASSERT_LT(0, recvmsg(ends[0], &msg, 0));
		ASSERT_NE(NULL, CMSG_FIRSTHDR(&msg));
		memcpy(&cred, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(cred));
	} while (cred.uid == 0);
	EXPECT_EQ(65534, cred.uid);
	EXPECT_EQ(65533, cred.gid);
	EXPECT_EQ(0, memcmp(junk, "hello", 5));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(context, eventfd)
{
	const int file = eventfd(0, EFD_CLOEXEC);
	struct io_event event;
	struct iocb iocb;
	__u64 count = 0;

	prep_pread(&iocb, file, &count, sizeof(count), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &no_wait));
	EXPECT_EQ(1, kaio_stat(self->fd, "inflight"));
	EXPECT_EQ(0, eventfd_write(file, 42));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(8, event.res);
	EXPECT_EQ(42, count);
}

/* The eventfd that counts completions is the one that is waited for. */
TEST_F(context, eventfd_of_itself)
{
	const int file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct io_event events[2];
	struct iocb iocb;
	__u64 count = 0, left;

	fcntl(file, F_SETFL, 0);
	prep_pread(&iocb, file, &count, sizeof(count), 0);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = file;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, eventfd_write(file, 1));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, events));
	EXPECT_EQ(8, events[0].res);
	EXPECT_EQ(1, count);
	fcntl(file, F_SETFL, O_NONBLOCK);
	EXPECT_TRUE(wait_until(read(file, &left, sizeof(left)) == 8));
	EXPECT_EQ(1, left);
}

/* At its maximum the counter stays there, and nothing is lost. */
TEST_F(context, eventfd_at_maximum)
{
	const int file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct iocb iocb;

	ASSERT_EQ(0, eventfd_write(file, 0xfffffffffffffffeULL));
	prep_noop(&iocb, self->fd);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = file;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

TEST_F(context, timerfd)
{
	const struct itimerspec soon = {
		.it_value.tv_nsec = 20 * NSEC_PER_MSEC,
	};
	const int file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	const __s64 start = now_ns();
	struct iocb iocb;
	__u64 count = 0;

	prep_pread(&iocb, file, &count, sizeof(count), 0);
	ASSERT_EQ(0, timerfd_settime(file, 0, &soon, NULL));
	EXPECT_EQ(8, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(1, count);
	EXPECT_LE(20 * NSEC_PER_MSEC, now_ns() - start);
}

TEST_F(context, terminal)
{
	struct io_event event;
	struct iocb iocb;
	int leader, follower;
	char buf[16] = {};

	if (openpty(&leader, &follower, NULL, NULL, NULL))
		SKIP(return, "there are no terminals");
	prep_pread(&iocb, follower, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 1, 1, &event,
				    &no_wait));
	ASSERT_EQ(3, write(leader, "ab\n", 3));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(3, event.res);
	EXPECT_STREQ("ab\n", buf);
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

TEST_HARNESS_MAIN
