/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads the counters of an open file of /dev/kaio. This is a header of its own
 * for programs that get struct iocb from libaio.
 */
#ifndef KAIO_STAT_H
#define KAIO_STAT_H

#include <stdio.h>

/*
 * Returns the counter @name of the open file @fd from its fdinfo, or -1 if
 * there is no such counter.
 */
static inline long kaio_stat(int fd, const char *name)
{
	char path[64], line[128], key[64];
	long value = -1, seen;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	snprintf(key, sizeof(key), "kaio-%s:\t%%ld", name);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, key, &seen) == 1)
			value = seen;
	fclose(file);
	return value;
}

#endif /* KAIO_STAT_H */
