// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the limits on requests of the system and of one user. Each limit is
 * a sysctl and a module parameter for the same number.
 *
 * The program needs root. Tests act as an unprivileged user (become_user()),
 * and restore what they have changed.
 */
#include <linux/capability.h>

#include "cgroups.h"
#include "blocking_threads.h"

#define NR_SYSCTL	"/proc/sys/fs/kaio-nr"
#define MAX_SYSCTL	"/proc/sys/fs/kaio-max-nr"
#define USER_SYSCTL	"/proc/sys/fs/kaio-max-user-nr"
#define MAX_PARAM	"/sys/module/kaio/parameters/max_nr"
#define USER_PARAM	"/sys/module/kaio/parameters/max_user_nr"

/* These are the documented values. */
#define DEFAULT_MAX_NR		4194304
#define DEFAULT_MAX_USER_NR	262144

/* No other process runs as these users. */
#define USER_A	54321
#define USER_B	54322

/* The saved user id stays that of root, so that the change can be undone. */
static bool become_user(uid_t uid)
{
	return !setresuid(uid, uid, 0);
}

static bool become_root(void)
{
	return !setresuid(0, 0, 0);
}

static bool drop_capability(int capability)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data))
		return false;
	data[CAP_TO_INDEX(capability)].effective &=
		~CAP_TO_MASK(capability);
	return !syscall(SYS_capset, &header, data);
}

/* Opens the device as user @uid. */
static int open_as(uid_t uid)
{
	int fd = -1;

	if (become_user(uid)) {
		fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		if (!become_root())
			abort();
	}
	return fd;
}

/* Returns kaio_query.user_nr, or -errno. */
static __s64 user_nr(int fd)
{
	struct kaio_query query;
	long ret = kaio_query(fd, &query);

	return ret < 0 ? ret : (__s64)query.user_nr;
}

/*
 * Opens the device for root and for USER_A, and stores the number of all
 * requests. Returns false if the test is skipped.
 */
static bool open_twice(struct __test_metadata *const _metadata, int *fd,
		       int *user, __s64 *nr)
{
	*fd = open_kaio_as_root(_metadata);
	if (*fd < 0)
		return false;
	*nr = kaio_nr(*fd);
	*user = open_as(USER_A);
	ASSERT_LE(0, *user);
	return true;
}

FIXTURE(limits)
{
	/* The descriptor of root. */
	int fd;
	/* The descriptor of USER_A. */
	int user;
	__u64 ctx;
	__s64 nr;
	__u64 max_nr;
	__u64 max_user_nr;
};

FIXTURE_SETUP(limits)
{
	if (!open_twice(_metadata, &self->fd, &self->user, &self->nr))
		return;
	self->max_nr = read_number(MAX_SYSCTL);
	self->max_user_nr = read_number(USER_SYSCTL);
	ASSERT_EQ(0, user_nr(self->user));
}

FIXTURE_TEARDOWN(limits)
{
	EXPECT_TRUE(become_root());
	EXPECT_TRUE(write_number(MAX_SYSCTL, self->max_nr));
	EXPECT_TRUE(write_number(USER_SYSCTL, self->max_user_nr));
	close(self->user);
	expect_charged(_metadata, self->fd, self->nr);
	/* Nothing is charged to the user either. */
	self->user = open_as(USER_A);
	EXPECT_TRUE(wait_until(user_nr(self->user) == 0));
	close(self->user);
	close(self->fd);
}

/*
 * The tests below check the files.
 */
FIXTURE(sysctl)
{
	int fd;
	__u64 value;
};

FIXTURE_VARIANT(sysctl)
{
	const char *path;
	mode_t mode;
	/* The module parameter for the same number. */
	const char *param;
	size_t query_field;
	__u64 at_first;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(sysctl, nr) {
	.path = NR_SYSCTL,
	.mode = 0444,
	.query_field = offsetof(struct kaio_query, nr),
};

FIXTURE_VARIANT_ADD(sysctl, max_nr) {
	.path = MAX_SYSCTL,
	.mode = 0644,
	.param = MAX_PARAM,
	.query_field = offsetof(struct kaio_query, max_nr),
	.at_first = DEFAULT_MAX_NR,
};

FIXTURE_VARIANT_ADD(sysctl, max_user_nr) {
	.path = USER_SYSCTL,
	.mode = 0644,
	.param = USER_PARAM,
	.query_field = offsetof(struct kaio_query, max_user_nr),
	.at_first = DEFAULT_MAX_USER_NR,
};
/* clang-format on */

FIXTURE_SETUP(sysctl)
{
	self->fd = open_kaio_as_root(_metadata);
	if (self->fd < 0)
		return;
	self->value = read_number(variant->path);
}

FIXTURE_TEARDOWN(sysctl)
{
	EXPECT_TRUE(become_root());
	if (variant->param) {
		EXPECT_TRUE(write_number(variant->path, self->value));
		EXPECT_EQ(self->value, read_number(variant->path));
	}
	close(self->fd);
}

static __u64 query_field(int fd, size_t offset)
{
	struct kaio_query query;
	__u64 value;

	if (kaio_query(fd, &query))
		return ~0ULL;
	memcpy(&value, (char *)&query + offset, sizeof(value));
	return value;
}

TEST_F(sysctl, mode)
{
	struct stat stat_of;

	ASSERT_EQ(0, stat(variant->path, &stat_of));
	EXPECT_EQ(S_IFREG | variant->mode, stat_of.st_mode);
	EXPECT_EQ(0, stat_of.st_uid);
}

TEST_F(sysctl, value)
{
	EXPECT_EQ(self->value, query_field(self->fd, variant->query_field));
	if (variant->param) {
		EXPECT_EQ(self->value, read_number(variant->param));
		EXPECT_EQ(variant->at_first, self->value);
	}
}

TEST_F(sysctl, users_cannot_write)
{
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(self->value, read_number(variant->path));
	EXPECT_FALSE(write_number(variant->path, 1));
	ASSERT_TRUE(become_root());
	EXPECT_EQ(self->value, read_number(variant->path));
}

TEST_F(sysctl, one_number)
{
	if (!variant->param) {
		/* Not even root can write to this file. */
		EXPECT_FALSE(write_number(variant->path, 12345));
		EXPECT_EQ(self->value, read_number(variant->path));
		return;
	}
	ASSERT_TRUE(write_number(variant->path, 12345));
	EXPECT_EQ(12345, read_number(variant->path));
	EXPECT_EQ(12345, read_number(variant->param));
	EXPECT_EQ(12345, query_field(self->fd, variant->query_field));
	ASSERT_TRUE(write_number(variant->param, 54321));
	EXPECT_EQ(54321, read_number(variant->path));
	EXPECT_EQ(54321, read_number(variant->param));
	EXPECT_EQ(54321, query_field(self->fd, variant->query_field));
}

TEST_F(sysctl, not_a_number)
{
	const char *const values[] = {
		"many", "-1", "x1", "99999999999999999999999", "0x", " ",
	};
	size_t i;

	/* The value does not change, no matter if the write fails. */
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		write_file(variant->path, values[i]);
		EXPECT_EQ(self->value, read_number(variant->path))
		{
			TH_LOG("'%s'", values[i]);
		}
	}
}

TEST_F(limits, nr_counts)
{
	ASSERT_EQ(0, kaio_setup(self->fd, 10, &self->ctx));
	EXPECT_EQ(self->nr + kaio_capacity(10), (__s64)read_number(NR_SYSCTL));
	EXPECT_EQ(self->nr + kaio_capacity(10), kaio_nr(self->fd));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(self->nr, read_number(NR_SYSCTL));
}

/*
 * The tests below check the limit of the system.
 */
TEST_F(limits, of_system)
{
	__u64 second;

	ASSERT_TRUE(write_number(MAX_SYSCTL, self->nr + 10));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 11, &self->ctx));
	ASSERT_EQ(0, kaio_setup(self->fd, 10, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &second));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 1, &second));
	EXPECT_EQ(self->nr + 10, kaio_nr(self->fd));
	EXPECT_EQ(0, user_nr(self->user));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	/* A user may use it up, too. */
	ASSERT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &second));
}

TEST_F(limits, of_system_is_highest)
{
	ASSERT_TRUE(write_number(MAX_SYSCTL, ~0UL));
	ASSERT_TRUE(write_number(USER_SYSCTL, ~0UL));
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
	EXPECT_EQ(kaio_capacity(10), user_nr(self->user));
	EXPECT_EQ(-EINVAL, kaio_setup(self->user, ~0U, &self->ctx));
}

TEST_F(limits, of_system_is_zero)
{
	ASSERT_TRUE(write_number(MAX_SYSCTL, 0));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &self->ctx));
}

/*
 * The tests below check the limit of one user.
 */
TEST_F(limits, of_user)
{
	struct kaio_query query;
	__u64 second;

	ASSERT_TRUE(write_number(USER_SYSCTL, 10));
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 11, &self->ctx));
	EXPECT_EQ(0, user_nr(self->user));
	ASSERT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 1, &second));
	ASSERT_EQ(0, kaio_query(self->user, &query));
	EXPECT_EQ(10, query.user_nr);
	EXPECT_EQ(10, query.max_user_nr);
	EXPECT_EQ((__u64)self->nr + 10, query.nr);
	ASSERT_EQ(0, kaio_destroy(self->user, self->ctx));
	EXPECT_EQ(0, user_nr(self->user));
	EXPECT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
}

/* A context that one limit refuses is not charged to the other one. */
TEST_F(limits, refused_is_not_charged)
{
	ASSERT_TRUE(write_number(USER_SYSCTL, 10));
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 11, &self->ctx));
	EXPECT_EQ(self->nr, kaio_nr(self->user));
	ASSERT_TRUE(become_root());
	ASSERT_TRUE(write_number(MAX_SYSCTL, self->nr + 5));
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 6, &self->ctx));
	EXPECT_EQ(0, user_nr(self->user));
	EXPECT_EQ(self->nr, kaio_nr(self->user));
}

TEST_F(limits, of_user_lowered)
{
	struct iocb iocb;
	__u64 second;

	ASSERT_TRUE(become_user(USER_A));
	ASSERT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
	ASSERT_TRUE(become_root());
	ASSERT_TRUE(write_number(USER_SYSCTL, 5));
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 1, &second));
	/* A context that exists is not affected by a lower limit. */
	prep_noop(&iocb, self->user);
	EXPECT_EQ(0, kaio_do(self->user, self->ctx, &iocb));
	ASSERT_EQ(0, kaio_destroy(self->user, self->ctx));
	EXPECT_EQ(0, kaio_setup(self->user, 5, &self->ctx));
}

TEST_F(limits, of_another_user)
{
	const int other = open_as(USER_B);
	__u64 second;

	ASSERT_LE(0, other);
	ASSERT_TRUE(write_number(USER_SYSCTL, 10));
	ASSERT_TRUE(become_user(USER_A));
	ASSERT_EQ(0, kaio_setup(self->user, 10, &self->ctx));
	ASSERT_TRUE(become_root());
	ASSERT_TRUE(become_user(USER_B));
	EXPECT_EQ(0, user_nr(other));
	ASSERT_EQ(0, kaio_setup(other, 10, &second));
	EXPECT_EQ(10, user_nr(other));
	EXPECT_EQ(10, user_nr(self->user));
	EXPECT_EQ(-EAGAIN, kaio_setup(other, 1, &second));
	close(other);
}

/* All open files of a user count together. */
TEST_F(limits, two_files)
{
	const int second_file = open_as(USER_A);
	__u64 second, third;

	ASSERT_LE(0, second_file);
	ASSERT_TRUE(write_number(USER_SYSCTL, 10));
	ASSERT_TRUE(become_user(USER_A));
	ASSERT_EQ(0, kaio_setup(self->user, 6, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(second_file, 5, &second));
	ASSERT_EQ(0, kaio_setup(second_file, 4, &second));
	EXPECT_EQ(10, user_nr(self->user));
	EXPECT_EQ(10, user_nr(second_file));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 1, &third));
	/* The close of one file does not end the context of the other one. */
	ASSERT_EQ(0, close(second_file));
	EXPECT_TRUE(wait_until(user_nr(self->user) == 6));
	EXPECT_EQ(0, kaio_setup(self->user, 4, &third));
}

/* All processes of a user count together, too. */
TEST_F(limits, two_processes)
{
	int status, held[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(held));
	ASSERT_TRUE(write_number(USER_SYSCTL, 10));
	ASSERT_TRUE(become_user(USER_A));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const int fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);

		if (kaio_setup(fd, 6, &self->ctx) || write(held[1], "h", 1) != 1)
			_exit(1);
		pause();
	}
	ASSERT_EQ(1, read(held[0], &c, 1));
	EXPECT_EQ(6, user_nr(self->user));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 5, &self->ctx));
	EXPECT_EQ(0, kaio_setup(self->user, 4, &self->ctx));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(wait_until(user_nr(self->user) == 4));
}

/*
 * A user is limited across all its cgroups. There are more cgroups than kaio
 * makes workers for.
 */
#define CGROUPS		20

TEST_F(limits, many_cgroups)
{
	char names[CGROUPS][16];
	int fds[CGROUPS], i;
	__u64 ctx;

	if (access(CGROUP_DIR "/cgroup.procs", F_OK))
		SKIP(return, "there are no cgroups");
	ASSERT_TRUE(write_number(USER_SYSCTL, 2 * CGROUPS));
	for (i = 0; i < CGROUPS; i++) {
		snprintf(names[i], sizeof(names[i]), "kaio-%d", i);
		EXPECT_TRUE(make_cgroup(names[i]));
		EXPECT_TRUE(enter_cgroup(names[i]));
		ASSERT_TRUE(become_user(USER_A));
		fds[i] = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
		EXPECT_LE(0, fds[i]);
		EXPECT_EQ(0, kaio_setup(fds[i], 2, &ctx))
		{
			TH_LOG("cgroup %d", i);
		}
		EXPECT_EQ(2 * (i + 1), user_nr(self->user));
		ASSERT_TRUE(become_root());
	}
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(-EAGAIN, kaio_setup(fds[0], 1, &ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(fds[CGROUPS - 1], 1, &ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->user, 1, &ctx));
	ASSERT_TRUE(become_root());
	EXPECT_TRUE(enter_cgroup("."));
	for (i = 0; i < CGROUPS; i++) {
		close(fds[i]);
		EXPECT_TRUE(remove_cgroup(names[i]));
	}
}

/*
 * The user that opened the file is charged, whatever task uses the descriptor.
 */
TEST_F(limits, charged_to_opener)
{
	const __s64 before = user_nr(self->fd);

	ASSERT_TRUE(become_user(USER_B));
	ASSERT_EQ(0, kaio_setup(self->user, 7, &self->ctx));
	EXPECT_EQ(kaio_capacity(7), user_nr(self->user));
	ASSERT_TRUE(become_root());
	ASSERT_TRUE(become_user(USER_A));
	EXPECT_EQ(kaio_capacity(7), user_nr(self->user));
	ASSERT_TRUE(become_root());
	EXPECT_EQ(before, user_nr(self->fd));
}

/* The real user id counts. */
TEST_F(limits, real_user)
{
	int fd;

	ASSERT_EQ(0, setresuid(USER_A, USER_B, 0));
	fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, kaio_setup(fd, 7, &self->ctx));
	ASSERT_TRUE(become_root());
	EXPECT_EQ(kaio_capacity(7), user_nr(self->user));
	close(fd);
}

TEST_F(limits, root_is_exempt)
{
	const __s64 before = user_nr(self->fd);

	ASSERT_TRUE(write_number(USER_SYSCTL, 0));
	EXPECT_EQ(0, kaio_setup(self->fd, 100, &self->ctx));
	/*
	 * Root's requests are counted too. The limit is 0, so the context gets
	 * no more than it asked for.
	 */
	EXPECT_EQ(before + 100, user_nr(self->fd));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(before, user_nr(self->fd));
}

/* Root is exempt because of its capability. */
TEST_F(limits, root_without_capability)
{
	__u64 second;

	ASSERT_TRUE(write_number(USER_SYSCTL, user_nr(self->fd) + 10));
	ASSERT_TRUE(drop_capability(CAP_SYS_RESOURCE));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 11, &self->ctx));
	EXPECT_EQ(0, kaio_setup(self->fd, 10, &self->ctx));
	EXPECT_EQ(-EAGAIN, kaio_setup(self->fd, 1, &second));
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
}

/*
 * The tests below check that all charges are released.
 */
FIXTURE(charge)
{
	int fd;
	int user;
	__s64 nr;
};

FIXTURE_VARIANT(charge)
{
	/* Runs in a child that has become the user. Returns its exit status. */
	int (*end)(int fd, __u64 ctx);
	int status;
};

static int end_by_destroy(int fd, __u64 ctx)
{
	return kaio_destroy(fd, ctx) || user_nr(fd);
}

static int end_by_close(int fd, __u64 ctx)
{
	const int other = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);

	(void)ctx;
	close(fd);
	return !wait_until(user_nr(other) == 0);
}

static int end_by_unmap(int fd, __u64 ctx)
{
	return munmap(ring_of(ctx), PAGE) || !wait_until(user_nr(fd) == 0);
}

static int end_by_exit(int fd, __u64 ctx)
{
	(void)fd;
	(void)ctx;
	return 0;
}

/* The executed program has the descriptor, but no context. */
static int end_by_exec(int fd, __u64 ctx)
{
	(void)ctx;
	fcntl(fd, F_SETFD, 0);
	execl("/bin/true", "true", NULL);
	return 1;
}

static int end_by_kill(int fd, __u64 ctx)
{
	(void)fd;
	(void)ctx;
	raise(SIGKILL);
	return 1;
}

/* Dies with requests that wait. */
static int end_by_kill_with_requests(int fd, __u64 ctx)
{
	struct iocb iocb;
	int ends[2], i;
	char c;

	if (pipe2(ends, O_CLOEXEC))
		return 1;
	prep_pread(&iocb, ends[0], &c, 1, 0);
	for (i = 0; i < NR_EVENTS; i++)
		if (kaio_submit_one(fd, ctx, &iocb) != 1)
			return 2;
	return end_by_kill(fd, ctx);
}

static int fail_to_map(int fd, __u64 ctx)
{
	struct rlimit old, none;

	if (kaio_destroy(fd, ctx) || getrlimit(RLIMIT_AS, &old))
		return 1;
	none = old;
	none.rlim_cur = PAGE;
	if (setrlimit(RLIMIT_AS, &none))
		return 2;
	if (kaio_setup(fd, NR_EVENTS, &ctx) != -ENOMEM)
		return 3;
	if (setrlimit(RLIMIT_AS, &old))
		return 4;
	return user_nr(fd) ? 5 : 0;
}

static int fail_to_answer(int fd, __u64 ctx)
{
	struct kaio_setup *arg = (void *)map_guarded(1);

	if (!arg || kaio_destroy(fd, ctx))
		return 1;
	arg->nr_events = NR_EVENTS;
	if (mprotect(arg, PAGE, PROT_READ))
		return 2;
	if (kaio_ioctl(fd, KAIO_SETUP, arg) != -EFAULT)
		return 3;
	return user_nr(fd) ? 4 : 0;
}

/* clang-format off */
FIXTURE_VARIANT_ADD(charge, destroy) { .end = end_by_destroy };
FIXTURE_VARIANT_ADD(charge, close) { .end = end_by_close };
FIXTURE_VARIANT_ADD(charge, unmap) { .end = end_by_unmap };
FIXTURE_VARIANT_ADD(charge, exit) { .end = end_by_exit };
FIXTURE_VARIANT_ADD(charge, exec) { .end = end_by_exec };
FIXTURE_VARIANT_ADD(charge, kill) {
	.end = end_by_kill,
	.status = SIGKILL,
};

FIXTURE_VARIANT_ADD(charge, kill_with_requests) {
	.end = end_by_kill_with_requests,
	.status = SIGKILL,
};

FIXTURE_VARIANT_ADD(charge, fail_to_map) { .end = fail_to_map };
FIXTURE_VARIANT_ADD(charge, fail_to_answer) { .end = fail_to_answer };
/* clang-format on */

FIXTURE_SETUP(charge)
{
	open_twice(_metadata, &self->fd, &self->user, &self->nr);
}

FIXTURE_TEARDOWN(charge)
{
	close(self->user);
	close(self->fd);
}

TEST_F(charge, released)
{
	int status, i;
	pid_t pid;

	for (i = 0; i < 3; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			__u64 ctx;
			int fd;

			if (!become_user(USER_A))
				_exit(100);
			fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
			if (kaio_setup(fd, NR_EVENTS, &ctx))
				_exit(101);
			if (user_nr(fd) != kaio_capacity(NR_EVENTS))
				_exit(102);
			_exit(variant->end(fd, ctx));
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(variant->status, status)
		{
			TH_LOG("status %#x", status);
		}
		EXPECT_TRUE(wait_until(user_nr(self->user) == 0));
		EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr));
	}
}

/*
 * Many threads reach the limit at the same time.
 */
struct contender {
	int fd;
	__u64 most;
	struct sleeper thread;
};

/* Returns the number of wrong answers. */
static long contend(void *arg)
{
	struct contender *contender = arg;
	int bad = 0, done = 0;

	while (done < 100) {
		struct kaio_query query;
		__u64 ctx;
		long ret = kaio_setup(contender->fd, 10, &ctx);

		if (kaio_query(contender->fd, &query))
			bad++;
		if (query.user_nr > contender->most)
			contender->most = query.user_nr;
		if (!ret) {
			done++;
			bad += !!kaio_destroy(contender->fd, ctx);
		} else {
			bad += ret != -EAGAIN;
			sched_yield();
		}
	}
	return bad;
}

TEST_F_TIMEOUT(limits, contention, 60)
{
	struct contender contenders[4] = {};
	int i;

	ASSERT_TRUE(write_number(USER_SYSCTL, 25));
	ASSERT_TRUE(become_user(USER_A));
	for (i = 0; i < 4; i++) {
		contenders[i].fd = self->user;
		ASSERT_TRUE(start_call(&contenders[i].thread, contend,
				       &contenders[i]));
	}
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, result_of_call(&contenders[i].thread));
		EXPECT_GE(25, contenders[i].most);
	}
	EXPECT_EQ(0, user_nr(self->user));
	EXPECT_EQ(self->nr, kaio_nr(self->user));
}

/*
 * A server of any user can have hundreds of contexts with the default limits.
 */
#define CONTEXTS	500
#define REQUESTS	128

TEST_F_TIMEOUT(limits, server, 120)
{
	static __u64 ctx[CONTEXTS];
	struct iocb iocb;
	int i;

	ASSERT_EQ(DEFAULT_MAX_NR, self->max_nr);
	ASSERT_EQ(DEFAULT_MAX_USER_NR, self->max_user_nr);
	ASSERT_TRUE(become_user(USER_A));
	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, kaio_setup(self->user, REQUESTS, &ctx[i]))
		{
			TH_LOG("context %d", i);
		}
	}
	EXPECT_EQ(CONTEXTS * kaio_capacity(REQUESTS), user_nr(self->user));
	prep_noop(&iocb, self->user);
	for (i = 0; i < CONTEXTS; i++) {
		ASSERT_EQ(0, kaio_do(self->user, ctx[i], &iocb))
		{
			TH_LOG("context %d", i);
		}
	}
	for (i = 0; i < CONTEXTS; i++)
		ASSERT_EQ(0, kaio_destroy(self->user, ctx[i]));
	EXPECT_EQ(0, user_nr(self->user));
}

/*
 * A context is charged for as many requests as it can hold, however few it was
 * asked to hold.
 */
TEST_F_TIMEOUT(limits, charge_equals_capacity, 60)
{
	const __s64 before = user_nr(self->fd);
	int ends[2], i, held = 0;
	struct iocb iocb;
	__u64 ctx[50];
	char c;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx[i]));
		while (kaio_submit_one(self->fd, ctx[i], &iocb) == 1)
			held++;
	}
	EXPECT_STAT(held, self->fd, "inflight");
	EXPECT_EQ(self->nr + held, kaio_nr(self->fd));
	EXPECT_EQ(before + held, user_nr(self->fd));
	for (i = 0; i < 50; i++)
		ASSERT_EQ(0, kaio_destroy(self->fd, ctx[i]));
}

/*
 * kaio does not refuse a small context because it gave earlier contexts of the
 * same user more than they asked for. The small context then gets exactly what
 * it asked for.
 */
#define SHARE	1000

static void expect_last_half(struct __test_metadata *const _metadata, int fd,
			     __s64 (*charged)(int fd), __s64 max)
{
	__u64 ctx[SHARE];
	struct iocb iocb;
	int ends[2], i;
	__s64 now = 0;
	char c;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	for (i = 0; charged(fd) < max - max / 2; i++) {
		now = charged(fd);
		ASSERT_EQ(0, kaio_setup(fd, 1, &ctx[i]));
		if (charged(fd) - now == 1)
			break;
		EXPECT_EQ(kaio_capacity(1), charged(fd) - now);
	}
	/* This context was the first that got no more than it asked for. */
	EXPECT_LT(max / 2, now + kaio_capacity(1));
	prep_pread(&iocb, ends[0], &c, 1, 0);
	EXPECT_EQ(1, kaio_submit_one(fd, ctx[i], &iocb));
	EXPECT_EQ(-EAGAIN, kaio_submit_one(fd, ctx[i], &iocb));
	for (i++; charged(fd) < max; i++) {
		ASSERT_GT(SHARE, i);
		ASSERT_EQ(0, kaio_setup(fd, 1, &ctx[i]));
	}
	EXPECT_EQ(-EAGAIN, kaio_setup(fd, 1, &ctx[0]));
	EXPECT_EQ(max, charged(fd));
}

TEST_F_TIMEOUT(limits, last_half_of_user_limit, 60)
{
	ASSERT_TRUE(write_number(USER_SYSCTL, SHARE));
	ASSERT_TRUE(become_user(USER_A));
	expect_last_half(_metadata, self->user, user_nr, SHARE);
}

TEST_F_TIMEOUT(limits, last_half_of_system_limit, 60)
{
	ASSERT_TRUE(write_number(MAX_SYSCTL, SHARE));
	ASSERT_TRUE(become_user(USER_A));
	expect_last_half(_metadata, self->user, kaio_nr, SHARE);
}

/*
 * A context of three requests can have three requests in flight and wait for
 * all of them.
 */
TEST_F(limits, small_context)
{
	struct io_event events[3];
	struct iocb iocb;
	int i, round;

	ASSERT_TRUE(write_number(USER_SYSCTL, 3));
	ASSERT_TRUE(become_user(USER_A));
	ASSERT_EQ(0, kaio_setup(self->user, 3, &self->ctx));
	EXPECT_EQ(3, user_nr(self->user));
	prep_noop(&iocb, self->user);
	/* Use every slot of the ring, which has more slots than three. */
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 3; i++)
			ASSERT_EQ(1, kaio_submit_one(self->user, self->ctx,
						     &iocb));
		ASSERT_EQ(-EAGAIN,
			  kaio_submit_one(self->user, self->ctx, &iocb));
		ASSERT_EQ(3, kaio_wait(self->user, self->ctx, 3, events));
	}
}

/*
 * A context takes as many requests as were asked for, and more only if its ring
 * has room for them.
 */
static void expect_taken(struct __test_metadata *const _metadata, int fd,
			 __u32 nr, int file)
{
	const __u32 more = nr + PAGE / sizeof(struct io_event) + 2;
	struct iocb iocb, **iocbs = calloc(more, sizeof(*iocbs));
	long taken;
	char c;
	__u64 ctx;
	__u32 i;

	ASSERT_NE(NULL, iocbs);
	prep_pread(&iocb, file, &c, 1, 0);
	for (i = 0; i < more; i++)
		iocbs[i] = &iocb;
	ASSERT_EQ(0, kaio_setup(fd, nr, &ctx));
	taken = kaio_submit(fd, ctx, nr, iocbs);
	EXPECT_EQ((long)nr, taken)
	{
		TH_LOG("of %u requests %ld were taken", nr, taken);
	}
	/* The last page of the ring has room for a few more. */
	while (taken > 0 && taken < (long)more) {
		const long ret = kaio_submit(fd, ctx, more - taken, iocbs);

		if (ret < 0) {
			EXPECT_EQ(-EAGAIN, ret);
			break;
		}
		taken += ret;
	}
	EXPECT_GT((long)more, taken)
	{
		TH_LOG("of %u requests %ld were taken", nr, taken);
	}
	EXPECT_STAT(taken, fd, "inflight");
	ASSERT_EQ(0, kaio_destroy(fd, ctx));
	free(iocbs);
}

TEST_F_TIMEOUT(limits, holds_as_many_as_asked_for, 120)
{
	const __u32 sizes[] = { 250,  251,  252,  253,	254,  255,
				256,  257,  382,  383,	384,  511,
				512,  1000, 1024, 2047, 4096, 10000 };
	int ends[2];
	__u32 nr;
	size_t i;

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	for (nr = 1; nr <= 130; nr++)
		expect_taken(_metadata, self->fd, nr, ends[0]);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_taken(_metadata, self->fd, sizes[i], ends[0]);
}

/*
 * A user that only opens the device costs little of the kernel's memory,
 * because the first context of a user makes the workers. No cgroup is charged
 * for all memory of the workers.
 */
#define NR_OPENERS	2000

/* Returns kilobytes. */
static long kernel_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char name[64];
	long value, sum = 0;

	while (file && fscanf(file, "%63[^:]: %ld%*[^\n]\n", name, &value) == 2) {
		if (!strcmp(name, "SUnreclaim") || !strcmp(name, "Percpu"))
			sum += value;
	}
	if (file)
		fclose(file);
	return sum;
}

/*
 * Returns the cost, in kilobytes, of NR_OPENERS open files of the users @uid,
 * @uid + @step and so on.
 */
static long cost_of_openers(uid_t uid, uid_t step)
{
	static int fds[NR_OPENERS];
	const long before = kernel_memory();
	long cost = -1;
	int i;

	for (i = 0; i < NR_OPENERS; i++, uid += step) {
		fds[i] = open_as(uid);
		if (fds[i] < 0)
			break;
	}
	if (i == NR_OPENERS)
		cost = kernel_memory() - before;
	while (i--)
		close(fds[i]);
	return cost;
}

TEST_F_TIMEOUT(limits, openers_cost_little, 120)
{
	const struct rlimit files = { NR_OPENERS + 100, NR_OPENERS + 100 };
	long of_one, of_many;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	of_one = cost_of_openers(70000, 0);
	of_many = cost_of_openers(80000, 1);
	ASSERT_LE(0, of_one);
	ASSERT_LE(0, of_many);
	TH_LOG("%d files of one user: %ld kB; of as many users: %ld kB", NR_OPENERS,
	       of_one, of_many);
	/* Two workqueues take 7 kilobytes at least. */
	EXPECT_GT(of_one + NR_OPENERS * 4L, of_many);
}

/*
 * There are more users than can have workers of their own, and each is served.
 */
TEST_F_TIMEOUT(limits, workers_are_shared, 120)
{
	enum { NR = 100 };
	struct iocb iocb;
	__u64 ctx;
	int fds[NR], ends[2], i;
	char byte;

	for (i = 0; i < NR; i++) {
		fds[i] = open_as(90000 + i);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, kaio_setup(fds[i], 1, &ctx));
		/*
		 * A kick handler runs the first request, and a worker the
		 * second.
		 */
		ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
		prep_pread(&iocb, ends[0], &byte, 1, 0);
		ASSERT_EQ(1, kaio_submit_one(fds[i], ctx, &iocb));
		ASSERT_EQ(1, write(ends[1], "x", 1));
		EXPECT_TRUE(wait_until(kaio_stat(fds[i], "completed") == 1));
		prep_fsync(&iocb, open_temp(DISK_DIR, 0));
		ASSERT_EQ(1, kaio_submit_one(fds[i], ctx, &iocb));
		EXPECT_TRUE(wait_until(kaio_stat(fds[i], "completed") == 2));
		close(iocb.aio_fildes);
		close(ends[0]);
		close(ends[1]);
	}
	for (i = 0; i < NR; i++)
		close(fds[i]);
}

TEST_HARNESS_MAIN
