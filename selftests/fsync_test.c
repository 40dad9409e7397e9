// SPDX-License-Identifier: GPL-2.0
/*
 * Tests IOCB_CMD_FSYNC and IOCB_CMD_FDSYNC: which files are refused, which
 * data is on the device when the event is there, and that the submitter does
 * not wait.
 */
#include "context_fixture.h"
#include "devices.h"
#include "refused.h"
#include "sleeps.h"

/*
 * These requests are refused.
 */
/* clang-format off */
#define REFUSED(_name, _err, _open, _spoil) \
	FIXTURE_VARIANT_ADD(refused, _name) { \
		.opcode = IOCB_CMD_FSYNC, .err = _err, \
		.open = _open, .make_invalid = _spoil, \
	}
#define REFUSED_DATA(_name, _err, _open, _spoil) \
	FIXTURE_VARIANT_ADD(refused, fdsync_##_name) { \
		.opcode = IOCB_CMD_FDSYNC, .err = _err, \
		.open = _open, .make_invalid = _spoil, \
	}

REFUSED(of_pipe, EINVAL, pipe_writer, NULL);
REFUSED(of_socket, EINVAL, a_socket, NULL);
REFUSED(of_eventfd, EINVAL, an_eventfd, NULL);
REFUSED(of_epoll_fd, EINVAL, an_epoll_fd, NULL);
REFUSED(of_dev_null, EINVAL, dev_null, NULL);
REFUSED(of_proc_file, EINVAL, proc_file, NULL);
REFUSED(of_proc_dir, EINVAL, proc_directory, NULL);
REFUSED(of_path_fd, EBADF, path_fd, NULL);
REFUSED(of_negative_fd, EBADF, negative_fd, NULL);
REFUSED(of_closed_fd, EBADF, closed_fd, NULL);
REFUSED(with_buf, EINVAL, a_file, some_buf);
REFUSED(with_offset, EINVAL, a_file, some_offset);
REFUSED(with_negative_offset, EINVAL, a_file, negative_offset);
REFUSED(with_nbytes, EINVAL, a_file, some_nbytes);
REFUSED(with_known_rw_flag, EINVAL, a_file, known_rw_flag);
/* The error is not EOPNOTSUPP, which a transfer would get. */
REFUSED(with_unknown_rw_flag, EINVAL, a_file, unknown_rw_flag);
REFUSED(with_reserved2, EINVAL, a_file, some_reserved2);
REFUSED(with_bad_resfd, EBADF, a_file, bad_resfd);
REFUSED(with_file_as_resfd, EINVAL, a_file, own_fd_as_resfd);
/* These variants show the order of the checks. */
REFUSED(of_closed_fd_with_buf, EBADF, closed_fd, some_buf);
REFUSED(of_closed_fd_with_reserved2, EINVAL, closed_fd, some_reserved2);
REFUSED_DATA(of_pipe, EINVAL, pipe_writer, NULL);
REFUSED_DATA(of_socket, EINVAL, a_socket, NULL);
REFUSED_DATA(of_eventfd, EINVAL, an_eventfd, NULL);
REFUSED_DATA(of_epoll_fd, EINVAL, an_epoll_fd, NULL);
REFUSED_DATA(of_dev_null, EINVAL, dev_null, NULL);
REFUSED_DATA(of_proc_file, EINVAL, proc_file, NULL);
REFUSED_DATA(of_proc_dir, EINVAL, proc_directory, NULL);
REFUSED_DATA(of_path_fd, EBADF, path_fd, NULL);
REFUSED_DATA(of_negative_fd, EBADF, negative_fd, NULL);
REFUSED_DATA(of_closed_fd, EBADF, closed_fd, NULL);
REFUSED_DATA(with_buf, EINVAL, a_file, some_buf);
REFUSED_DATA(with_offset, EINVAL, a_file, some_offset);
REFUSED_DATA(with_negative_offset, EINVAL, a_file, negative_offset);
REFUSED_DATA(with_nbytes, EINVAL, a_file, some_nbytes);
REFUSED_DATA(with_known_rw_flag, EINVAL, a_file, known_rw_flag);
REFUSED_DATA(with_unknown_rw_flag, EINVAL, a_file, unknown_rw_flag);
REFUSED_DATA(with_reserved2, EINVAL, a_file, some_reserved2);
REFUSED_DATA(with_bad_resfd, EBADF, a_file, bad_resfd);
REFUSED_DATA(with_file_as_resfd, EINVAL, a_file, own_fd_as_resfd);
REFUSED_DATA(of_closed_fd_with_buf, EBADF, closed_fd, some_buf);
REFUSED_DATA(of_closed_fd_with_reserved2, EINVAL, closed_fd, some_reserved2);
/* clang-format on */

/*
 * Each file with an fsync method is accepted, whatever its open flags are.
 */
FIXTURE(taken)
{
	int fd;
	__u64 ctx;
	int file;
	struct iocb iocb;
};

FIXTURE_VARIANT(taken)
{
	const char *path;
	int flags;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(taken, disk) { DISK_DIR, O_TMPFILE | O_RDWR };
FIXTURE_VARIANT_ADD(taken, disk_write_only) { DISK_DIR, O_TMPFILE | O_WRONLY };
FIXTURE_VARIANT_ADD(taken, disk_direct) {
	DISK_DIR, O_TMPFILE | O_RDWR | O_DIRECT
};
FIXTURE_VARIANT_ADD(taken, disk_dir) { DISK_DIR, O_RDONLY | O_DIRECTORY };
FIXTURE_VARIANT_ADD(taken, memory) { MEM_DIR, O_TMPFILE | O_RDWR };
FIXTURE_VARIANT_ADD(taken, memory_dir) { MEM_DIR, O_RDONLY | O_DIRECTORY };
/* clang-format on */

FIXTURE_SETUP(taken)
{
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = open(variant->path, variant->flags | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->file);
}

FIXTURE_TEARDOWN(taken)
{
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	close(self->fd);
}

TEST_F(taken, fsync)
{
	prep_fsync(&self->iocb, self->file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &self->iocb));
	/* An fsync is never done in the submit call. */
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(1, kaio_stat(self->fd, "queued"));
}

TEST_F(taken, fdsync)
{
	prep_fdsync(&self->iocb, self->file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(0, kaio_stat(self->fd, "inline"));
	EXPECT_EQ(1, kaio_stat(self->fd, "queued"));
}

TEST_F(taken, as_native)
{
	aio_context_t native;
	struct answer answer;

	if (native_setup(1, &native))
		SKIP(return, "this kernel has no native AIO");
	prep_fsync(&self->iocb, self->file);
	answer = ask_native(native, &self->iocb);
	EXPECT_EQ(1, answer.submit);
	EXPECT_EQ(0, answer.res);
}

TEST_F(context, read_only_fd)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	const int reader = reopen(file, O_RDONLY);
	struct iocb iocb;

	ASSERT_LE(0, reader);
	prep_fsync(&iocb, reader);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_fdsync(&iocb, reader);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

/* aio_reqprio is ignored, as natively. */
TEST_F(context, reqprio_ignored)
{
	const int file = a_file();
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_fsync(&iocb, file);
	iocb.aio_flags = IOCB_FLAG_IOPRIO;
	iocb.aio_reqprio = 7 << 13;
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
}

/* The request holds the file. */
TEST_F(context, closed_after_submit)
{
	const int file = open_pattern(DISK_DIR, 1, PAGE);
	struct io_event event;
	struct iocb iocb;

	ASSERT_LE(0, file);
	prep_fsync(&iocb, file);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &iocb));
	close(file);
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &event));
	EXPECT_EQ(0, event.res);
}

/* When the fsync completes, the disk has the data. */
TEST_F(context, disk_has_data)
{
	const int file = open_temp(DISK_DIR, 0);
	static char data[1 << 20];
	struct iocb iocb;
	long before;

	ASSERT_LE(0, file);
	ASSERT_EQ((long)sizeof(data), write(file, data, sizeof(data)));
	before = sectors_written(file);
	ASSERT_LE(0, before);
	prep_fsync(&iocb, file);
	ASSERT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_LE((long)sizeof(data) / 512, sectors_written(file) - before);
}

/*
 * The tests below use a slow device.
 */
#define SLOW_NSEC	(200 * NSEC_PER_MSEC)
#define DIRTY_BYTES	(64 * PAGE)
#define DIRTY_SECTORS	((long)DIRTY_BYTES / 512)

FIXTURE(slow)
{
	int fd;
	__u64 ctx;
	struct null_blk dev;
	int file;
	struct iocb iocb;
	struct io_event event;
	long before;
};

FIXTURE_VARIANT(slow)
{
	int opcode;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(slow, fsync) { .opcode = IOCB_CMD_FSYNC };
FIXTURE_VARIANT_ADD(slow, fdsync) { .opcode = IOCB_CMD_FDSYNC };
/* clang-format on */

static bool make_dirty(FIXTURE_DATA(slow) *self)
{
	static char data[DIRTY_BYTES];

	fill_pattern(data, sizeof(data), 2, 0);
	self->before = sectors_written(self->file);
	return pwrite(self->file, data, sizeof(data), 0) ==
		       (ssize_t)sizeof(data) &&
	       self->before >= 0 &&
	       sectors_written(self->file) == self->before;
}

FIXTURE_SETUP(slow)
{
	self->file = -1;
	if (!open_context(_metadata, &self->fd, NR_EVENTS, &self->ctx))
		return;
	self->file = null_blk_open(_metadata, &self->dev, "kaio-fsync",
				   SLOW_NSEC, NULL);
	if (self->file < 0)
		return;
	prep_rw(&self->iocb, variant->opcode, self->file, NULL, 0, 0);
}

FIXTURE_TEARDOWN(slow)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->file);
	close(self->fd);
	null_blk_end(&self->dev);
}

TEST_F(slow, device_has_data)
{
	ASSERT_TRUE(make_dirty(self));
	ASSERT_EQ(0, kaio_do(self->fd, self->ctx, &self->iocb));
	EXPECT_LE(DIRTY_SECTORS, sectors_written(self->file) - self->before);
}

TEST_F(slow, submitter_does_not_wait)
{
	long before;

	ASSERT_TRUE(make_dirty(self));
	before = sleeps();
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(before, sleeps());
	/* The device cannot have finished by now. */
	EXPECT_EQ(0, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	ASSERT_EQ(1, kaio_wait(self->fd, self->ctx, 1, &self->event));
	EXPECT_EQ(0, self->event.res);
	EXPECT_LE(DIRTY_SECTORS, sectors_written(self->file) - self->before);
}

/* The requests do not wait for each other. */
TEST_F(slow, many_at_once)
{
	struct iocb iocbs[NR_EVENTS], *pointers[NR_EVENTS];
	struct io_event events[NR_EVENTS];
	const __s64 start = now_ns();
	int i;

	ASSERT_TRUE(make_dirty(self));
	for (i = 0; i < NR_EVENTS; i++) {
		iocbs[i] = self->iocb;
		pointers[i] = &iocbs[i];
	}
	ASSERT_EQ(NR_EVENTS,
		  kaio_submit(self->fd, self->ctx, NR_EVENTS, pointers));
	ASSERT_EQ(NR_EVENTS,
		  kaio_wait(self->fd, self->ctx, NR_EVENTS, events));
	for (i = 0; i < NR_EVENTS; i++) {
		EXPECT_EQ(0, events[i].res)
		{
			TH_LOG("i %d", i);
		}
	}
	EXPECT_GT(NR_EVENTS / 2 * SLOW_NSEC, now_ns() - start);
}

/* Requests for other files do not wait for it either. */
TEST_F(slow, other_files_do_not_wait)
{
	const int file = a_file();
	struct io_event events[2];
	struct iocb other;

	ASSERT_LE(0, file);
	ASSERT_TRUE(make_dirty(self));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	prep_fsync(&other, file);
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &other));
	ASSERT_EQ(2, kaio_wait(self->fd, self->ctx, 2, events));
	EXPECT_EQ((uintptr_t)&other, events[0].obj);
	EXPECT_EQ((uintptr_t)&self->iocb, events[1].obj);
	EXPECT_EQ(0, events[1].res);
}

TEST_F(slow, counted_by_eventfd)
{
	const int counter = eventfd(0, EFD_CLOEXEC);
	__u64 count = 0;

	ASSERT_TRUE(make_dirty(self));
	self->iocb.aio_flags = IOCB_FLAG_RESFD;
	self->iocb.aio_resfd = counter;
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(8, read(counter, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	/* A request that the eventfd has counted is complete. */
	EXPECT_EQ(1, kaio_getevents(self->fd, self->ctx, 0, 1, &self->event,
				    &no_wait));
	EXPECT_LE(DIRTY_SECTORS, sectors_written(self->file) - self->before);
}

TEST_F(slow, destroy_waits)
{
	ASSERT_TRUE(make_dirty(self));
	ASSERT_EQ(1, kaio_submit_one(self->fd, self->ctx, &self->iocb));
	ASSERT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_STAT(0, self->fd, "inflight");
	EXPECT_LE(DIRTY_SECTORS, sectors_written(self->file) - self->before);
}

/* The fsync is done even if its submitter has exited. */
TEST_F(slow, submitter_exits)
{
	int status;
	pid_t pid;

	ASSERT_TRUE(make_dirty(self));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		const __u64 ctx = setup_in_child(self->fd, 1);

		_exit(kaio_submit_one(self->fd, ctx, &self->iocb) != 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_TRUE(wait_until(kaio_stat(self->fd, "inflight") == 0));
	EXPECT_LE(DIRTY_SECTORS, sectors_written(self->file) - self->before);
}

/*
 * An error of the device is reported once for each open file, as by fsync(2).
 */
TEST_F(slow, error)
{
	const int second = reopen(self->file, O_RDWR);

	ASSERT_LE(0, second);
	ASSERT_TRUE(null_blk_set("kaio-fsync", "badblocks", "+0-7"));
	ASSERT_TRUE(make_dirty(self));
	EXPECT_EQ(-EIO, kaio_do(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &self->iocb));
	EXPECT_EQ(-1, fsync(second));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, fsync(second));
}

TEST_HARNESS_MAIN
