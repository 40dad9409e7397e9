/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shows whether programs that do not know of kaio have used it. */
#ifndef KAIO_DROP_H
#define KAIO_DROP_H

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kaio_stat.h"

/*
 * Forks without libc. These are macros because a function that calls vfork()
 * must not return.
 */
#ifdef SYS_fork
#define RAW_FORK()	syscall(SYS_fork)
#define RAW_VFORK()	syscall(SYS_vfork)
#else
#define RAW_FORK()	syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0L)
#define RAW_VFORK() \
	syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0L)
#endif

/* Calls @each for every descriptor of the device that this process has. */
static inline void kaio_each_fd(void (*each)(int fd, void *arg), void *arg)
{
	DIR *dir = opendir("/proc/self/fd");
	char path[64], target[64];
	struct dirent *entry;
	ssize_t len;

	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%.20s", entry->d_name);
		len = readlink(path, target, sizeof(target) - 1);
		if (len < 0)
			continue;
		target[len] = '\0';
		if (!strcmp(target, "/dev/kaio"))
			each(atoi(entry->d_name), arg);
	}
	closedir(dir);
}

struct kaio_sum {
	const char *name;
	long value;
};

static inline void kaio_add(int fd, void *arg)
{
	struct kaio_sum *sum = arg;
	long value = sum->name ? kaio_stat(fd, sum->name) : 1;

	if (value > 0)
		sum->value += value;
}

/*
 * Returns a counter of the module (see its fdinfo), summed over all descriptors
 * of this process; with NULL, the number of descriptors.
 */
static inline long kaio_count(const char *name)
{
	struct kaio_sum sum = { .name = name };

	kaio_each_fd(kaio_add, &sum);
	return sum.value;
}

static inline void kaio_keep_fd(int fd, void *arg)
{
	*(int *)arg = fd;
}

/* Returns a descriptor of the device, or -1 if this process has none. */
static inline int kaio_find_fd(void)
{
	int fd = -1;

	kaio_each_fd(kaio_keep_fd, &fd);
	return fd;
}

/*
 * Runs this program anew in a child, with TEST_IN_CHROOT in its environment and
 * KAIO_EARLY set to @early. Returns the child.
 */
static inline pid_t kaio_exec_in_chroot(const char *early)
{
	pid_t pid = fork();

	if (!pid) {
		setenv("TEST_IN_CHROOT", "1", 1);
		setenv("KAIO_EARLY", early, 1);
		close(STDERR_FILENO);
		execl("/proc/self/exe", "self", NULL);
		_exit(1);
	}
	return pid;
}

#endif /* KAIO_DROP_H */
