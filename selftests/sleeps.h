/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts how often a thread has slept other than for a spinlock. The kernel
 * counts how often a thread gave up its CPU (ru_nvcsw). With PREEMPT_RT a
 * thread also does that when another one holds a spinlock that it wants:
 * spinlocks are sleeping locks there, and such a wait is as short as spinning
 * is elsewhere. So with PREEMPT_RT this header looks at the stack of each
 * sleep: for such a lock the scheduler has an entry of its own,
 * schedule_rtlock(). The other sleeps are those that ru_nvcsw counts in other
 * kernels.
 */
#ifndef KAIO_SLEEPS_H
#define KAIO_SLEEPS_H

#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/*
 * The sizes of the memory into which the kernel writes the stacks: one page for
 * its counters, and the records.
 */
#define SLEEPS_PAGE	4096
#define SLEEPS_BYTES	(32 * SLEEPS_PAGE)

/* The state that a thread needs to count its own sleeps. */
struct sleep_watch {
	pid_t tid;
	struct perf_event_mmap_page *page;
	long count;
};

static inline bool is_preempt_rt(void)
{
	struct utsname name;

	return !uname(&name) && strstr(name.version, "PREEMPT_RT");
}

/*
 * Returns the number of the event sched:sched_switch, or 0 if the kernel has no
 * such event or denies it to this program.
 */
static inline unsigned long sleeps_event(void)
{
	static const char *const dirs[] = { "/sys/kernel/tracing",
					    "/sys/kernel/debug/tracing" };
	unsigned long id = 0;
	char path[128];
	FILE *file;
	int i;

	if (access("/sys/kernel/tracing/events", F_OK))
		mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	for (i = 0; i < 2 && !id; i++) {
		snprintf(path, sizeof(path), "%s/events/sched/sched_switch/id", dirs[i]);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%lu", &id) != 1)
			id = 0;
		fclose(file);
	}
	return id;
}

/*
 * The address range of schedule_rtlock(). It is 0 if the kernel lacks the
 * function or hides addresses.
 */
static __u64 rtlock_start, rtlock_end;

/*
 * Runs once in each program, because the list of symbols is long. The list is
 * sorted by address.
 */
static void __attribute__((constructor)) sleeps_find_rtlock(void)
{
	char line[1024];
	__u64 addr;
	FILE *file;

	if (!is_preempt_rt())
		return;
	file = fopen("/proc/kallsyms", "re");
	if (!file)
		return;
	while (!rtlock_end && fgets(line, sizeof(line), file)) {
		addr = strtoull(line, NULL, 16);
		if (rtlock_start && addr > rtlock_start)
			rtlock_end = addr;
		else if (strstr(line, " schedule_rtlock\n"))
			rtlock_start = addr;
	}
	fclose(file);
}

/* Makes the kernel write the stack of each sleep of this thread from now on. */
static inline bool sleeps_watch(struct sleep_watch *watch)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = sleeps_event(),
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_CALLCHAIN,
		.exclude_callchain_user = 1,
		.disabled = 1,
	};
	void *page;
	int fd;

	if (!attr.config)
		return false;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return false;
	page = mmap(NULL, SLEEPS_PAGE + SLEEPS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, 0);
	/*
	 * Leave out a task that has only lost its CPU: its state is 0, or 256
	 * if it was preempted.
	 */
	if (page == MAP_FAILED ||
	    ioctl(fd, PERF_EVENT_IOC_SET_FILTER, "prev_state > 0 && prev_state < 256") ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)) {
		close(fd);
		return false;
	}
	watch->page = page;
	watch->count = 0;
	watch->tid = syscall(SYS_gettid);
	/* The mapping keeps the event alive. */
	close(fd);
	return true;
}

static inline __u64 sleeps_word(const struct sleep_watch *watch, __u64 pos)
{
	const char *data = (const char *)watch->page + SLEEPS_PAGE;

	/*
	 * Records are multiples of 8 bytes long, so no word wraps around the
	 * end of the memory.
	 */
	return *(const __u64 *)(data + pos % SLEEPS_BYTES);
}

/*
 * Counts the sleeps that the kernel has written since the last call. A lost
 * record counts, as it may have been a sleep.
 */
static inline void sleeps_read(struct sleep_watch *watch)
{
	const __u64 head = __atomic_load_n(&watch->page->data_head, __ATOMIC_ACQUIRE);
	__u64 pos = watch->page->data_tail;

	while (pos < head) {
		const __u64 word = sleeps_word(watch, pos);
		struct perf_event_header header;
		bool is_lock = false;
		__u64 i, nr;

		memcpy(&header, &word, sizeof(header));
		if (header.type == PERF_RECORD_SAMPLE) {
			nr = sleeps_word(watch, pos + 8);
			for (i = 0; i < nr; i++) {
				const __u64 ip = sleeps_word(watch, pos + 16 + i * 8);

				is_lock |= rtlock_start < ip && ip < rtlock_end;
			}
		}
		watch->count += !is_lock;
		pos += header.size;
	}
	__atomic_store_n(&watch->page->data_tail, pos, __ATOMIC_RELEASE);
}

static inline long sleeps_without_locks(void)
{
	static __thread struct sleep_watch watch;

	if (!rtlock_end)
		return -1;
	if (watch.tid != syscall(SYS_gettid) && !sleeps_watch(&watch))
		return -1;
	sleeps_read(&watch);
	return watch.count;
}

/*
 * Returns how often this thread has slept. Moments at which it only lost its
 * CPU do not count, so a difference shows that a call has blocked, even where
 * no clock can be trusted. The caller compares the number with that of an
 * earlier call in this thread.
 */
static inline long sleeps(void)
{
	struct rusage usage;
	long count;

	if (is_preempt_rt()) {
		count = sleeps_without_locks();
		if (count >= 0)
			return count;
		printf("# a wait for a lock counts as a sleep: this kernel tells no stacks\n");
	}
	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

#endif /* KAIO_SLEEPS_H */
