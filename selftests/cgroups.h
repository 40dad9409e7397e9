/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Provides functions for control groups of version 2, where the guest has
 * mounted them.
 */
#ifndef KAIO_CGROUPS_H
#define KAIO_CGROUPS_H

#include "devices.h"

#define CGROUP_DIR	"/sys/fs/cgroup"

static inline bool cgroup_set(const char *name, const char *attr,
			      const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CGROUP_DIR "/%s/%s", name, attr);
	return write_file(path, text);
}

/* Moves the caller into the control group @name. */
static inline bool enter_cgroup(const char *name)
{
	return cgroup_set(name, "cgroup.procs", "0");
}

static inline bool move_to_cgroup(const char *name, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return cgroup_set(name, "cgroup.procs", text);
}

static inline bool make_cgroup(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CGROUP_DIR "/%s", name);
	return !mkdir(path, 0755) || errno == EEXIST;
}

/* Removes a control group as soon as no process is in it. */
static inline bool remove_cgroup(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CGROUP_DIR "/%s", name);
	return wait_until(!rmdir(path) || errno == ENOENT);
}

static inline FILE *cgroup_open(const char *name, const char *attr)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CGROUP_DIR "/%s/%s", name, attr);
	return fopen(path, "re");
}

/*
 * Returns the value, in bytes, of the line @key of memory.stat, or -1 if there
 * is no such line. The kernel may update the line up to two seconds late.
 */
static inline long cgroup_memory(const char *name, const char *key)
{
	FILE *file = cgroup_open(name, "memory.stat");
	long value = -1, seen;
	char word[64];

	if (!file)
		return -1;
	while (value < 0 && fscanf(file, "%63s %ld", word, &seen) == 2)
		if (!strcmp(word, key))
			value = seen;
	fclose(file);
	return value;
}

/*
 * Returns the value of @key in io.stat for the device of @fd, which is a file
 * or a block device. Returns 0 if the group did no I/O on that device.
 */
static inline long cgroup_io(const char *name, int fd, const char *key)
{
	char line[256], device[32], want[32];
	FILE *file = cgroup_open(name, "io.stat");
	struct stat stat;
	long value = 0;
	char *at;
	dev_t dev;

	if (!file || fstat(fd, &stat))
		return -1;
	dev = S_ISBLK(stat.st_mode) ? stat.st_rdev : stat.st_dev;
	snprintf(device, sizeof(device), "%u:%u ", major(dev), minor(dev));
	snprintf(want, sizeof(want), " %s=", key);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, device, strlen(device)))
			continue;
		at = strstr(line, want);
		if (at)
			value = atol(at + strlen(want));
	}
	fclose(file);
	return value;
}

#endif /* KAIO_CGROUPS_H */
