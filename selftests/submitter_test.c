// SPDX-License-Identifier: GPL-2.0
/*
 * Tests work that must be done as the submitter, or by the submitter itself:
 * namespaces, signals, files without IOCB_NOWAIT, and requests that outlive
 * their submitter.
 */
#include <linux/audit.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <pty.h>
#include <sched.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <termios.h>

#include "context_fixture.h"
#include "mock_fixture.h"

/*
 * A kworker has the first UTS namespace, so it must not read a file that shows
 * the namespace of the reader.
 */
TEST_F(context, namespace_of_submitter)
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

/* Signals belong to the task too: a read returns a pending signal or EAGAIN. */
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

/*
 * netlink uses the namespaces of the task that writes.
 */
#define RECEIVE_BYTES	2048

static int netlink_open(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	const int file = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC,
				NETLINK_ROUTE);

	return file < 0 || bind(file, (void *)&addr, sizeof(addr)) ? -1 : file;
}

static int netlink_connect(int file, __u32 port)
{
	const struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_pid = port,
	};

	return connect(file, (void *)&addr, sizeof(addr));
}

static __u32 netlink_port(int file)
{
	struct sockaddr_nl addr;
	socklen_t len = sizeof(addr);

	return getsockname(file, (void *)&addr, &len) ? 0 : addr.nl_pid;
}

struct nsid_question {
	struct nlmsghdr header;
	struct rtgenmsg gen;
	/* Attributes are aligned to 4 bytes. */
	char pad[3];
	struct nlattr attr;
	__u32 pid;
};

/*
 * Returns the message that asks for the id of the network namespace of process
 * @pid.
 */
static struct nsid_question ask_nsid(pid_t pid)
{
	return (struct nsid_question){
		.header = {
			.nlmsg_len = sizeof(struct nsid_question),
			.nlmsg_type = RTM_GETNSID,
			.nlmsg_flags = NLM_F_REQUEST,
		},
		.attr = {
			.nla_len = sizeof(struct nlattr) + sizeof(__u32),
			.nla_type = NETNSA_PID,
		},
		.pid = pid,
	};
}

/*
 * Returns 0 if the question was answered, a negative errno, or 1 if there was
 * no answer.
 */
static int netlink_answer(int file)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	const ssize_t n = recv(file, &answer, sizeof(answer), MSG_DONTWAIT);

	if (n < (ssize_t)sizeof(answer.header))
		return 1;
	return answer.header.nlmsg_type == NLMSG_ERROR ? answer.error.error : 0;
}

/*
 * A process in inner namespaces asks about a process in the outer ones, which
 * it cannot see. Its request comes after one that waits, so that the kick
 * handler would run it. Returns the number of the step that failed, or 0.
 */
static int ask_from_inside(int fd, pid_t outer)
{
	const int receiver = netlink_open(), sender = netlink_open();
	const int size = RECEIVE_BYTES;
	struct nsid_question question = ask_nsid(outer);
	static char junk[512];
	struct iocb iocbs[2];
	struct io_event events[2];
	__u64 ctx;

	if (receiver < 0 || sender < 0 || kaio_setup(fd, 4, &ctx))
		return 1;
	/* The question has this answer natively. */
	if (netlink_connect(sender, 0) ||
	    send(sender, &question, sizeof(question), 0) !=
		    sizeof(question) ||
	    netlink_answer(sender) != -ESRCH)
		return 2;
	if (setsockopt(receiver, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) ||
	    netlink_connect(sender, netlink_port(receiver)))
		return 3;
	((struct nlmsghdr *)junk)->nlmsg_len = sizeof(junk);
	while (send(sender, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	prep_pwrite(&iocbs[0], sender, junk, sizeof(junk), 0);
	if (kaio_submit_one(fd, ctx, &iocbs[0]) != 1)
		return 4;
	if (netlink_connect(sender, 0))
		return 5;
	prep_pwrite(&iocbs[1], sender, &question, sizeof(question), 0);
	if (kaio_submit_one(fd, ctx, &iocbs[1]) != 1)
		return 6;
	/* Cancel the first write, in case that it waits. */
	kaio_cancel(fd, ctx, &iocbs[0]);
	if (kaio_wait(fd, ctx, 2, events) != 2)
		return 7;
	if (events[1].obj != (uintptr_t)&iocbs[1] ||
	    events[1].res != sizeof(question))
		return 8;
	if (netlink_answer(sender) != -ESRCH)
		return 9;
	/*
	 * The file belongs to the submitting task: a request takes what is
	 * there or fails with EAGAIN.
	 */
	if (events[0].res != -EAGAIN)
		return 10;
	prep_pread(&iocbs[0], sender, junk, sizeof(junk), 0);
	if (kaio_do(fd, ctx, &iocbs[0]) != -EAGAIN)
		return 11;
	if (send(sender, &question, sizeof(question), 0) !=
		    sizeof(question) ||
	    kaio_do(fd, ctx, &iocbs[0]) <= 0)
		return 12;
	/* The task can wait for the file with POLL. */
	prep_poll(&iocbs[1], sender, POLLIN);
	if (kaio_submit_one(fd, ctx, &iocbs[1]) != 1 ||
	    !stays_quiet(fd, ctx) ||
	    send(sender, &question, sizeof(question), 0) !=
		    sizeof(question) ||
	    kaio_wait(fd, ctx, 1, events) != 1 || !(events[0].res & POLLIN))
		return 13;
	return 0;
}

TEST_F(context, netlink)
{
	const pid_t outer = getpid();
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNET))
			_exit(100);
		pid = fork();
		if (!pid)
			_exit(ask_from_inside(self->fd, outer));
		_exit(waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
			      WEXITSTATUS(status) :
			      101);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
		SKIP(return, "there are no network namespaces, or not for this user");
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
	EXPECT_EQ(0, kaio_stat(self->fd, "queued"));
}

/* Socket families that do not look at the calling task: their requests may wait. */
FIXTURE(family)
{
	int fd;
	__u64 ctx;
};

FIXTURE_VARIANT(family)
{
	int family;
	int type;
	int protocol;
	__s64 res;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(family, inet) { AF_INET, SOCK_DGRAM, 0, 0 };
FIXTURE_VARIANT_ADD(family, inet6) { AF_INET6, SOCK_DGRAM, 0, 0 };
FIXTURE_VARIANT_ADD(family, raw) { AF_INET, SOCK_RAW, IPPROTO_UDP, 0 };
FIXTURE_VARIANT_ADD(family, local) { AF_UNIX, SOCK_DGRAM, 0, 0 };
FIXTURE_VARIANT_ADD(family, packet) { AF_PACKET, SOCK_RAW, 0, 0 };
FIXTURE_VARIANT_ADD(family, vsock) { AF_VSOCK, SOCK_DGRAM, 0, 0 };
FIXTURE_VARIANT_ADD(family, netlink) { AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, -EAGAIN };
/* clang-format on */

FIXTURE_SETUP(family)
{
	open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx);
}

FIXTURE_TEARDOWN(family)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

TEST_F(family, read_of_nothing)
{
	const int file = socket(variant->family, variant->type | SOCK_CLOEXEC,
				variant->protocol);
	struct io_event event;
	struct iocb iocb;
	char c;

	if (file < 0)
		SKIP(return, "no such sockets");
	prep_pread(&iocb, file, &c, 1, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	if (variant->res) {
		ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
		EXPECT_EQ(variant->res, event.res);
		EXPECT_EQ(0, kaio_stat(self->fd, "parked"));
	} else {
		EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
		EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	}
	close(file);
}

/*
 * A driver that has not registered with kaio may depend on its caller. The
 * submitter itself calls the driver, once, and first asks it whether a read
 * would wait.
 */
FIXTURE(unregistered)
{
	struct mock m;
};

MOCK_FIXTURE_SETUP(unregistered, KAIO_MOCK_STRANGER)

static void expect_done_by_submitter(struct __test_metadata *const _metadata,
				     struct mock *m, struct iocb *iocb)
{
	EXPECT_EQ(5, kaio_do(m->fd, m->ctx, iocb));
	EXPECT_EQ(1, (int)mock_info(m->file).attempts);
	EXPECT_EQ(0, kaio_stat(m->fd, "queued"));
	EXPECT_EQ(0, kaio_stat(m->fd, "parked"));
}

TEST_F(unregistered, read)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	prep_pread(&iocb, m->file, m->buf, sizeof(m->buf), 0);
	EXPECT_EQ(-EAGAIN, kaio_do(m->fd, m->ctx, &iocb));
	EXPECT_EQ(0, (int)mock_info(m->file).attempts);
	ASSERT_EQ(0, mock_program(m->file, 1, IN, GIVES(5)));
	expect_done_by_submitter(_metadata, m, &iocb);
}

/*
 * Some devices can be written but never report that, so a write does not ask.
 */
TEST_F(unregistered, write)
{
	struct mock *m = &self->m;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	prep_pwrite(&iocb, m->file, m->buf, sizeof(m->buf), 0);
	expect_done_by_submitter(_metadata, m, &iocb);
}

/* A POLL of the device can wait. */
TEST_F(unregistered, poll)
{
	struct mock *m = &self->m;
	struct io_event event;
	struct iocb iocb;

	ASSERT_EQ(0, mock_program(m->file, 1, 0, GIVES(5)));
	prep_poll(&iocb, m->file, POLLIN);
	ASSERT_EQ(1, kaio_submit_one(m->fd, m->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(m->fd, m->ctx));
	ASSERT_EQ(0, mock_wake(m->file, KAIO_MOCK_NOW, IN, IN));
	ASSERT_EQ(1, kaio_wait(m->fd, m->ctx, 1, &event));
	EXPECT_TRUE(event.res & POLLIN);
}

static int alarms;

static void on_alarm(int signal)
{
	(void)signal;
	__atomic_fetch_add(&alarms, 1, __ATOMIC_RELAXED);
}

/*
 * kaio recognizes a terminal by its methods: this one has a major number that
 * the kernel chose. Requests for it wait, but not in the submit call.
 */
FIXTURE(mock_terminal)
{
	int fd;
	__u64 ctx;
	int file;
};

FIXTURE_SETUP(mock_terminal)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = open(KAIO_MOCK_TERMINAL, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (self->file < 0 && errno == ENOENT)
		SKIP(return, "there is no %s: CONFIG_KAIO_MOCK", KAIO_MOCK_TERMINAL);
	ASSERT_LE(0, self->file);
}

FIXTURE_TEARDOWN(mock_terminal)
{
	tcflow(self->file, TCOON);
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->file);
	close(self->fd);
}

TEST_F(mock_terminal, read)
{
	struct io_event event;
	struct iocb iocb;
	char buf[8] = {};

	prep_pread(&iocb, self->file, buf, sizeof(buf), 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	EXPECT_EQ(1, kaio_stat(self->fd, "parked"));
	ASSERT_EQ(3, write(self->file, "abc", 3));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_LT(0, event.res);
	EXPECT_EQ(0, memcmp(buf, "abc", event.res));
}

/* If the submit call did the write, it would sleep until the alarm comes. */
TEST_F(mock_terminal, write_while_stopped)
{
	const struct itimerval soon = { .it_value.tv_sec = 2 };
	const struct sigaction action = { .sa_handler = on_alarm };
	struct io_event event;
	struct iocb iocb;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, tcflow(self->file, TCOOFF));
	prep_pwrite(&iocb, self->file, "abc", 3, 0);
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &soon, NULL));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &(struct itimerval){}, NULL));
	EXPECT_EQ(0, __atomic_load_n(&alarms, __ATOMIC_RELAXED));
	EXPECT_TRUE(stays_quiet(self->fd, self->ctx));
	ASSERT_EQ(0, tcflow(self->file, TCOON));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(3, event.res);
}

/*
 * The kernel may record what a task reads from a terminal (pam_tty_audit), so
 * the task itself must do such a read. Writes are not recorded, and neither are
 * the reads of a terminal emulator from the master side.
 */
static int audit_ask(int type, const void *status, size_t size)
{
	struct {
		struct nlmsghdr header;
		char status[64];
	} ask = {
		.header = {
			.nlmsg_len = sizeof(struct nlmsghdr) + size,
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = {};
	const int file = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);
	int ret;

	if (file < 0)
		return -errno;
	memcpy(ask.status, status, size);
	if (send(file, &ask, ask.header.nlmsg_len, 0) < 0)
		ret = -errno;
	else if (recv(file, &answer, sizeof(answer), 0) < 0)
		ret = -errno;
	else
		ret = answer.error.error;
	close(file);
	return ret;
}

static int audit_this_process(void)
{
	const struct audit_tty_status status = { .enabled = 1 };

	return audit_ask(AUDIT_TTY_SET, &status, sizeof(status));
}

/* While audit is off, as it is at boot, the kernel drops the records. */
static int audit_enable(bool on)
{
	const struct audit_status status = { .mask = AUDIT_STATUS_ENABLED, .enabled = on };

	return audit_ask(AUDIT_SET, &status, sizeof(status));
}

#define TYPED		"kaio was here\n"
#define TYPED_IN_HEX	"6B61696F2077617320686572650A"

/*
 * Returns the number of the step that failed, 0, or 100 if the kernel lacks tty
 * audit.
 */
static int read_audited(int fd)
{
	const struct timespec a_moment = { .tv_nsec = 100 * 1000 * 1000 };
	int leader, follower;
	struct iocb iocbs[2];
	struct io_event event;
	char buf[32];
	__u64 ctx;

	if (kaio_setup(fd, 4, &ctx) || openpty(&leader, &follower, NULL, NULL, NULL))
		return 1;
	if (audit_this_process())
		return 100;
	prep_pread(&iocbs[0], follower, buf, sizeof(buf), 0);
	if (kaio_do(fd, ctx, &iocbs[0]) != -EAGAIN)
		return 2;
	/* A POLL of the terminal can wait. */
	prep_poll(&iocbs[1], follower, POLLIN);
	if (kaio_submit_one(fd, ctx, &iocbs[1]) != 1 || !stays_quiet(fd, ctx) ||
	    write(leader, TYPED, strlen(TYPED)) != (ssize_t)strlen(TYPED) ||
	    kaio_wait(fd, ctx, 1, &event) != 1 || !(event.res & POLLIN))
		return 3;
	if (kaio_do(fd, ctx, &iocbs[0]) != (__s64)strlen(TYPED) ||
	    memcmp(buf, TYPED, strlen(TYPED)))
		return 4;
	/* The terminal echoes the line to the master. */
	prep_pread(&iocbs[0], leader, buf, sizeof(buf), 0);
	if (kaio_do(fd, ctx, &iocbs[0]) <= 0)
		return 5;
	/* A write and a read of the master wait as those of any other task. */
	if (tcflow(follower, TCOOFF))
		return 6;
	prep_pwrite(&iocbs[1], follower, "x", 1, 0);
	if (kaio_submit_one(fd, ctx, &iocbs[0]) != 1 ||
	    kaio_submit_one(fd, ctx, &iocbs[1]) != 1 ||
	    kaio_getevents(fd, ctx, 1, 1, &event, &a_moment) != 0)
		return 7;
	return 0;
}

/*
 * Opens a socket to which audit sends its records; returns -1 if there is no
 * audit.
 */
static int open_records(void)
{
	const struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK,
		.nl_groups = 1 << (AUDIT_NLGRP_READLOG - 1),
	};
	const int log = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	if (log >= 0 && bind(log, (const struct sockaddr *)&addr, sizeof(addr))) {
		close(log);
		return -1;
	}
	return log;
}

static bool was_recorded(int log)
{
	char record[sizeof(struct nlmsghdr) + 8192];
	ssize_t n;

	while ((n = recv(log, record, sizeof(record) - 1, MSG_DONTWAIT)) > 0) {
		record[n] = 0;
		if (n > (ssize_t)sizeof(struct nlmsghdr) &&
		    strstr(record + sizeof(struct nlmsghdr), "data=" TYPED_IN_HEX))
			return true;
	}
	return false;
}

TEST_F(context, audited_terminal)
{
	const int log = open_records();
	int status;
	pid_t pid;

	if (log < 0 || audit_enable(true))
		SKIP(return, "there is no audit");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(read_audited(self->fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	/*
	 * The kernel records the read when the process has ended, or earlier.
	 */
	if (!status)
		EXPECT_TRUE(wait_until(was_recorded(log)));
	EXPECT_EQ(0, audit_enable(false));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
		SKIP(return, "terminals cannot be audited here");
	EXPECT_EQ(0, status)
	{
		TH_LOG("step %d failed", WEXITSTATUS(status));
	}
}

FIXTURE(fifo)
{
	int fd;
	__u64 ctx;
	int file;
	char *buf;
};

#define FIFO_BYTES	(1 << 20)

/*
 * A named FIFO that is open for reading and writing has two wait queues, and no
 * FMODE_NOWAIT.
 */
FIXTURE_SETUP(fifo)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = fifo_open(MEM_DIR "/kaio-fifo", 0);
	ASSERT_LE(0, self->file);
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

/* A write that can never end delays nothing else. */
TEST_F_TIMEOUT(fifo, endless_write, 60)
{
	struct iocb iocb;
	__s64 start;

	prep_pwrite(&iocb, self->file, self->buf, FIFO_BYTES, 0);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	/* The write fills the FIFO and then waits. */
	ASSERT_TRUE(wait_until(kaio_stat(self->fd, "parked") > 0));
	usleep(100 * 1000);
	EXPECT_STAT(1, self->fd, "inflight");
	start = now_ns();
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_GT(5 * NSEC_PER_SEC, now_ns() - start);
	EXPECT_STAT(0, self->fd, "inflight");
}

/*
 * Two readers get one message. The second reader still waits, and can be ended.
 */
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
	EXPECT_STAT(1, self->fd, "inflight");
	ASSERT_EQ(5, write(self->file, "world", 5));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(5, event.res);
}

/* All data of a long write arrives in order while a reader takes it. */
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

/* The writes are done although their submitter exits at once. */
TEST_F_TIMEOUT(context, writes_after_exit, 60)
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
	/*
	 * If a worker has done all that was queued so far, the submit call may
	 * write the next part itself.
	 */
	EXPECT_LT(0, kaio_stat(self->fd, "queued"));
	EXPECT_EQ(WRITES, kaio_stat(self->fd, "queued") +
				  kaio_stat(self->fd, "inline"));
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
		/*
		 * If a kworker had the file open for longer, the execution
		 * would fail with ETXTBSY.
		 */
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
