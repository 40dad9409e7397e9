/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Work that a thread has to do on its way to user space, as io_uring gives it to
 * those who used a ring, once that is closed. It ends a sleep in the kernel, but it
 * is no signal.
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
 * A ring of this thread's, which gets work when another thread closes it, and has
 * not done it before it slept. -errno: the kernel has or allows no io_uring.
 */
static inline int open_uring(void)
{
	struct io_uring_params params = {};
	const int fd = syscall(SYS_io_uring_setup, 1, &params);

	return fd < 0 ? -errno : fd;
}

/* How often a thread of this process has slept; LONG_MAX: it has ended. */
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
