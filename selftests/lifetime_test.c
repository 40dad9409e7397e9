// SPDX-License-Identifier: GPL-2.0
/*
 * Tests contexts that end by close, exit, exec or kill with requests of all
 * kinds in flight, and contexts after a fork or after their descriptor was sent
 * to another process.
 *
 * With KAIO_HOLD in the environment this program runs no test. It holds the
 * module in the way that the variable names, for module_test.sh.
 */
#include "kaio_common.h"

#define EACH	8

/* Requests of each kind. Their memory differs from the data that is read. */
struct load {
	int file;
	int direct;
	int pipes[2];
	char *buf;
	struct iocb iocbs[4 * EACH];
};

/*
 * Submits requests that are in flight when this returns: buffered reads of a
 * file that is not in memory, direct reads, direct writes, and reads from an
 * empty pipe. Returns how many were submitted, or -1.
 */
static int start_load(struct load *load, int fd, __u64 ctx)
{
	struct iocb *pointers[4 * EACH];
	int i;

	load->file = open_pattern(DISK_DIR, 1, 3 * EACH * PAGE);
	load->direct = reopen(load->file, O_RDWR | O_DIRECT);
	load->buf = map_guarded(4 * EACH);
	if (load->direct < 0 || !load->buf || pipe2(load->pipes, O_CLOEXEC) ||
	    posix_fadvise(load->file, 0, 0, POSIX_FADV_DONTNEED))
		return -1;
	for (i = 0; i < 4 * EACH; i++) {
		struct iocb *iocb = pointers[i] = &load->iocbs[i];
		char *buf = load->buf + i * PAGE;

		switch (i % 4) {
		case 0:
			prep_pread(iocb, load->pipes[0], buf, PAGE, 0);
			break;
		case 1:
			prep_pread(iocb, load->direct, buf, PAGE,
				   i / 4 * PAGE);
			break;
		case 2:
			prep_pwrite(iocb, load->direct, buf, PAGE,
				    (EACH + i / 4) * PAGE);
			break;
		case 3:
			prep_pread(iocb, load->file, buf, PAGE,
				   (2 * EACH + i / 4) * PAGE);
			break;
		}
	}
	return kaio_submit(fd, ctx, 4 * EACH, pointers);
}

/* Starts a load on a new context of @fd. Exits if there is no load. */
static void load_in_child(int fd)
{
	static struct load load;
	__u64 ctx;

	if (kaio_setup(fd, NR_EVENTS, &ctx) ||
	    start_load(&load, fd, ctx) != 4 * EACH)
		_exit(50);
}

/* An open file of the device shows the state from outside. */
FIXTURE(system)
{
	int fd;
	__s64 nr;
};

FIXTURE_SETUP(system)
{
	self->fd = open_kaio_and_count(_metadata, &self->nr);
}

FIXTURE_TEARDOWN(system)
{
	/* Whatever the test did, nothing is left of it. */
	expect_charged(_metadata, self->fd, self->nr);
	close(self->fd);
}

/*
 * Runs in a child: writes to the pipe @ready when all requests are in flight.
 */
static void child_until_killed(int ready, bool in_getevents)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct io_event events[NR_EVENTS];
	struct load load;
	__u64 ctx;

	if (kaio_setup(fd, NR_EVENTS, &ctx) ||
	    start_load(&load, fd, ctx) != 4 * EACH || write(ready, "r", 1) != 1)
		_exit(1);
	if (in_getevents)
		kaio_getevents(fd, ctx, NR_EVENTS, NR_EVENTS, events, NULL);
	pause();
	_exit(2);
}

static void expect_ready(struct __test_metadata *const _metadata, int ready)
{
	char c = 0;

	ASSERT_EQ(1, read(ready, &c, 1));
	ASSERT_EQ('r', c);
}

static pid_t reap_child(pid_t pid, int *status)
{
	const __s64 end = now_ns() + PATIENCE_SECONDS * NSEC_PER_SEC;
	pid_t ret;

	while (!(ret = waitpid(pid, status, WNOHANG)) && now_ns() < end)
		usleep(500);
	return ret;
}

TEST_F(system, close)
{
	struct load load;
	__u64 ctx;
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	size_t i;

	ASSERT_EQ(0, kaio_setup(fd, NR_EVENTS, &ctx));
	ASSERT_EQ(4 * EACH, start_load(&load, fd, ctx));
	EXPECT_EQ(self->nr + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
	ASSERT_EQ(0, close(fd));
	ASSERT_TRUE(wait_until(kaio_nr(self->fd) == self->nr));
	/* The request no longer reads from the pipe. */
	ASSERT_EQ(1, write(load.pipes[1], "x", 1));
	ASSERT_EQ(1, read(load.pipes[0], load.buf + 1, 1));
	for (i = 0; i < EACH; i++) {
		EXPECT_EQ(0, load.buf[4 * i * PAGE])
		{
			TH_LOG("i %ld", (long)i);
		}
	}
	/* The ring may or may not be mapped at this point. */
	EXPECT_EQ(0, munmap(ring_of(ctx), PAGE));
}

static bool only_ring(int fd, __u64 ctx);

/*
 * Another process closes the file last: the ring stays mapped, and is ordinary
 * memory.
 */
TEST_F(system, closed_by_other_process)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct load load;
	__u64 ctx;

	ASSERT_EQ(0, kaio_setup(fd, NR_EVENTS, &ctx));
	ASSERT_EQ(4 * EACH, start_load(&load, fd, ctx));
	ASSERT_TRUE(only_ring(fd, ctx));
	ASSERT_TRUE(wait_until(kaio_nr(self->fd) == self->nr));
	ring_of(ctx)->head = 12345;
	EXPECT_EQ(0, munmap(ring_of(ctx), PAGE));
}

/* Several files with one context each are closed. */
TEST_F(system, close_of_many)
{
	struct load loads[3];
	int fds[3], i;
	__u64 ctx;

	for (i = 0; i < 3; i++) {
		fds[i] = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_EQ(0, kaio_setup(fds[i], NR_EVENTS, &ctx));
		ASSERT_EQ(4 * EACH, start_load(&loads[i], fds[i], ctx));
	}
	EXPECT_EQ(self->nr + 3 * kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, close(fds[i]))
		{
			TH_LOG("i %ld", (long)i);
		}
	}
}

TEST_F(system, destroy_waits)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct load load;
	__u64 ctx;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, kaio_setup(fd, NR_EVENTS, &ctx));
		ASSERT_EQ(4 * EACH, start_load(&load, fd, ctx));
		ASSERT_EQ(0, kaio_destroy(fd, ctx));
		/* The requests have ended when destroy returns. */
		EXPECT_STAT(0, fd, "inflight");
		EXPECT_EQ(0, kaio_stat(fd, "contexts"));
		EXPECT_EQ(self->nr, kaio_nr(fd));
	}
	EXPECT_EQ(5 * 4 * EACH, kaio_stat(fd, "submitted"));
	EXPECT_STAT(5 * 4 * EACH, fd, "completed");
	EXPECT_LE(5 * EACH, kaio_stat(fd, "parked"));
}

/*
 * What a context was charged for is given back before destroy returns, also if
 * another thread ends the last request at that moment.
 */
TEST_F(system, destroy_gives_back)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	char *buf = map_guarded(1);
	struct iocb iocb, *pointer = &iocb;
	__u64 ctx;
	int i;

	ASSERT_TRUE(buf);
	for (i = 0; i < 300; i++) {
		ASSERT_EQ(0, posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED));
		prep_pread(&iocb, file, buf, PAGE, 0);
		ASSERT_EQ(0, kaio_setup(fd, 1, &ctx));
		ASSERT_EQ(1, kaio_submit(fd, ctx, 1, &pointer));
		ASSERT_EQ(0, kaio_destroy(fd, ctx));
		ASSERT_EQ(self->nr, kaio_nr(fd))
		{
			TH_LOG("round %d", i);
		}
	}
	EXPECT_STAT(300, fd, "completed");
}

/* Executes this program again; see the top of the file. */
static int exec_self(const char *what, int fd)
{
	char hold[64];
	char *const argv[] = { "lifetime_test", NULL };
	char *const envp[] = { hold, NULL };

	snprintf(hold, sizeof(hold), "KAIO_HOLD=%s%d", what, fd);
	return execve("/proc/self/exe", argv, envp);
}

/*
 * Starts a load in a child, which then executes this program, or exits if @what
 * is NULL. Returns the status with which the child ends.
 */
static int run_child_with_load(struct __test_metadata *const _metadata,
			       const char *what, int flags)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		const int fd = open(KAIO_DEVICE, O_RDWR | flags);

		load_in_child(fd);
		if (!what)
			_exit(0);
		exec_self(what, flags ? 0 : fd);
		_exit(51);
	}
	ASSERT_EQ(pid, reap_child(pid, &status));
	return status;
}

TEST_F(system, exit)
{
	EXPECT_EQ(0, run_child_with_load(_metadata, NULL, O_CLOEXEC));
}

/* The descriptor is open in another process, so only the address space ends. */
TEST_F(system, exit_with_fd_kept)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		load_in_child(fd);
		_exit(0);
	}
	ASSERT_EQ(pid, reap_child(pid, &status));
	EXPECT_EQ(0, status);
	EXPECT_TRUE(wait_until(kaio_stat(fd, "contexts") == 0));
	EXPECT_TRUE(wait_until(kaio_stat(fd, "inflight") == 0));
	EXPECT_STAT(4 * EACH, fd, "completed");
	EXPECT_EQ(self->nr, kaio_nr(fd));
}

TEST_F(system, kill)
{
	int status, ready[2], i;
	pid_t pid;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			child_until_killed(ready[1], i & 1);
		close(ready[1]);
		expect_ready(_metadata, ready[0]);
		EXPECT_EQ(self->nr + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, reap_child(pid, &status));
		EXPECT_EQ(SIGKILL, WTERMSIG(status));
		ASSERT_TRUE(wait_until(kaio_nr(self->fd) == self->nr));
	}
}

static void *submit_for_ever(void *arg)
{
	const int fd = *(int *)arg;
	struct io_event events[NR_EVENTS];
	struct load load;
	__u64 ctx;

	if (kaio_setup(fd, NR_EVENTS, &ctx) ||
	    start_load(&load, fd, ctx) != 4 * EACH)
		_exit(3);
	for (;;) {
		kaio_submit_one(fd, ctx, &load.iocbs[1]);
		kaio_getevents(fd, ctx, 1, NR_EVENTS, events, &no_wait);
	}
	return NULL;
}

/* The process is killed while its threads submit and take events. */
TEST_F(system, kill_of_threads)
{
	int status, ready[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC), i;
		pthread_t threads[3];

		for (i = 0; i < 3; i++)
			if (pthread_create(&threads[i], NULL, submit_for_ever,
					   &fd))
				_exit(1);
		while (kaio_stat(fd, "submitted") < 3 * 4 * EACH + 10)
			usleep(1000);
		if (write(ready[1], "r", 1) != 1)
			_exit(2);
		pause();
	}
	close(ready[1]);
	expect_ready(_metadata, ready[0]);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, reap_child(pid, &status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

/* One thread ends the process with all its threads. */
TEST_F(system, exit_of_threads)
{
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC), i;
		pthread_t thread;

		for (i = 0; i < 2; i++)
			if (pthread_create(&thread, NULL, submit_for_ever, &fd))
				_exit(1);
		while (kaio_stat(fd, "submitted") < 2 * 4 * EACH + 10)
			usleep(1000);
		_exit(0);
	}
	ASSERT_EQ(pid, reap_child(pid, &status));
	EXPECT_EQ(0, status);
}

/*
 * The tests below execute this program again.
 */
TEST_F(system, exec_with_fd_kept)
{
	const int status = run_child_with_load(_metadata, "exec", 0);

	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d after exec", WEXITSTATUS(status));
	}
}

TEST_F(system, exec_with_fd_closed)
{
	EXPECT_EQ(0, run_child_with_load(_metadata, "nothing", O_CLOEXEC));
}

/*
 * The tests below send the open file to another process.
 */
/* A message of one byte that brings one descriptor. */
struct fd_message {
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec iov;
	struct msghdr msg;
};

static void prep_message(struct fd_message *message)
{
	*message = (struct fd_message){
		.iov = { &message->c, 1 },
		.msg.msg_iov = &message->iov,
		.msg.msg_iovlen = 1,
		.msg.msg_control = &message->control,
		.msg.msg_controllen = sizeof(message->control),
	};
}

static bool send_fd(int to, int fd)
{
	struct fd_message message;
	struct cmsghdr *cmsg;

	prep_message(&message);
	cmsg = CMSG_FIRSTHDR(&message.msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(to, &message.msg, 0) == 1;
}

static int receive_fd(int from)
{
	struct fd_message message;
	int fd = -1;

	prep_message(&message);
	if (recvmsg(from, &message.msg, MSG_CMSG_CLOEXEC) == 1 &&
	    CMSG_FIRSTHDR(&message.msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message.msg)), sizeof(fd));
	return fd;
}

TEST_F(system, descriptor_sent_to_process)
{
	int ends[2], status, fd;
	struct io_event event;
	struct iocb iocb;
	__u64 theirs, own;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct load load;
		char c;

		fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		if (kaio_setup(fd, NR_EVENTS, &theirs) ||
		    start_load(&load, fd, theirs) != 4 * EACH)
			_exit(1);
		if (!send_fd(ends[1], fd) ||
		    write(ends[1], &theirs, sizeof(theirs)) != sizeof(theirs))
			_exit(2);
		/* Wait until the other process has checked. */
		if (read(ends[1], &c, 1) != 1)
			_exit(3);
		_exit(0);
	}
	fd = receive_fd(ends[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(8, read(ends[0], &theirs, sizeof(theirs)));
	prep_noop(&iocb, fd);
	EXPECT_EQ(-EINVAL, kaio_submit_one(fd, theirs, &iocb));
	EXPECT_EQ(-EINVAL, kaio_getevents(fd, theirs, 0, 1, &event, &no_wait));
	EXPECT_EQ(-EINVAL, kaio_destroy(fd, theirs));
	EXPECT_EQ(1, kaio_stat(fd, "contexts"));
	/* The other process may have a context of its own on the file. */
	ASSERT_EQ(0, kaio_setup(fd, 3, &own));
	EXPECT_EQ(0, kaio_do(fd, own, &iocb));
	EXPECT_EQ(self->nr + kaio_capacity(NR_EVENTS) + kaio_capacity(3), kaio_nr(fd));
	ASSERT_EQ(1, write(ends[0], "x", 1));
	ASSERT_EQ(pid, reap_child(pid, &status));
	EXPECT_EQ(0, status);
	/*
	 * The context of the child has ended with it, and the other context
	 * still works.
	 */
	EXPECT_TRUE(wait_until(kaio_nr(fd) == self->nr + kaio_capacity(3)));
	EXPECT_TRUE(wait_until(kaio_stat(fd, "inflight") == 0));
	EXPECT_EQ(0, kaio_do(fd, own, &iocb));
	close(fd);
}

/* A file that is only in a message in flight is still open. */
TEST_F(system, descriptor_in_message)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct iocb iocb;
	int ends[2], back;
	__u64 ctx;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
	ASSERT_EQ(0, kaio_setup(fd, 3, &ctx));
	ASSERT_TRUE(send_fd(ends[1], fd));
	close(fd);
	EXPECT_EQ(self->nr + kaio_capacity(3), kaio_nr(self->fd));
	back = receive_fd(ends[0]);
	ASSERT_LE(0, back);
	/* The address space and the open file are the same. */
	prep_noop(&iocb, back);
	EXPECT_EQ(0, kaio_do(back, ctx, &iocb));
	ASSERT_TRUE(send_fd(ends[1], back));
	close(back);
	/* The file is closed with the message. */
	close(ends[0]);
	close(ends[1]);
}

/*
 * Several children use one inherited descriptor, each with a context of its
 * own.
 */
TEST_F(system, children_share_descriptor)
{
	const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	struct load load;
	pid_t pids[3];
	int i, status;
	__u64 ctx;

	ASSERT_EQ(0, kaio_setup(fd, NR_EVENTS, &ctx));
	for (i = 0; i < 3; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (!pids[i]) {
			if (kaio_setup(fd, NR_EVENTS, &ctx) ||
			    start_load(&load, fd, ctx) != 4 * EACH)
				_exit(1);
			if (i == 0)
				_exit(kaio_destroy(fd, ctx) ? 2 : 0);
			if (i == 1)
				raise(SIGKILL);
			_exit(0);
		}
	}
	ASSERT_EQ(4 * EACH, start_load(&load, fd, ctx));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(pids[i], reap_child(pids[i], &status));
		EXPECT_EQ(i == 1 ? SIGKILL : 0, status);
	}
	EXPECT_TRUE(wait_until(kaio_stat(fd, "contexts") == 1));
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr + kaio_capacity(NR_EVENTS)));
	/* Only the pipe reads of the parent are still in flight. */
	EXPECT_TRUE(wait_until(kaio_stat(fd, "inflight") == EACH));
	EXPECT_EQ(0, kaio_destroy(fd, ctx));
	EXPECT_STAT(0, fd, "inflight");
	EXPECT_STAT(16 * EACH, fd, "completed");
	close(fd);
}

/* The parent exits before its child. */
TEST_F(system, parent_exits_first)
{
	int pipes[2], status;
	pid_t pid;
	char c = 0;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		const pid_t parent = getpid();
		struct load load;
		struct iocb iocb;
		__u64 ctx;

		if (kaio_setup(fd, NR_EVENTS, &ctx) ||
		    start_load(&load, fd, ctx) != 4 * EACH)
			_exit(1);
		pid = fork();
		if (pid)
			_exit(pid < 0);
		while (getppid() == parent)
			usleep(500);
		/* The file is still open in the child. */
		prep_noop(&iocb, fd);
		if (!kaio_setup(fd, 1, &ctx) && !kaio_do(fd, ctx, &iocb) &&
		    wait_until(kaio_stat(fd, "contexts") == 1))
			c = 'k';
		_exit(write(pipes[1], &c, 1) != 1);
	}
	ASSERT_EQ(pid, reap_child(pid, &status));
	EXPECT_EQ(0, status);
	close(pipes[1]);
	ASSERT_EQ(1, read(pipes[0], &c, 1));
	EXPECT_EQ('k', c);
}

/*
 * The functions below are no tests: they run after an exec, or hold the module.
 */
static int after_exec(int fd)
{
	struct iocb iocb;
	__u64 ctx;

	if (!wait_until(kaio_stat(fd, "contexts") == 0))
		return 1;
	if (!wait_until(kaio_stat(fd, "inflight") == 0))
		return 2;
	if (kaio_stat(fd, "completed") != 4 * EACH)
		return 3;
	if (kaio_setup(fd, 1, &ctx))
		return 4;
	prep_noop(&iocb, fd);
	return kaio_do(fd, ctx, &iocb) ? 5 : 0;
}

/*
 * Lets another process close the file last. That process cannot unmap the ring,
 * so only the mapping is left of the context.
 */
static bool only_ring(int fd, __u64 ctx)
{
	int pipes[2], status;
	pid_t pid;
	char c;

	if (pipe(pipes))
		return false;
	pid = fork();
	if (!pid) {
		close(pipes[1]);
		_exit(read(pipes[0], &c, 1));
	}
	close(fd);
	close(pipes[1]);
	return waitpid(pid, &status, 0) == pid && !status &&
	       ring_of(ctx)->magic == KAIO_RING_MAGIC;
}

static void __attribute__((constructor)) hold(void)
{
	const char *const what = getenv("KAIO_HOLD");
	struct load load;
	int fd, unused;
	__u64 ctx;

	if (!what)
		return;
	if (sscanf(what, "nothing%d", &unused) == 1)
		_exit(0);
	if (sscanf(what, "exec%d", &fd) == 1)
		_exit(after_exec(fd));

	fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	if (kaio_setup(fd, NR_EVENTS, &ctx))
		_exit(1);
	if (!strcmp(what, "requests") &&
	    start_load(&load, fd, ctx) != 4 * EACH)
		_exit(2);
	if (!strcmp(what, "ring") && !only_ring(fd, ctx))
		_exit(4);
	printf("held\n");
	fflush(stdout);
	pause();
	_exit(3);
}

TEST_HARNESS_MAIN
