/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Defines the fixture of the tests with the sample providers
 * (samples/kaio_ticker*). One provider is written in C, one in Rust, and both
 * must behave alike. A program loads their modules when it starts and removes
 * them when it ends, because kaio cannot be removed while they are loaded.
 */
#ifndef KAIO_PROVIDER_FIXTURE_H
#define KAIO_PROVIDER_FIXTURE_H

#include "blocking_threads.h"
#include "../samples/kaio_ticker.h"

#define MODULE_DIR	"/"

static const char *const modules[] = { "kaio_ticker_c", "kaio_ticker_rust" };

static inline int load_module(const char *name)
{
	char path[64];
	long ret;
	int fd;

	snprintf(path, sizeof(path), MODULE_DIR "%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret == -EEXIST ? 0 : ret;
}

static inline long remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

/* Removes the module once nothing of it is in use any more. */
static inline bool is_removed(const char *name)
{
	const bool done = wait_until(remove_module(name) != -EWOULDBLOCK);

	return done && remove_module(name) == -ENOENT;
}

FIXTURE(ticker)
{
	int fd;
	__u64 ctx;
	int file;
	int log;
	char buf[64];
};

FIXTURE_VARIANT(ticker)
{
	const char *module;
	const char *node;
	/* The module can break the contract on request. */
	bool can_break_contract;
};

FIXTURE_VARIANT_ADD(ticker, c)
{
	.module = "kaio_ticker_c",
	.node = KAIO_TICKER_C,
	.can_break_contract = true,
};

FIXTURE_VARIANT_ADD(ticker, rust)
{
	.module = "kaio_ticker_rust",
	.node = KAIO_TICKER_RUST,
};

static inline long ticker_set(int file, __u32 flags)
{
	const struct kaio_ticker_config config = {
		.tick_bytes = 4,
		.flags = flags,
	};

	return kaio_ioctl(file, KAIO_TICKER_SET, &config);
}

static inline long ticker_run(int file, __u64 period_ns, __u32 flags)
{
	const struct kaio_ticker_config config = {
		.period_ns = period_ns,
		.tick_bytes = 4,
		.flags = flags,
	};

	return kaio_ioctl(file, KAIO_TICKER_SET, &config);
}

static inline struct kaio_ticker_info ticker_info(int file)
{
	struct kaio_ticker_info info = {};

	kaio_ioctl(file, KAIO_TICKER_INFO, &info);
	return info;
}

/* Makes the file tick once. The tick is over when this returns. */
static inline bool tick(int file)
{
	const __u64 ticks = ticker_info(file).ticks;

	return !kaio_ioctl(file, KAIO_TICKER_TICK, NULL) &&
	       wait_until(ticker_info(file).ticks == ticks + 1);
}

#define wait_for(file, what, value)	wait_until(ticker_info(file).what == (value))

/* Returns true once the request waits again, after @nr attempts. */
static inline bool waits_again(int file, __u64 nr)
{
	return wait_for(file, retries, nr) && wait_for(file, waiting, 1);
}

/*
 * Makes the file kick or complete twice, within the attempt. Returns false if
 * the test is over, because the module cannot break the contract.
 */
static inline bool set_early_violation(struct __test_metadata *const _metadata, int file,
				       const FIXTURE_VARIANT(ticker) *variant, __u32 flags)
{
	if (!variant->can_break_contract) {
		EXPECT_EQ(-EOPNOTSUPP, ticker_set(file, KAIO_TICKER_TWICE_EARLY));
		return false;
	}
	ASSERT_EQ(0, ticker_set(file, flags | KAIO_TICKER_TWICE_EARLY));
	return true;
}

/*
 * Sets @flags, which break the contract after the end of a request. Returns
 * false if the test is over, because the module or its build refuses them.
 */
static inline bool set_late_violation(struct __test_metadata *const _metadata, int file,
				      const FIXTURE_VARIANT(ticker) *variant, __u32 flags)
{
	const long ret = ticker_set(file, flags);

	if (ret == -EOPNOTSUPP && variant->can_break_contract)
		SKIP(return false, "no debug assertions");
	if (!variant->can_break_contract) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return false;
	}
	ASSERT_EQ(0, ret);
	return true;
}

FIXTURE_SETUP(ticker)
{
	self->file = -1;
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	ASSERT_TRUE(wait_until(!access(variant->node, R_OK | W_OK)));
	self->file = open(variant->node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ticker_set(self->file, 0));
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
	self->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->log);
	ASSERT_EQ(0, lseek(self->log, 0, SEEK_END));
}

/* Whatever a test did, each request has ended exactly once. */
FIXTURE_TEARDOWN(ticker)
{
	if (self->file >= 0) {
		ticker_set(self->file, 0);
		kaio_destroy(self->fd, self->ctx);
		while (ticker_info(self->file).waiting || ticker_info(self->file).queued)
			if (!tick(self->file))
				break;
		expect_all_completed(_metadata, self->fd);
		close(self->file);
	}
	close(self->fd);
	close(self->log);
}

/* Returns true if the kernel log has contained @what since the test began. */
static inline bool log_says(int log, const char *what)
{
	char line[1024];
	ssize_t n;

	while ((n = read(log, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[n > 0 ? n : 0] = 0;
		if (strstr(line, what))
			return true;
	}
	return false;
}

#define NO_KICK		"kicks a request that is owed no kick"
#define NO_COMPLETION	"completes a request that is owed no completion"

/* Submits @iocb with the user data that expect_end() expects. */
static inline long submit(FIXTURE_DATA(ticker) *self, struct iocb *iocb)
{
	iocb->aio_data = 7;
	return kaio_submit_one(self->fd, self->ctx, iocb);
}

static inline long submit_read(FIXTURE_DATA(ticker) *self, struct iocb *iocb, size_t n)
{
	prep_pread(iocb, self->file, self->buf, n, 0);
	return submit(self, iocb);
}

static inline long submit_write(FIXTURE_DATA(ticker) *self, struct iocb *iocb, size_t n)
{
	prep_pwrite(iocb, self->file, self->buf, n, 0);
	return submit(self, iocb);
}

/*
 * Expects that @iocb completes with @res and @res2, and that no other request
 * completes.
 */
static inline void expect_end(struct __test_metadata *const _metadata, FIXTURE_DATA(ticker) *self,
			      const struct iocb *iocb, __s64 res, __s64 res2)
{
	struct io_event event;

	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ((uintptr_t)iocb, event.obj);
	EXPECT_EQ(7, event.data);
	EXPECT_EQ(res, event.res);
	EXPECT_EQ(res2, event.res2);
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &event, &no_wait));
}

/*
 * Cancels a read that waits. The provider keeps its part of the request, and
 * owes kaio a kick.
 */
static inline void cancel_kept_read(struct __test_metadata *const _metadata,
				    FIXTURE_DATA(ticker) *self, size_t n)
{
	struct iocb iocb;

	ASSERT_EQ(0, ticker_set(self->file, KAIO_TICKER_KEEP));
	ASSERT_EQ(1, submit_read(self, &iocb, n));
	EXPECT_EQ(-EINPROGRESS, kaio_cancel(self->fd, self->ctx, &iocb));
	expect_end(_metadata, self, &iocb, -ECANCELED, 0);
}

static inline bool no_event(FIXTURE_DATA(ticker) *self)
{
	return stays_quiet(self->fd, self->ctx);
}

/*
 * Runs the tests in a child, because the harness ends its process. Returns the
 * exit status of the child.
 */
static inline int run_tests(int argc, char **argv)
{
	pid_t child = fork();
	int status;

	if (!child)
		exit(test_harness_run(argc, argv));
	if (child < 0 || waitpid(child, &status, 0) != child)
		ksft_exit_fail_msg("the tests cannot be started: %s\n", strerror(errno));
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	ksft_print_msg("the tests were killed by signal %d\n", WTERMSIG(status));
	return KSFT_FAIL;
}

static inline int run_with_modules(int argc, char **argv)
{
	int ret, i;

	for (i = 0; i < 2; i++) {
		ret = load_module(modules[i]);
		if (ret == -ENOENT || ret == -EPERM)
			ksft_exit_skip("%s.ko cannot be loaded: CONFIG_KAIO_SAMPLES, root\n",
				       modules[i]);
		if (ret)
			ksft_exit_fail_msg("%s.ko: %s\n", modules[i], strerror(-ret));
	}
	ret = run_tests(argc, argv);
	for (i = 0; i < 2; i++) {
		if (!is_removed(modules[i])) {
			ksft_print_msg("%s cannot be removed\n", modules[i]);
			ret = KSFT_FAIL;
		}
	}
	return ret;
}

#endif /* KAIO_PROVIDER_FIXTURE_H */
