/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides devices that are as slow or as faulty as a test wants them
 * (null_blk), frozen file systems and changes of system-wide settings. A guard
 * process undoes what a test changed, however the test ends.
 */
#ifndef KAIO_DEVICES_H
#define KAIO_DEVICES_H

#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "kaio_common.h"

#define CONFIGFS	"/sys/kernel/config"

/*
 * A guard is a process that undoes something when the test tells it to, or when
 * the test has ended. It holds none of the files that the test has open.
 */
struct guard {
	int control;
	pid_t pid;
};

static inline struct guard guard_start(void (*undo)(const char *what),
				       const char *what)
{
	struct guard guard = { .pid = -1 };
	int ends[2];
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return guard;
	guard.control = ends[0];
	guard.pid = fork();
	if (!guard.pid) {
		/*
		 * A session of its own keeps the guard alive: the harness kills
		 * the process group of a test.
		 */
		setsid();
		dup2(ends[1], 3);
		syscall(SYS_close_range, 4, ~0U, 0);
		while (read(3, &c, 1) < 0 && errno == EINTR)
			;
		undo(what);
		_exit(0);
	}
	close(ends[1]);
	return guard;
}

/* Tells the guard to undo its change, and waits until it has done so. */
static inline void guard_end(struct guard *guard)
{
	if (guard->pid <= 0)
		return;
	/*
	 * Send a byte; closing the socket would not do, because a child of the
	 * test may have the descriptor too.
	 */
	send(guard->control, "", 1, MSG_NOSIGNAL);
	waitpid(guard->pid, NULL, 0);
	close(guard->control);
	guard->pid = 0;
}

/*
 * The functions below configure null_blk.
 */
struct setting {
	const char *name;
	unsigned long value;
};

struct null_blk {
	struct guard guard;
	char node[64];
};

static inline bool null_blk_set(const char *name, const char *attr,
				const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s/%s", name, attr);
	return write_file(path, text);
}

static inline void null_blk_remove(const char *name)
{
	char path[128];

	null_blk_set(name, "power", "0");
	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s", name);
	rmdir(path);
}

/* Loads the driver, where it is a module. */
static inline bool null_blk_load(void)
{
	int fd;

	if (access("/sys/module/null_blk", F_OK)) {
		fd = open("/null_blk.ko", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "nr_devices=0", 0))
			return false;
		close(fd);
	}
	if (access(CONFIGFS "/nullb", F_OK))
		return !mount("configfs", CONFIGFS, "configfs", 0, NULL);
	return true;
}

/*
 * Makes a block device of 16 MiB of memory. Each request takes @nsec
 * nanoseconds and is completed by an interrupt. The settings of @more, an array
 * that ends with an entry without a name, override the default ones.
 */
static inline bool null_blk_make(struct null_blk *dev, const char *name,
				 unsigned long nsec, const struct setting *more)
{
	const struct setting settings[] = {
		{ "size", 16 },		   { "memory_backed", 1 },
		{ "blocksize", 512 },	   { "irqmode", 2 },
		{ "no_sched", 1 },	   { "hw_queue_depth", 256 },
		{ "completion_nsec", nsec }, {},
	};
	const struct setting *lists[] = { settings, more }, *setting;
	char path[128], text[32];
	int i;

	memset(dev, 0, sizeof(*dev));
	if (!null_blk_load())
		return false;
	/*
	 * An earlier test may have been killed together with its guard, and
	 * then its device is still there.
	 */
	null_blk_remove(name);
	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s", name);
	if (mkdir(path, 0700))
		return false;
	dev->guard = guard_start(null_blk_remove, name);
	for (i = 0; i < 2; i++) {
		for (setting = lists[i]; setting && setting->name; setting++) {
			snprintf(text, sizeof(text), "%lu", setting->value);
			if (!null_blk_set(name, setting->name, text))
				return false;
		}
	}
	snprintf(dev->node, sizeof(dev->node), "/dev/%s", name);
	return null_blk_set(name, "power", "1") &&
	       wait_until(!access(dev->node, R_OK));
}

/* Makes a block device and opens it. Returns -1 if the test is skipped. */
static inline int null_blk_open(struct __test_metadata *const _metadata,
				struct null_blk *dev, const char *name,
				unsigned long nsec, const struct setting *more)
{
	int file;

	if (!null_blk_make(dev, name, nsec, more))
		SKIP(return -1, "there is no null_blk");
	file = open(dev->node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, file);
	return file;
}

/*
 * Removes the device. The caller has closed its descriptors, and its requests
 * are complete.
 */
static inline void null_blk_end(struct null_blk *dev)
{
	guard_end(&dev->guard);
}

/* Writes the cached data of a block device and drops it from the cache. */
static inline bool drop_cache(int fd)
{
	return !ioctl(fd, BLKFLSBUF, 0);
}

/*
 * Returns word @word of the statistics of the device of @fd, which is a file or
 * a block device (Documentation/block/stat.rst). Returns -1 if there are none.
 */
static inline long device_stat(int fd, int word)
{
	struct stat stat;
	long value = -1;
	char path[64];
	FILE *file;
	dev_t dev;

	if (fstat(fd, &stat))
		return -1;
	dev = S_ISBLK(stat.st_mode) ? stat.st_rdev : stat.st_dev;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(dev),
		 minor(dev));
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (word-- >= 0)
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
	fclose(file);
	return value;
}

/* Returns the number of sectors written, in units of 512 bytes. */
static inline long sectors_written(int fd)
{
	return device_stat(fd, 6);
}

/*
 * The functions below freeze file systems.
 */
static inline void thaw_dir(const char *dir)
{
	const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ioctl(fd, FITHAW, 0);
	close(fd);
}

/* Blocks all writes to the file system of @dir until guard_end(). */
static inline bool freeze(struct guard *guard, const char *dir)
{
	const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = false;

	*guard = guard_start(thaw_dir, dir);
	if (fd >= 0) {
		ok = !ioctl(fd, FIFREEZE, 0);
		close(fd);
	}
	return ok;
}

#endif /* KAIO_DEVICES_H */
