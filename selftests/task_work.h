/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A thread may have work to do before it returns to user space. io_uring gives
 * such work to a thread that used a ring, once the ring is closed. The work
 * ends a sleep in the kernel, but it is no signal.
 */
#ifndef KAIO_TASK_WORK_H
#define KAIO_TASK_WORK_H

#include <errno.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Returns a ring of this thread. The thread gets work when another thread
 * closes the ring, and does not do that work before it sleeps. Returns -errno
 * if the kernel has no io_uring or forbids it.
 */
static inline int open_uring(void)
{
	struct io_uring_params params = {};
	const int fd = syscall(SYS_io_uring_setup, 1, &params);

	return fd < 0 ? -errno : fd;
}

/*
 * Returns how often a thread of this process has slept, or LONG_MAX if the
 * thread has ended.
 */
static inline long sleeps_of(pid_t tid)
{
	char path[64], line[128];
	long count = LONG_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return count;
	while (fgets(line, sizeof(line), file) &&
	       sscanf(line, "voluntary_ctxt_switches: %ld", &count) != 1)
		;
	fclose(file);
	return count;
}

#endif /* KAIO_TASK_WORK_H */
