/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For programs that do not know that they use kaio: whether they did.
 */
#ifndef KAIO_DROP_H
#define KAIO_DROP_H

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kaio_stat.h"

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

/* A counter of the module (see its fdinfo), for all that this process has open. */
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

/* A descriptor of the device, or -1. */
static inline int kaio_find_fd(void)
{
	int fd = -1;

	kaio_each_fd(kaio_keep_fd, &fd);
	return fd;
}

#endif /* KAIO_DROP_H */
