// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Threads that stop between two steps of the library: the helper while it holds
 * the lock, and a thread whose request has its slot while the kernel does not
 * have the request yet.
 */
#include "posix_common.h"

static char buf[PAGE];
static char bytes[4 * ROOM];

/*
 * The helper stops while it holds the lock: it writes the result of the request
 * @cb[0], a read of a pipe, to a page that is write-protected.
 */
FIXTURE(stopped)
{
	int fds[2];
	/* The control block is on a page of its own. */
	struct aiocb *cb;
	int traps;
};

FIXTURE_SETUP(stopped)
{
	self->traps = -1;
	self->cb = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->cb);
	empty_pipe(_metadata, self->fds);
	self->cb[0] = block_of(self->fds[0], buf, 1, 0);
	read_waits(_metadata, &self->cb[0]);
}

FIXTURE_TEARDOWN(stopped)
{
	close(self->traps);
}

#define stop_helper()							\
	do {								\
		struct pollfd _trapped = { .events = POLLIN };		\
									\
		self->traps = trap_writes(_metadata, self->cb);		\
		_trapped.fd = self->traps;				\
		ASSERT_EQ(1, write(self->fds[1], "x", 1));		\
		ASSERT_EQ(1, poll(&_trapped, 1, PATIENCE_SECONDS * 1000)); \
	} while (0)

#define helper_goes_on()						\
	do {								\
		ASSERT_EQ(0, close(self->traps));			\
		ASSERT_EQ(1, result_of(&self->cb[0]));			\
	} while (0)

/* Returns the library's context with the highest address; 0 if there is none. */
static __u64 context(void)
{
	char line[512];
	__u64 last = 0;
	FILE *file = fopen("/proc/self/maps", "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "[kaio"))
			last = strtoul(line, NULL, 16);
	fclose(file);
	return last;
}

/* Makes @nr reads that wait for a pipe. */
static void reads_wait(struct __test_metadata *const _metadata, struct aiocb *cb,
		       int fd, int nr)
{
	int i;

	for (i = 0; i < nr; i++) {
		cb[i] = block_of(fd, &bytes[i], 1, 0);
		ASSERT_EQ(0, aio_read(&cb[i]));
	}
}

/*
 * The kernel has no room for a request that the library held. Its call has
 * already returned success, so the program is notified of its end.
 */
TEST_F(stopped, no_room_for_held_request)
{
	struct aiocb sync = block_of(self->fds[0], NULL, 0, 0);
	static struct iocb others[4096];
	int fds[2], i;
	long ret = 1;

	see_signals(_metadata, SIGUSR1);
	sync.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	sync.aio_sigevent.sigev_signo = SIGUSR1;
	ASSERT_EQ(0, aio_fsync(O_SYNC, &sync));
	ASSERT_NE(0, context());
	empty_pipe(_metadata, fds);
	stop_helper();
	/* The helper has taken the event, so the context has room. */
	for (i = 0; ret == 1 && i < 4096; i++) {
		prep_pread(&others[i], fds[0], buf, 1, 0);
		others[i].aio_data = ~0ULL;
		ret = kaio_submit_one(kaio_find_fd(), context(), &others[i]);
	}
	ASSERT_EQ(-EAGAIN, ret);
	helper_goes_on();
	EXPECT_EQ(EAGAIN, error_of(&sync));
	EXPECT_TRUE(wait_until(times_seen() == 1));
}

/* A thread that waits for a request is woken when the request cannot be made. */
static struct aiocb refused[3];

static long start_list(void *arg)
{
	struct aiocb *list[] = { &refused[0], &refused[1], &refused[2] };

	(void)arg;
	return lio_listio(LIO_NOWAIT, list, 3, NULL) ? -errno : 0;
}

static long wait_for_last(void *arg)
{
	const struct aiocb *list[] = { &refused[2] };

	(void)arg;
	return aio_suspend(list, 1, NULL) ? -errno : 0;
}

TEST_F(stopped, no_room_for_awaited_request)
{
	static struct aiocb others[ROOM - 1];
	const struct rlimit none = { PAGE, RLIM_INFINITY };
	struct sleeper lister;
	struct sleeper waiter = { .call = wait_for_last, .ret = -ENOMSG };
	int fds[3][2], i;

	for (i = 0; i < 3; i++) {
		empty_pipe(_metadata, fds[i]);
		refused[i] = block_of(fds[i][0], buf, 1, 0);
		refused[i].aio_lio_opcode = LIO_READ;
	}
	reads_wait(_metadata, others, fds[0][0], ROOM - 1);
	stop_helper();
	ASSERT_TRUE(fall_asleep(&lister, start_list, NULL));
	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, run_sleeper, &waiter));
	ASSERT_TRUE(wait_until(is_asleep(&waiter) ||
			       __atomic_load_n(&waiter.ret, __ATOMIC_ACQUIRE) != -ENOMSG));
	/* The library cannot make another context. */
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &none));
	helper_goes_on();
	EXPECT_EQ(-EAGAIN, woken(&lister));
	EXPECT_EQ(EAGAIN, aio_error(&refused[2]));
	EXPECT_EQ(0, woken(&waiter));
}

/*
 * A signal handler stops a thread whose request has its slot before the thread
 * has submitted it to the kernel.
 */
static int gate[2];
static bool at_gate;

static void stand_at_gate(int signo)
{
	char c;

	(void)signo;
	__atomic_store_n(&at_gate, true, __ATOMIC_RELEASE);
	while (read(gate[0], &c, 1) < 0)
		;
}

/* The handler runs when the thread gives the lock back. */
#define stop_thread(sleeper, call, arg)					\
	do {								\
		empty_pipe(_metadata, gate);				\
		signal(SIGUSR1, stand_at_gate);				\
		stop_helper();						\
		ASSERT_TRUE(fall_asleep(sleeper, call, arg));		\
		ASSERT_EQ(0, pthread_kill((sleeper)->thread, SIGUSR1)); \
		helper_goes_on();					\
		ASSERT_TRUE(wait_until(__atomic_load_n(&at_gate,	\
						       __ATOMIC_ACQUIRE))); \
	} while (0)

static long start_read(void *arg)
{
	return aio_read(arg) ? -errno : 0;
}

/*
 * The program closes the library's descriptor meanwhile, and the library opens
 * another one with the same number. The request does not end, because the
 * thread may still submit it. The thread does not submit it to a context of the
 * new device.
 */
TEST_F(stopped, all_closed_before_submission)
{
	struct aiocb cb, other = block_of(open_temp(MEM_DIR, 0), bytes, PAGE / 16, 0);
	struct sleeper reader;
	const __u64 before = context();
	int fds[2], fd = kaio_find_fd();

	empty_pipe(_metadata, fds);
	cb = block_of(fds[0], buf, 5, 0);
	ASSERT_NE(0, before);
	stop_thread(&reader, start_read, &cb);
	ASSERT_EQ(0, close(fd));
	/* Wait until the helper has seen that the descriptor is gone. */
	ASSERT_TRUE(wait_until(!context()));
	ASSERT_EQ(0, aio_write(&other));
	EXPECT_EQ((ssize_t)PAGE / 16, result_of(&other));
	EXPECT_EQ(fd, kaio_find_fd());
	EXPECT_NE(before, context());
	EXPECT_TRUE(stays_in_progress(&cb));
	ASSERT_EQ(1, write(gate[1], "x", 1));
	EXPECT_EQ(0, woken(&reader));
	ASSERT_EQ(5, write(fds[1], "hello", 5));
	EXPECT_EQ(5, result_of(&cb));
	EXPECT_EQ(0, memcmp(buf, "hello", 5));
	/* No helper or releaser waits for the request any more. */
	EXPECT_TRUE(wait_until(threads() == 1));
}

/* Held requests of a list come after the other requests of the list. */
#define NR_LIST	10

static struct aiocb listed[NR_LIST];
static char listed_bytes[NR_LIST];

static long read_list(void *arg)
{
	struct aiocb *list[NR_LIST];
	int i;

	for (i = 0; i < NR_LIST; i++) {
		listed[i] = block_of(*(int *)arg, &listed_bytes[i], 1, 0);
		listed[i].aio_lio_opcode = LIO_READ;
		list[i] = &listed[i];
	}
	return lio_listio(LIO_NOWAIT, list, NR_LIST, NULL) ? -errno : 0;
}

TEST_F(stopped, list_in_order)
{
	/* The context has room for all requests of the list but two. */
	const int nr = ROOM - (NR_LIST - 2);
	static struct aiocb before[ROOM];
	struct sleeper lister;
	int fds[2], i;

	empty_pipe(_metadata, fds);
	reads_wait(_metadata, before, fds[0], nr);
	stop_thread(&lister, read_list, &fds[0]);
	/* The context gets room for one more request. */
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, result_of(&before[0]));
	EXPECT_TRUE(stays_in_progress(&listed[0]));
	ASSERT_EQ(1, write(gate[1], "x", 1));
	EXPECT_EQ(0, woken(&lister));
	for (i = 1; i < nr; i++) {
		ASSERT_EQ(1, write(fds[1], "x", 1));
		ASSERT_EQ(1, result_of(&before[i]));
	}
	for (i = 0; i < NR_LIST; i++) {
		const char byte = '0' + i;

		ASSERT_EQ(1, write(fds[1], &byte, 1));
		ASSERT_EQ(1, result_of(&listed[i]));
		EXPECT_EQ(byte, listed_bytes[i]);
	}
}

TEST_HARNESS_MAIN
