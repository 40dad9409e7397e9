// SPDX-License-Identifier: GPL-2.0
/*
 * What is done for a submitter is done as the submitter, or by it: namespaces,
 * signals, files without IOCB_NOWAIT, and requests that outlive it.
 */
#include <sched.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>

#include "context_fixture.h"

/*
 * A kworker has the first UTS namespace: a file that shows the reader's must
 * not be read there.
 */
TEST_F(context, own_namespace)
{
	struct utsname before, after;
	char name[64] = {};
	struct iocb iocb;
	int file, status;
	pid_t pid;

	ASSERT_EQ(0, uname(&before));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 ctx;

		if (unshare(CLONE_NEWUTS) || sethostname("kaio-inner", 10))
			_exit(1);
		file = open("/proc/sys/kernel/hostname", O_RDWR);
		if (file < 0 || kaio_setup(self->fd, 4, &ctx))
			_exit(2);
		prep_pread(&iocb, file, name, sizeof(name), 0);
		if (kaio_do(self->fd, ctx, &iocb) != 11)
			_exit(3);
		if (strcmp(name, "kaio-inner\n"))
			_exit(4);
		prep_pwrite(&iocb, file, "kaio-other", 10, 0);
		if (kaio_do(self->fd, ctx, &iocb) != 10)
			_exit(5);
		if (uname(&after) || strcmp(after.nodename, "kaio-other"))
			_exit(6);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	ASSERT_EQ(0, uname(&after));
	EXPECT_STREQ(before.nodename, after.nodename);
	EXPECT_EQ(2, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
}

/* Signals are the task's too: what is pending, or EAGAIN. */
TEST_F(context, signalfd)
{
	struct signalfd_siginfo info = {};
	struct iocb iocb;
	sigset_t set;
	int file;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	file = signalfd(-1, &set, SFD_CLOEXEC);
	ASSERT_LE(0, file);
	prep_pread(&iocb, file, &info, sizeof(info), 0);
	EXPECT_EQ(-EAGAIN, kaio_do(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, raise(SIGUSR1));
	EXPECT_EQ((long)sizeof(info), kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(SIGUSR1, (int)info.ssi_signo);
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
}

FIXTURE(fifo)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
};

#define FIFO_BYTES	(1 << 20)

/* A FIFO by name, open for both: it has two wait queues, and no FMODE_NOWAIT. */
FIXTURE_SETUP(fifo)
{
	const char *path = MEM_DIR "/kaio-fifo";

	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	unlink(path);
	ASSERT_EQ(0, mkfifo(path, 0600));
	self->file = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, unlink(path));
	self->buf = malloc(FIFO_BYTES);
	ASSERT_NE(NULL, self->buf);
	fill_pattern(self->buf, FIFO_BYTES, 3, 0);
}

FIXTURE_TEARDOWN(fifo)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->file);
	close(self->fd);
	free(self->buf);
}

/* A write that can never end holds nobody up. */
TEST_F_TIMEOUT(fifo, endless_write, 60)
{
	struct iocb iocb;
	__s64 start;

	prep_pwrite(&iocb, self->file, self->buf, FIFO_BYTES, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* It fills the FIFO, then waits. */
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "parked") > 0));
	usleep(100 * 1000);
	EXPECT_EQ(1, kaio_stat(self->fd, "inflight"));
	start = now_ns();
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_EQ(0, kaio_stat(self->fd, "inflight"));
}

/* Two readers, one message: the other goes on waiting, and can be ended. */
TEST_F_TIMEOUT(fifo, two_readers, 60)
{
	struct iocb iocbs[2], *pointers[] = { &iocbs[0], &iocbs[1] };
	char bufs[2][16];
	struct io_event event;

	prep_pread(&iocbs[0], self->file, bufs[0], sizeof(bufs[0]), 0);
	prep_pread(&iocbs[1], self->file, bufs[1], sizeof(bufs[1]), 0);
	ASSERT_EQ(2, kaio_submit(self->fd, self->ctx, 2, pointers));
	ASSERT_EQ(5, write(self->file, "hello", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(5, event.res);
	usleep(100 * 1000);
	EXPECT_EQ(1, kaio_stat(self->fd, "inflight"));
	ASSERT_EQ(5, write(self->file, "world", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(5, event.res);
}

/* All of a long write arrives, in order, while a reader takes it. */
TEST_F_TIMEOUT(fifo, long_write, 60)
{
	char *got = malloc(FIFO_BYTES);
	struct io_event event;
	struct iocb iocb;
	ssize_t n, sum = 0;

	ASSERT_NE(NULL, got);
	prep_pwrite(&iocb, self->file, self->buf, FIFO_BYTES, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	for (; sum < FIFO_BYTES; sum += n) {
		n = read(self->file, got + sum, FIFO_BYTES - sum);
		ASSERT_LT(0, n);
	}
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(FIFO_BYTES, event.res);
	EXPECT_TRUE(is_pattern(got, FIFO_BYTES, 3, 0));
	free(got);
}

/* What was submitted is written, though its submitter exits at once. */
TEST_F_TIMEOUT(context, writes_outlive_their_submitter, 60)
{
	enum { WRITES = 32, LEN = 16 * 1024 };
	static char got[WRITES * LEN];
	int file = open_temp(DISK_DIR, 0);
	struct stat st;
	int status, i;
	pid_t pid;

	ASSERT_LE(0, file);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		static struct iocb iocbs[WRITES];
		struct iocb *pointers[WRITES];
		char *buf = malloc(WRITES * LEN);
		__u64 ctx;

		if (!buf || kaio_setup(self->fd, WRITES, &ctx))
			_exit(1);
		fill_pattern(buf, WRITES * LEN, 5, 0);
		for (i = 0; i < WRITES; i++) {
			prep_pwrite(&iocbs[i], file, buf + i * LEN, LEN, i * LEN);
			pointers[i] = &iocbs[i];
		}
		_exit(kaio_submit(self->fd, ctx, WRITES, pointers) != WRITES);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_EQ(WRITES, kaio_stat(self->fd, "queued"));
	ASSERT_EQ(0, fstat(file, &st));
	EXPECT_EQ(WRITES * LEN, st.st_size);
	ASSERT_EQ(WRITES * LEN, pread(file, got, WRITES * LEN, 0));
	EXPECT_TRUE(is_pattern(got, WRITES * LEN, 5, 0));
	close(file);
}

/* When the event is there, a file that was closed meanwhile is closed. */
TEST_F(context, closed_when_complete)
{
	const char *path = DISK_DIR "/kaio-script";
	struct io_event event;
	struct iocb iocb;
	int file, i, status;
	pid_t pid;

	for (i = 0; i < 8; i++) {
		unlink(path);
		file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
		ASSERT_LE(0, file);
		prep_pwrite(&iocb, file, "#!/bin/true\n", 12, 0);
		ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
		close(file);
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		ASSERT_EQ(12, event.res);
		/* A kworker that still had it open for more than a moment: ETXTBSY. */
		usleep(1000);
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			execl(path, path, (char *)NULL);
			_exit(errno);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status)
		{
			TH_LOG("exec: %s", strerror(WEXITSTATUS(status)));
		}
	}
	unlink(path);
}

TEST_HARNESS_MAIN
