// SPDX-License-Identifier: GPL-2.0
/*
 * Counts how often the submit call sleeps on a file while another process
 * disturbs the file system.
 *
 *	submit_sleeps FILE MILLISECONDS ACCESS DISTURBANCE
 *
 * ACCESS	read, write, append; direct-read, direct-write, direct-append
 * DISTURBANCE	none
 *		writer	writes to the same file through the page cache, and is
 *			throttled if the administrator allows few dirty pages
 *		fsync	writes a page of the same file and calls fsync(2)
 *		freeze	freezes the file system and thaws it, in turns
 *		cold	drops the caches, of metadata too
 *
 * The program makes and fills the file if it does not exist.
 *
 * The program prints one line: the number of submitted requests, the number of
 * submit calls in which the thread slept, the longest submit call in
 * microseconds, and the number of failed requests. A second line has the stack
 * of a sleep if one was seen. The exit status is 4, with a message, if the file
 * system does not support ACCESS or DISTURBANCE.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../sleeps.h"
#include "../wrappers.h"

#define PAGE		4096L
#define FILE_PAGES	2048L
/* Keep the file system's own work on the end of the file out of the way. */
#define WRITER_BYTES	(64 << 10)
#define NR_REQUESTS	256
#define PAUSE_US	2000
#define PATIENCE_SECONDS 100
#define NOT_POSSIBLE	4

static const char *path;
static int has_ended;

static void end(int sig)
{
	(void)sig;
	__atomic_store_n(&has_ended, 1, __ATOMIC_RELAXED);
}

static bool ended(void)
{
	return __atomic_load_n(&has_ended, __ATOMIC_RELAXED);
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Returns the pages in the same order in each run. */
static long next_page(void)
{
	static unsigned int state = 1;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % FILE_PAGES;
}

static void *pages(long number)
{
	char *map = mmap(NULL, number * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (map == MAP_FAILED || mlock(map, number * PAGE))
		fail("memory");
	return map;
}

static void write_all(int fd)
{
	static char block[16 * PAGE];
	long i;

	memset(block, 'a', sizeof(block));
	for (i = 0; i < FILE_PAGES; i += 16)
		if (pwrite(fd, block, sizeof(block), i * PAGE) != sizeof(block))
			fail("filling the file");
	/* Make the extent list of the file too long for the inode. */
	for (i = 8; i < FILE_PAGES; i += 16)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, i * PAGE, PAGE))
			break;
	if (fsync(fd))
		fail("fsync");
}

/*
 * The functions below run in the process that disturbs.
 */
static void disturb_by_writing(void)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	char *buf = pages(WRITER_BYTES / PAGE);
	long pos = 0;

	while (!ended()) {
		if (pwrite(fd, buf, WRITER_BYTES, pos) < 0)
			exit(1);
		pos = (pos + WRITER_BYTES) % (FILE_PAGES * PAGE);
	}
}

static void disturb_by_fsync(void)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);
	char *buf = pages(1);

	/*
	 * A page that becomes dirty while a direct write goes to its place is lost, and
	 * the kernel says so by EIO.
	 */
	while (!ended())
		if (pwrite(fd, buf, PAGE, next_page() * PAGE) < 0 ||
		    (fsync(fd) && errno != EIO))
			exit(1);
}

static void disturb_by_freezing(void)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (!ended()) {
		if (ioctl(fd, FIFREEZE, 0))
			exit(1);
		usleep(50000);
		ioctl(fd, FITHAW, 0);
		usleep(20000);
	}
}

static void disturb_by_dropping(void)
{
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	while (!ended()) {
		posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
		if (write(fd, "3", 1) != 1)
			exit(1);
		usleep(20000);
	}
}

static const struct disturbance {
	const char *name;
	void (*run)(void);
} disturbances[] = {
	{ "none", NULL },
	{ "writer", disturb_by_writing },
	{ "fsync", disturb_by_fsync },
	{ "freeze", disturb_by_freezing },
	{ "cold", disturb_by_dropping },
};

static bool can_freeze(int fd)
{
	return !ioctl(fd, FIFREEZE, 0) && !ioctl(fd, FITHAW, 0);
}

static pid_t start(const struct disturbance *disturbance)
{
	pid_t pid;

	if (!disturbance->run)
		return 0;
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, end);
	disturbance->run();
	exit(0);
}

static void stop(pid_t pid)
{
	int status;

	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	if (waitpid(pid, &status, 0) != pid || status) {
		printf("the process that disturbs has failed: status %#x\n", status);
		exit(1);
	}
}

/*
 * The functions below watch where the submit call sleeps if it sleeps for long.
 */
struct sighting {
	bool in_call;
	char stack[2000];
};

/* Returns true if the task sleeps, and stores its stack. */
static bool look_at(pid_t pid, char *stack, size_t size)
{
	char name[64], stat[64] = "";
	ssize_t len;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	read(fd, stat, sizeof(stat) - 1);
	close(fd);
	if (!strstr(stat, ") D ") && !strstr(stat, ") S "))
		return false;
	snprintf(name, sizeof(name), "/proc/%d/stack", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	len = read(fd, stack, size - 1);
	close(fd);
	if (len > 0)
		stack[len] = 0;
	return strstr(stack, "kaio");
}

static pid_t watch(struct sighting *sighting)
{
	const pid_t submitter = getpid(), pid = fork();
	char stack[sizeof(sighting->stack)] = "";

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		usleep(1000);
		if (__atomic_load_n(&sighting->in_call, __ATOMIC_RELAXED) &&
		    look_at(submitter, stack, sizeof(stack)) && !sighting->stack[0])
			memcpy(sighting->stack, stack, sizeof(stack));
	}
}

/* Prints the stack in one line. */
static void tell(const struct sighting *sighting)
{
	char copy[sizeof(sighting->stack)], *line, *rest = NULL;

	memcpy(copy, sighting->stack, sizeof(copy));
	for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		line = strchr(line, ']') ? strchr(line, ']') + 1 : line;
		printf("%.*s", (int)strcspn(line, "+"), line);
		if (strstr(line, "kaio"))
			break;
	}
	if (copy[0])
		printf("\n");
}

/*
 * The functions below submit the requests.
 */
static struct {
	int fd;
	__u64 ctx;
	int file;
	int opcode;
	char *bufs;
	long submitted, completed, failed, slept;
	struct sighting *sighting;
	long long longest_us;
	struct iocb iocbs[NR_REQUESTS];
	int free[NR_REQUESTS], nr_free;
} s;

static void reap(long min_nr)
{
	const struct timespec patience = { .tv_sec = min_nr ? PATIENCE_SECONDS : 0 };
	struct io_event events[NR_REQUESTS];
	const long nr = kaio_getevents(s.fd, s.ctx, min_nr, NR_REQUESTS, events, &patience);
	long i;

	if (nr < min_nr) {
		printf("%ld of %ld requests have no event after %d s\n",
		       s.submitted - s.completed, s.submitted, PATIENCE_SECONDS);
		exit(1);
	}
	for (i = 0; i < nr; i++) {
		if (events[i].res != PAGE) {
			if (!s.failed)
				printf("# a request failed: %lld\n", (long long)events[i].res);
			s.failed++;
		}
		s.free[s.nr_free++] = events[i].data;
	}
	s.completed += nr;
}

static void submit(void)
{
	const int i = s.free[--s.nr_free];
	struct iocb *iocb = &s.iocbs[i];
	long long start;
	long before;

	*iocb = (struct iocb){
		.aio_lio_opcode = s.opcode,
		.aio_fildes = s.file,
		.aio_buf = (uintptr_t)(s.bufs + i * PAGE),
		.aio_nbytes = PAGE,
		.aio_offset = next_page() * PAGE,
		.aio_data = i,
	};
	before = sleeps();
	start = now_us();
	__atomic_store_n(&s.sighting->in_call, true, __ATOMIC_RELAXED);
	if (kaio_submit_one(s.fd, s.ctx, iocb) != 1)
		fail("submit");
	__atomic_store_n(&s.sighting->in_call, false, __ATOMIC_RELAXED);
	start = now_us() - start;
	s.slept += sleeps() != before;
	s.submitted++;
	if (start > s.longest_us)
		s.longest_us = start;
}

static void run(long long milliseconds)
{
	const long long until = now_us() + milliseconds * 1000;

	while (now_us() < until) {
		if (!s.nr_free)
			reap(1);
		submit();
		usleep(PAUSE_US);
		reap(0);
	}
}

static int open_for(const char *access)
{
	int flags = O_CLOEXEC;

	if (!strncmp(access, "direct-", 7)) {
		flags |= O_DIRECT;
		access += 7;
	}
	s.opcode = IOCB_CMD_PWRITE;
	if (!strcmp(access, "read"))
		s.opcode = IOCB_CMD_PREAD;
	else if (!strcmp(access, "append"))
		flags |= O_APPEND;
	else if (strcmp(access, "write"))
		return -1;
	return open(path, flags | (s.opcode == IOCB_CMD_PREAD ? O_RDONLY : O_WRONLY));
}

int main(int argc, char **argv)
{
	const struct disturbance *disturbance = disturbances;
	int fd, i;
	pid_t pid, watcher;

	if (argc != 5) {
		printf("submit_sleeps FILE MILLISECONDS ACCESS DISTURBANCE\n");
		return 2;
	}
	path = argv[1];
	for (i = 0; i < 5; i++)
		if (!strcmp(disturbances[i].name, argv[4]))
			disturbance = &disturbances[i];
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		fail(path);
	if (lseek(fd, 0, SEEK_END) < FILE_PAGES * PAGE)
		write_all(fd);
	s.file = open_for(argv[3]);
	if (s.file < 0) {
		printf("%s: %s\n", argv[3], strerror(errno));
		return NOT_POSSIBLE;
	}
	if (disturbance->run == disturb_by_freezing && !can_freeze(fd)) {
		printf("freeze: %s\n", strerror(errno));
		return NOT_POSSIBLE;
	}
	close(fd);
	s.fd = open("/dev/kaio", O_RDWR | O_CLOEXEC);
	if (s.fd < 0)
		fail("/dev/kaio");
	errno = -kaio_setup(s.fd, NR_REQUESTS, &s.ctx);
	if (errno)
		fail("setup");
	s.bufs = pages(NR_REQUESTS);
	while (s.nr_free < NR_REQUESTS) {
		s.free[s.nr_free] = s.nr_free;
		s.nr_free++;
	}
	s.sighting = mmap(NULL, sizeof(*s.sighting), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (s.sighting == MAP_FAILED)
		fail("memory");
	watcher = watch(s.sighting);
	pid = start(disturbance);
	run(atoi(argv[2]));
	stop(pid);
	kill(watcher, SIGKILL);
	while (s.completed < s.submitted)
		reap(1);
	printf("submitted %ld slept %ld longest %lld failed %ld\n", s.submitted, s.slept,
	       s.longest_us, s.failed);
	if (s.slept)
		tell(s.sighting);
	return 0;
}
