// SPDX-License-Identifier: GPL-2.0
/*
 * Tests transfers on files that may never be ready: pipes, sockets, eventfds
 * and terminals. Submission never waits for them.
 */
#include <pty.h>

#include "context_fixture.h"
#include "streams.h"

FIXTURE(stream)
{
	struct stream s;
	struct io_event event;
};

FIXTURE_VARIANT(stream)
{
	/* 0 stands for a pipe. */
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
	if (stream_set_up(_metadata, &self->s, variant->domain, variant->type))
		signal(SIGPIPE, SIG_IGN);
}

FIXTURE_TEARDOWN(stream)
{
	EXPECT_LT(0, kaio_stat(self->s.fd, "submitted"));
	EXPECT_EQ(0, kaio_destroy(self->s.fd, self->s.ctx));
	EXPECT_STAT(0, self->s.fd, "inflight");
	EXPECT_STAT(kaio_stat(self->s.fd, "submitted"),
		  self->s.fd, "completed");
	close(self->s.fd);
}

static bool no_event(FIXTURE_DATA(stream) *self)
{
	return stays_quiet(self->s.fd, self->s.ctx);
}

TEST_F(stream, read_ready)
{
	struct iocb iocb;
	char buf[16] = {};

	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	prep_pread(&iocb, self->s.in, buf, sizeof(buf), 0);
	EXPECT_EQ(5, kaio_do(self->s.fd, self->s.ctx, &iocb));
	EXPECT_STREQ("hello", buf);
	EXPECT_EQ(1, kaio_stat(self->s.fd, "inline"));
	EXPECT_EQ(0, kaio_stat(self->s.fd, "parked"));
}

TEST_F(stream, read_parks)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pread(&iocb, self->s.in, buf, sizeof(buf), 0);
	/* If the submit call waited, it would wait for ever. */
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	EXPECT_STAT(1, self->s.fd, "inflight");
	EXPECT_EQ(1, kaio_stat(self->s.fd, "parked"));
	EXPECT_STAT(0, self->s.fd, "completed");
	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_EQ((uintptr_t)&iocb, self->event.obj);
	EXPECT_STREQ("hello", buf);
	EXPECT_EQ(0, kaio_stat(self->s.fd, "inline"));
}

TEST_F(stream, readv_parks)
{
	char first[3] = {}, second[16] = {}, never[4] = {};
	struct iovec iov[] = { { first, 2 }, { second, 16 } };
	struct iocb iocb;

	prep_preadv(&iocb, self->s.in, iov, 2, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	/* The request no longer needs the vector or the iocb. */
	iov[0].iov_base = iov[1].iov_base = never;
	memset(&iocb, 0xff, sizeof(iocb));
	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("he", first);
	EXPECT_STREQ("llo", second);
	EXPECT_STREQ("", never);
}

TEST_F(stream, read_end)
{
	struct iocb iocb;
	char c;

	prep_pread(&iocb, self->s.in, &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	close(self->s.out);
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(0, self->event.res);
}

TEST_F(stream, reads_in_turn)
{
	struct iocb iocbs[8], *pointers[8];
	char buf[8] = {};
	bool seen[8] = {};
	int i;

	for (i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->s.in, &buf[i], 1, 0);
		iocbs[i].aio_data = i;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(8, kaio_submit(self->s.fd, self->s.ctx, 8, pointers));
	EXPECT_STAT(8, self->s.fd, "inflight");
	for (i = 0; i < 8; i++) {
		const char c = 'a' + i;

		ASSERT_EQ(1, write(self->s.out, &c, 1));
		ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
		EXPECT_EQ(1, self->event.res);
		ASSERT_GT(8, self->event.data);
		EXPECT_FALSE(seen[self->event.data]);
		seen[self->event.data] = true;
		EXPECT_EQ(c, buf[self->event.data]);
	}
}

/*
 * Expects that the read @iocb of one byte, into @c, does not wait for data.
 */
static void expect_no_wait(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(stream) *self, struct iocb *iocb,
			   const char *c)
{
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, iocb));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EAGAIN, self->event.res);
	ASSERT_EQ(1, write(self->s.out, "x", 1));
	EXPECT_EQ(1, kaio_do(self->s.fd, self->s.ctx, iocb));
	EXPECT_EQ('x', *c);
}

TEST_F(stream, nonblock)
{
	struct iocb iocb;
	char c;

	ASSERT_EQ(0, fcntl(self->s.in, F_SETFL, O_NONBLOCK));
	prep_pread(&iocb, self->s.in, &c, 1, 0);
	expect_no_wait(_metadata, self, &iocb, &c);
	EXPECT_EQ(0, kaio_stat(self->s.fd, "parked"));
}

TEST_F(stream, nowait_flag)
{
	struct iocb iocb;
	char c;

	prep_pread(&iocb, self->s.in, &c, 1, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	expect_no_wait(_metadata, self, &iocb, &c);
}

TEST_F(stream, write_ready)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pwrite(&iocb, self->s.out, "hello", 5, 0);
	EXPECT_EQ(5, kaio_do(self->s.fd, self->s.ctx, &iocb));
	ASSERT_EQ(5, read(self->s.in, buf, sizeof(buf)));
	EXPECT_STREQ("hello", buf);
}

TEST_F(stream, write_parks)
{
	static char junk[1 << 20];
	struct iocb iocb;
	size_t sum = 0;
	ssize_t n;

	EXPECT_LT(0, fill_fd(self->s.out));
	prep_pwrite(&iocb, self->s.out, "hello", 5, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	EXPECT_STAT(1, self->s.fd, "inflight");
	fcntl(self->s.in, F_SETFL, O_NONBLOCK);
	/*
	 * The write goes on as the reader drains the stream. Its bytes come
	 * last.
	 */
	while (kaio_getevents(self->s.fd, self->s.ctx, 0, 1, &self->event,
			      &no_wait) == 0) {
		n = read(self->s.in, junk, sizeof(junk));
		if (n > 0)
			sum = n;
	}
	EXPECT_EQ(5, self->event.res);
	while ((n = read(self->s.in, junk, sizeof(junk))) > 0)
		sum = n;
	ASSERT_LE(5, sum);
	EXPECT_EQ(0, memcmp(junk + sum - 5, "hello", 5));
}

/* The request completes when all bytes are written, as write(2) does. */
TEST_F(stream, write_all)
{
	const size_t len = 1 << 20;
	static char out[1 << 20], in[1 << 20];
	struct iocb iocb;
	size_t sum = 0;
	ssize_t n;

	fill_pattern(out, len, 1, 0);
	prep_pwrite(&iocb, self->s.out, out, len, 0);
	if (variant->type == SOCK_SEQPACKET) {
		/* A packet is sent as a whole, and its size is limited. */
		EXPECT_EQ(-EMSGSIZE, kaio_do(self->s.fd, self->s.ctx, &iocb));
		return;
	}
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	while (sum < len) {
		n = read(self->s.in, in + sum, len - sum);
		ASSERT_LT(0, n);
		sum += n;
	}
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ((long)len, self->event.res);
	EXPECT_TRUE(is_pattern(in, len, 1, 0));
}

TEST_F(stream, write_without_reader)
{
	struct iocb iocb;

	close(self->s.in);
	prep_pwrite(&iocb, self->s.out, "x", 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EPIPE, self->event.res);
}

TEST_F(stream, reader_closes)
{
	struct iocb iocb;

	fill_fd(self->s.out);
	prep_pwrite(&iocb, self->s.out, "x", 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_TRUE(no_event(self));
	close(self->s.in);
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_TRUE(self->event.res == -EPIPE || self->event.res == -ECONNRESET)
	{
		TH_LOG("res %lld", self->event.res);
	}
}

TEST_F(stream, own_end_closed)
{
	struct iocb iocb;
	char buf[16] = {};

	prep_pread(&iocb, self->s.in, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	/* The request holds the file. */
	close(self->s.in);
	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(5, self->event.res);
	EXPECT_STREQ("hello", buf);
}

TEST_F(stream, buffer_unmapped)
{
	char *buf = map_guarded(1);
	struct iocb iocb;

	ASSERT_NE(NULL, buf);
	prep_pread(&iocb, self->s.in, buf, 16, 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	ASSERT_EQ(0, munmap(buf, PAGE));
	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_EQ(-EFAULT, self->event.res);
}

TEST_F(stream, counted_by_eventfd)
{
	const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct iocb iocb;
	__u64 count;
	char c;

	prep_pread(&iocb, self->s.in, &c, 1, 0);
	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = event;
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_EQ(-1, read(event, &count, sizeof(count)));
	/* The request holds the eventfd too. */
	const int copy = dup(event);

	close(event);
	ASSERT_EQ(1, write(self->s.out, "x", 1));
	ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
	EXPECT_TRUE(wait_until(read(copy, &count, sizeof(count)) == 8));
	EXPECT_EQ(1, count);
}

TEST_F(stream, offset)
{
	struct iocb iocb;
	char c = 0;

	ASSERT_EQ(1, write(self->s.out, "x", 1));
	prep_pread(&iocb, self->s.in, &c, 1, 1);
	if (variant->domain) {
		ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
		ASSERT_EQ(1, kaio_wait(self->s.fd, self->s.ctx, 1, &self->event));
		EXPECT_EQ(-ESPIPE, self->event.res);
	} else {
		EXPECT_EQ(1, kaio_do(self->s.fd, self->s.ctx, &iocb));
		EXPECT_EQ('x', c);
	}
}

TEST_F(stream, destroy_cancels)
{
	struct iocb iocb;
	char buf[8] = {};
	const __s64 start = now_ns();

	prep_pread(&iocb, self->s.in, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->s.fd, self->s.ctx, &iocb));
	EXPECT_EQ(0, kaio_destroy(self->s.fd, self->s.ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_STAT(0, self->s.fd, "inflight");
	/*
	 * The data goes to another reader now, and the buffer is no longer in
	 * use.
	 */
	ASSERT_EQ(5, write(self->s.out, "hello", 5));
	ASSERT_EQ(5, read(self->s.in, buf + 1, 6));
	EXPECT_EQ(0, buf[0]);
	/* The teardown destroys a context. */
	ASSERT_EQ(0, kaio_setup(self->s.fd, 1, &self->s.ctx));
}

/*
 * The tests below use other files that a request can wait for.
 */

/*
 * A write has the credentials of its submitter, whatever task does it.
 */
static int send_as_other_user(int fd, int out)
{
	__u64 ctx;
	struct iocb iocb;

	if (setresgid(65533, 65533, 65533) || setresuid(65534, 65534, 65534))
		return 2;
	/* A child cannot use the context of its parent. */
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
	EXPECT_LT(0, fill_fd(ends[1]));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(send_as_other_user(self->fd, ends[1]));
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
	EXPECT_STAT(1, self->fd, "inflight");
	EXPECT_EQ(0, eventfd_write(file, 42));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(8, event.res);
	EXPECT_EQ(42, count);
}

/* The request reads the same eventfd that counts its completion. */
TEST_F(context, eventfd_counts_its_own_read)
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

/* At its maximum the counter keeps its value, and no event is lost. */
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
