// SPDX-License-Identifier: GPL-2.0
/*
 * Tests that nothing outlives its process for long. Processes that do
 * everything at once, controlled by a seed, are killed. Then all processes,
 * requests and references to the modules must be gone in time.
 *
 * KAIO_LIVENESS=SECONDS sets how long the test runs, with a new seed in each
 * round. KAIO_SEED=NUMBER sets the first seed.
 */
#include <dirent.h>
#include <sys/prctl.h>

#include "mock_fixture.h"

/* The time after the kill by which no process is left and nothing is in use. */
#define LIMIT_SECONDS	15
/* After this time the test shows what is left. */
#define SLOW_SECONDS	7

#define NR_PROCESSES	6
#define NR_CONTEXTS	4
#define NR_FILES	20
#define NR_IOCBS	256
#define BIG		(8UL << 20)

/* The state of a process. */
struct process {
	__u32 random;
	int fds[2];
	struct {
		int fd;
		__u64 id;
	} contexts[NR_CONTEXTS];
	int files[NR_FILES];
	int nr_files;
	struct iocb iocbs[NR_IOCBS];
	char *buf;
};

static __u32 random_below(struct process *process, __u32 sides)
{
	return next_random(&process->random) % sides;
}

static void add_file(struct process *process, int fd)
{
	if (fd >= 0 && process->nr_files < NR_FILES)
		process->files[process->nr_files++] = fd;
}

static void add_mock(struct process *process)
{
	static const char *const nodes[] = {
		KAIO_MOCK, KAIO_MOCK_SLOW, KAIO_MOCK_DISK, KAIO_MOCK_SLOW_DISK,
		KAIO_MOCK_PLAIN, KAIO_MOCK_PAGES, KAIO_MOCK_STRANGER,
	};
	const char *node = nodes[random_below(process, ARRAY_SIZE(nodes))];
	struct kaio_mock_program program = { .nr_queues = 1 + random_below(process, 2) };
	__u32 flags = O_RDWR | O_CLOEXEC;
	int file = open(node, flags), maker = file, i;

	if (file >= 0 && !strcmp(node, KAIO_MOCK_PAGES)) {
		file = ioctl(maker, KAIO_MOCK_OPEN, &flags);
		close(maker);
	}
	program.nr_steps = 1 + random_below(process, KAIO_MOCK_STEPS);
	for (i = 0; i < (int)program.nr_steps; i++) {
		struct kaio_mock_step *step = &program.steps[i];

		step->attempts = 1 + random_below(process, 3);
		step->result = random_below(process, 2) ? 5 : -EAGAIN;
		/*
		 * The mock completes by itself, as the test does not tell it
		 * to.
		 */
		if (!random_below(process, 4))
			step->complete = KAIO_MOCK_NOW + random_below(process, 3);
		if (!random_below(process, 4))
			step->page = KAIO_MOCK_NOW + random_below(process, 3);
		step->delay_ns = random_below(process, 20) * NSEC_PER_MSEC;
		if (!random_below(process, 4))
			step->sleep = KAIO_MOCK_INTERRUPTIBLE + random_below(process, 2);
		step->sleep_ms = random_below(process, 2) ? 0 : random_below(process, 300);
		if (!random_below(process, 3)) {
			step->wake.when = KAIO_MOCK_NOW + random_below(process, 3);
			step->wake.ready = step->wake.key = IN | OUT;
			step->wake.delay_ns = step->delay_ns + KAIO_MOCK_MIN_DELAY_NS;
		}
	}
	if (file >= 0)
		ioctl(file, KAIO_MOCK_PROGRAM, &program);
	add_file(process, file);
}

static void open_files(struct process *process)
{
	int ends[2], i;

	if (!pipe(ends)) {
		add_file(process, ends[0]);
		add_file(process, ends[1]);
	}
	if (!pipe(ends)) {
		fill_fd(ends[1]);
		add_file(process, ends[0]);
		add_file(process, ends[1]);
	}
	for (i = 0; i < 2; i++) {
		if (!socketpair(AF_UNIX, i ? SOCK_STREAM : SOCK_DGRAM, 0, ends)) {
			add_file(process, ends[0]);
			add_file(process, ends[1]);
		}
	}
	add_file(process, eventfd(random_below(process, 2), 0));
	add_file(process, open_temp(MEM_DIR, 0));
	add_file(process, open_temp(MEM_DIR, O_APPEND));
	add_file(process, open_temp(DISK_DIR, 0));
	add_file(process, open_temp(DISK_DIR, O_DIRECT));
	while (process->nr_files < NR_FILES - 2)
		add_mock(process);
	add_file(process, inotify_open());
}

static void submit_one(struct process *process)
{
	static const int opcodes[] = {
		IOCB_CMD_PREAD, IOCB_CMD_PWRITE, IOCB_CMD_PWRITE, IOCB_CMD_FSYNC,
		IOCB_CMD_FDSYNC, IOCB_CMD_POLL,
	};
	struct iocb *iocbs[8];
	const int nr = 1 + random_below(process, ARRAY_SIZE(iocbs));
	const int ctx = random_below(process, NR_CONTEXTS);
	int i;

	for (i = 0; i < nr; i++) {
		struct iocb *iocb = &process->iocbs[random_below(process, NR_IOCBS)];
		const int file = process->files[random_below(process, process->nr_files)];
		const int opcode = opcodes[random_below(process, ARRAY_SIZE(opcodes))];

		prep_rw(iocb, opcode, file, process->buf, 0, 0);
		if (opcode == IOCB_CMD_POLL) {
			iocb->aio_buf = POLLIN;
		} else if (opcode == IOCB_CMD_FSYNC || opcode == IOCB_CMD_FDSYNC) {
			iocb->aio_buf = 0;
		} else {
			iocb->aio_nbytes = random_below(process, 4) ? 4096 : BIG;
			iocb->aio_offset = random_below(process, 2) * 4096;
		}
		if (opcode == IOCB_CMD_PWRITE && !random_below(process, 4))
			iocb->aio_rw_flags = RWF_DSYNC;
		if (!random_below(process, 8)) {
			iocb->aio_flags = IOCB_FLAG_RESFD;
			iocb->aio_resfd = process->files[8];
		}
		iocbs[i] = iocb;
	}
	kaio_submit(process->contexts[ctx].fd, process->contexts[ctx].id, nr, iocbs);
}

/* The functions below run in threads, and use whatever exists at that time. */
static void *wait_forever(void *arg)
{
	struct process *process = arg;
	struct io_event events[8];

	for (;;) {
		const int ctx = rand() % NR_CONTEXTS;

		if (kaio_getevents(process->contexts[ctx].fd, process->contexts[ctx].id,
				   1 + rand() % 8, 8, events, NULL) < 0)
			usleep(1000);
	}
	return NULL;
}

static void *destroy_one(void *arg)
{
	struct process *process = arg;
	const int ctx = rand() % NR_CONTEXTS;

	kaio_destroy(process->contexts[ctx].fd, process->contexts[ctx].id);
	return NULL;
}

static void *close_one(void *arg)
{
	struct process *process = arg;

	close(process->fds[1]);
	return NULL;
}

static void start(void *(*call)(void *), struct process *process)
{
	pthread_t thread;

	pthread_create(&thread, NULL, call, process);
}

static void set_up_contexts(struct process *process)
{
	int i;

	for (i = 0; i < 2; i++)
		process->fds[i] = open(KAIO_DEVICE, O_RDWR | (random_below(process, 2) ? O_CLOEXEC : 0));
	for (i = 0; i < NR_CONTEXTS; i++) {
		process->contexts[i].fd = process->fds[i % 2];
		if (kaio_setup(process->fds[i % 2], 64 << random_below(process, 3),
			       &process->contexts[i].id))
			process->contexts[i].id = 0;
	}
}

/* Does something other than submitting. */
static void do_more(struct process *process)
{
	const int ctx = random_below(process, NR_CONTEXTS);
	void *const ring = ring_of(process->contexts[ctx].id);
	struct io_event event;

	switch (random_below(process, 60)) {
	case 0:
		munmap(ring, PAGE);
		break;
	case 1:
		mremap(ring, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       process->buf + BIG + PAGE * random_below(process, 16));
		break;
	case 2:
		start(destroy_one, process);
		break;
	case 3:
		start(close_one, process);
		break;
	case 4:
		if (!fork()) {
			usleep(random_below(process, 1000) * 1000);
			_exit(0);
		}
		break;
	case 5:
		if (!random_below(process, 4))
			execl("/bin/sleep", "sleep", "1000", (char *)NULL);
		break;
	case 6:
		if (!random_below(process, 4))
			_exit(0);
		break;
	case 7 ... 12:
		drain_fd(process->files[0]);
		break;
	case 13 ... 30:
		kaio_cancel(process->contexts[ctx].fd, process->contexts[ctx].id,
			    &process->iocbs[random_below(process, NR_IOCBS)]);
		break;
	default:
		kaio_getevents(process->contexts[ctx].fd, process->contexts[ctx].id, 0, 1,
			       &event, &no_wait);
	}
}

static void run_process(__u32 seed)
{
	static struct process process;

	/* The processes that this process forks are killed with it. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	process.random = seed * 2654435761u | 1;
	srand(seed);
	process.buf = mmap(NULL, BIG + 32 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (process.buf == MAP_FAILED)
		_exit(1);
	open_files(&process);
	set_up_contexts(&process);
	if (process.nr_files < 9)
		_exit(2);
	while (random_below(&process, 2))
		start(wait_forever, &process);
	for (;;) {
		submit_one(&process);
		do_more(&process);
		if (!random_below(&process, 100))
			usleep(random_below(&process, 20) * 1000);
	}
}

struct usage {
	__s64 nr;
	__s64 kaio;
	__s64 mock;
};

static struct usage usage_now(void)
{
	return (struct usage){
		.nr = read_number("/proc/sys/fs/kaio-nr"),
		.kaio = read_number("/sys/module/kaio/refcnt"),
		.mock = read_number("/sys/module/kaio_mock/refcnt"),
	};
}

static bool is_unused(const struct usage *before)
{
	const struct usage now = usage_now();

	return now.nr == before->nr && now.kaio == before->kaio &&
	       now.mock == before->mock;
}

/*
 * Shows the tasks whose stack has functions of kaio, and other processes of
 * this test.
 */
static void show_stacks(struct __test_metadata *const _metadata)
{
	char path[300], line[200], text[4000];
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	FILE *file;
	bool ours;
	int i;

	/*
	 * A task that runs on a CPU has no stack in proc, so the kernel log
	 * gets it.
	 */
	for (i = 0; i < 3; i++) {
		write_file("/proc/sysrq-trigger", "l");
		usleep(100 * 1000);
	}
	while (proc && (entry = readdir(proc))) {
		if (atoi(entry->d_name) <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stack", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		text[0] = 0;
		ours = false;
		while (fgets(line, sizeof(line), file)) {
			ours |= strstr(line, "[kaio") != NULL;
			if (strlen(text) + strlen(line) < sizeof(text))
				strcat(text, line);
		}
		fclose(file);
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file && fgets(line, sizeof(line), file))
			ours |= !strcmp(line, "liveness_test\n") && atoi(entry->d_name) != getpid();
		if (file)
			fclose(file);
		if (ours)
			TH_LOG("task %s:\n%s", entry->d_name, text);
	}
	if (proc)
		closedir(proc);
}

/* Lets NR_PROCESSES processes run for a while and kills them. */
static bool run_round(struct __test_metadata *const _metadata, __u32 seed)
{
	const struct usage before = usage_now();
	pid_t pids[NR_PROCESSES];
	bool shown = false;
	struct usage now;
	__s64 since;
	int i;

	for (i = 0; i < NR_PROCESSES; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			setpgid(0, 0);
			run_process(seed * NR_PROCESSES + i);
		}
		ASSERT_LT(0, pids[i]);
		setpgid(pids[i], pids[i]);
	}
	usleep((200 + seed % 7 * 150) * 1000);
	since = now_ns();
	for (i = 0; i < NR_PROCESSES; i++)
		kill(-pids[i], SIGKILL);
	while (now_ns() - since < LIMIT_SECONDS * NSEC_PER_SEC) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD &&
		    is_unused(&before))
			return true;
		if (!shown && now_ns() - since > SLOW_SECONDS * NSEC_PER_SEC) {
			TH_LOG("seed %u is slow", seed);
			show_stacks(_metadata);
			shown = true;
		}
		usleep(5000);
	}
	now = usage_now();
	TH_LOG("seed %u: fs.kaio-nr %lld -> %lld, references %lld -> %lld, %lld -> %lld",
	       seed, before.nr, now.nr, before.kaio, now.kaio, before.mock, now.mock);
	show_stacks(_metadata);
	since = now_ns();
	while (!is_unused(&before) && now_ns() - since < 60 * NSEC_PER_SEC)
		usleep(100 * 1000);
	TH_LOG("%s %lld ms later", is_unused(&before) ? "over" : "not over",
	       (now_ns() - since) / NSEC_PER_MSEC);
	return false;
}

FIXTURE(processes)
{
	__u64 end_seconds;
};

FIXTURE_SETUP(processes)
{
	const int fd = open_kaio(_metadata);

	if (fd < 0)
		return;
	close(fd);
	self->end_seconds = read_number(END_SECONDS);
	ASSERT_EQ(10, self->end_seconds);
	ASSERT_TRUE(write_number(END_SECONDS, SHORT_PATIENCE));
	/*
	 * This process becomes the parent of processes whose parents have
	 * exited.
	 */
	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
}

FIXTURE_TEARDOWN(processes)
{
	EXPECT_TRUE(write_number(END_SECONDS, self->end_seconds));
}

static __u32 number_from(const char *name, __u32 otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

TEST_F_TIMEOUT(processes, end_in_time, 8000)
{
	const __u32 seconds = number_from("KAIO_LIVENESS", 10);
	__u32 seed = number_from("KAIO_SEED", 1), rounds = 0;
	const __s64 begin = now_ns();
	__s64 since, longest = 0;

	do {
		since = now_ns();
		EXPECT_TRUE(run_round(_metadata, seed));
		since = now_ns() - since;
		longest = since > longest ? since : longest;
		seed++;
		rounds++;
	} while (now_ns() - begin < seconds * NSEC_PER_SEC);
	TH_LOG("%u rounds; the longest took %lld ms", rounds, longest / NSEC_PER_MSEC);
}

TEST_HARNESS_MAIN
