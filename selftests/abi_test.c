// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the contract itself: the answer of KAIO_QUERY, and the arguments of
 * each ioctl (address, size, words that must be zero).
 */
#include "context_fixture.h"

FIXTURE_VARIANT(context)
{
	unsigned long cmd;
	size_t size;
	/* The size in the first version. */
	size_t first_size;
	/* The result of a valid call. */
	long success;
	/* Offsets of 32-bit words that must be zero. 0 ends the list. */
	unsigned char zero[5];
	/* The offset of the flags that may be set, and their bits. */
	unsigned char flags;
	__u32 known_flags;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(context, query) {
	.cmd = KAIO_QUERY,
	.size = sizeof(struct kaio_query),
	.first_size = KAIO_QUERY_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_query, flags),
	},
};

FIXTURE_VARIANT_ADD(context, setup) {
	.cmd = KAIO_SETUP,
	.size = sizeof(struct kaio_setup),
	.first_size = KAIO_SETUP_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_setup, flags),
		offsetof(struct kaio_setup, ctx_id),
		offsetof(struct kaio_setup, ctx_id) + 4,
	},
};

FIXTURE_VARIANT_ADD(context, destroy) {
	.cmd = KAIO_DESTROY,
	.size = sizeof(struct kaio_destroy),
	.first_size = KAIO_DESTROY_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_destroy, flags),
		offsetof(struct kaio_destroy, __reserved),
	},
};

FIXTURE_VARIANT_ADD(context, submit) {
	.cmd = KAIO_SUBMIT,
	.size = sizeof(struct kaio_submit),
	.first_size = KAIO_SUBMIT_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_submit, flags),
		offsetof(struct kaio_submit, error),
	},
};

FIXTURE_VARIANT_ADD(context, getevents) {
	.cmd = KAIO_GETEVENTS,
	.size = sizeof(struct kaio_getevents),
	.first_size = KAIO_GETEVENTS_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_getevents, flags),
		offsetof(struct kaio_getevents, __reserved),
	},
	.flags = offsetof(struct kaio_getevents, flags),
	.known_flags = KAIO_GETEVENTS_PEEK | KAIO_GETEVENTS_ABSTIME,
};

FIXTURE_VARIANT_ADD(context, cancel) {
	.cmd = KAIO_CANCEL,
	.size = sizeof(struct kaio_cancel),
	.first_size = KAIO_CANCEL_SIZE_VER0,
	.success = -EINPROGRESS,
	.zero = {
		offsetof(struct kaio_cancel, flags),
		offsetof(struct kaio_cancel, ended),
	},
};

FIXTURE_VARIANT_ADD(context, submit_wait) {
	.cmd = KAIO_SUBMIT_WAIT,
	.size = sizeof(struct kaio_submit_wait),
	.first_size = KAIO_SUBMIT_WAIT_SIZE_VER0,
	.zero = {
		offsetof(struct kaio_submit_wait, flags),
		offsetof(struct kaio_submit_wait, error),
	},
	.flags = offsetof(struct kaio_submit_wait, flags),
	.known_flags = KAIO_GETEVENTS_PEEK | KAIO_GETEVENTS_ABSTIME,
};
/* clang-format on */

/* Returns a request that can be cancelled, because it waits. */
static struct iocb *waiting_request(struct __test_metadata *const _metadata,
				    int fd, __u64 ctx)
{
	static int idle = -1;
	static struct iocb iocb;

	if (idle < 0)
		idle = eventfd(0, EFD_CLOEXEC);
	if (kaio_stat(fd, "inflight") == 0) {
		prep_poll(&iocb, idle, POLLIN);
		ASSERT_EQ(1, kaio_submit_one(fd, ctx, &iocb));
	}
	return &iocb;
}

/*
 * Returns an argument with which the ioctl succeeds: one page, zero except for
 * what is needed, followed by a page that is not mapped.
 */
static char *make_valid(struct __test_metadata *const _metadata,
			FIXTURE_DATA(context) *self,
			const FIXTURE_VARIANT(context) *variant)
{
	char *page = map_guarded(1);

	ASSERT_NE(NULL, page);
	if (variant->cmd == KAIO_SETUP)
		((struct kaio_setup *)page)->nr_events = 1;
	else if (variant->cmd != KAIO_QUERY)
		*(__u64 *)page = self->ctx;
	if (variant->cmd == KAIO_CANCEL)
		((struct kaio_cancel *)page)->iocb =
			(uintptr_t)waiting_request(_metadata, self->fd,
						   self->ctx);
	return page;
}

TEST_F(context, valid)
{
	EXPECT_EQ(variant->success,
		  kaio_ioctl(self->fd, variant->cmd,
			     make_valid(_metadata, self, variant)));
}

TEST_F(context, unaligned)
{
	char *arg = make_valid(_metadata, self, variant);

	memmove(arg + 1, arg, variant->size);
	EXPECT_EQ(variant->success, kaio_ioctl(self->fd, variant->cmd, arg + 1));
}

TEST_F(context, at_end_of_mapping)
{
	char *arg = make_valid(_metadata, self, variant);
	char *last = arg + PAGE - variant->size;

	memmove(last, arg, variant->size);
	EXPECT_EQ(variant->success, kaio_ioctl(self->fd, variant->cmd, last));
}

TEST_F(context, straddles_end_of_mapping)
{
	char *arg = make_valid(_metadata, self, variant);
	char *last = arg + PAGE - variant->size + 1;

	memmove(last, arg, variant->size - 1);
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, variant->cmd, last));
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

TEST_F(context, null)
{
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, variant->cmd, NULL));
}

TEST_F(context, kernel_address)
{
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, variant->cmd,
				      (void *)KERNEL_ADDR));
}

TEST_F(context, non_canonical_address)
{
	EXPECT_EQ(-EFAULT, kaio_ioctl(self->fd, variant->cmd,
				      (void *)(1ULL << 62)));
}

TEST_F(context, shorter)
{
	char *arg = make_valid(_metadata, self, variant);
	size_t size;

	for (size = 0; size < variant->first_size; size++) {
		EXPECT_EQ(-EINVAL,
			  kaio_ioctl(self->fd, ioc_resize(variant->cmd, size),
				     arg))
		{
			TH_LOG("size %zu", size);
		}
	}
}

TEST_F(context, longer_with_zeros)
{
	char *arg = make_valid(_metadata, self, variant);

	EXPECT_EQ(variant->success,
		  kaio_ioctl(self->fd,
			     ioc_resize(variant->cmd, variant->size + 1), arg));
	/* Setup has filled in the id, and destroy has destroyed the context. */
	arg = make_valid(_metadata, self, variant);
	if (variant->cmd == KAIO_DESTROY)
		ASSERT_EQ(0, kaio_setup(self->fd, 1, (__u64 *)arg));
	EXPECT_EQ(variant->success,
		  kaio_ioctl(self->fd, ioc_resize(variant->cmd, PAGE), arg));
}

TEST_F(context, longest_with_zeros)
{
	char *arg = map_guarded(_IOC_SIZEMASK / PAGE + 1);
	char *valid = make_valid(_metadata, self, variant);

	ASSERT_NE(NULL, arg);
	memcpy(arg, valid, variant->size);
	EXPECT_EQ(variant->success,
		  kaio_ioctl(self->fd, ioc_resize(variant->cmd, _IOC_SIZEMASK),
			     arg));
}

TEST_F(context, longer_with_garbage)
{
	const size_t tails[] = { 1, 2, 4, 8, 63, 64, 65, 500 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tails); i++) {
		const size_t size = variant->size + tails[i];
		char *arg = make_valid(_metadata, self, variant);

		arg[size - 1] = 1;
		EXPECT_EQ(-E2BIG,
			  kaio_ioctl(self->fd, ioc_resize(variant->cmd, size),
				     arg))
		{
			TH_LOG("a tail of %zu bytes", tails[i]);
		}
	}
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

TEST_F(context, longer_beyond_mapping)
{
	char *arg = make_valid(_metadata, self, variant);
	char *last = arg + PAGE - variant->size;

	memmove(last, arg, variant->size);
	EXPECT_EQ(-EFAULT,
		  kaio_ioctl(self->fd,
			     ioc_resize(variant->cmd, variant->size + 8),
			     last));
}

/*
 * Expects that a bit of a word that must be zero is refused, together with
 * @beside, which are bits that may be set.
 */
static void expect_refused(struct __test_metadata *const _metadata,
			   FIXTURE_DATA(context) *self,
			   const FIXTURE_VARIANT(context) *variant,
			   size_t offset, int bit, __u32 beside)
{
	char *arg = make_valid(_metadata, self, variant);

	*(__u32 *)(arg + offset) = 1U << bit | beside;
	EXPECT_EQ(-EINVAL, kaio_ioctl(self->fd, variant->cmd, arg))
	{
		TH_LOG("offset %zu, bit %d", offset, bit);
	}
	munmap(arg, 2 * PAGE);
}

TEST_F(context, must_be_zero)
{
	int i, bit;

	for (i = 0; variant->zero[i]; i++) {
		const size_t offset = variant->zero[i];
		const __u32 known = offset == variant->flags ?
					    variant->known_flags :
					    0;

		for (bit = 0; bit < 32; bit++) {
			if (known & 1U << bit)
				continue;
			expect_refused(_metadata, self, variant, offset, bit,
				       0);
			expect_refused(_metadata, self, variant, offset, bit,
				       known);
		}
	}
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

TEST_F(context, other_direction)
{
	char *arg = make_valid(_metadata, self, variant);
	unsigned int dir;

	for (dir = 0; dir < 4; dir++) {
		const unsigned long cmd = _IOC(dir, KAIO_IOC_MAGIC,
					       _IOC_NR(variant->cmd), 0);

		if (dir == _IOC_DIR(variant->cmd))
			continue;
		EXPECT_EQ(-ENOTTY,
			  kaio_ioctl(self->fd, ioc_resize(cmd, variant->size),
				     arg));
	}
	EXPECT_EQ(self->nr_before + kaio_capacity(NR_EVENTS), kaio_nr(self->fd));
}

/* The tests below do not belong to a single ioctl. */
FIXTURE(device)
{
	int fd;
};

FIXTURE_SETUP(device)
{
	self->fd = open_kaio(_metadata);
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
}

TEST_F(device, unknown_number)
{
	static char arg[_IOC_SIZEMASK];
	int nr;

	for (nr = _IOC_NR(KAIO_SUBMIT_WAIT) + 1; nr <= _IOC_NRMASK; nr++) {
		EXPECT_EQ(-ENOTTY,
			  kaio_ioctl(self->fd, _IO(KAIO_IOC_MAGIC, nr), arg));
		EXPECT_EQ(-ENOTTY,
			  kaio_ioctl(self->fd,
				     _IOWR(KAIO_IOC_MAGIC, nr,
					   struct kaio_submit),
				     arg));
	}
}

TEST_F(device, unknown_magic)
{
	struct kaio_query query;
	int magic;

	for (magic = 0; magic <= _IOC_TYPEMASK; magic++) {
		if (magic == KAIO_IOC_MAGIC)
			continue;
		EXPECT_EQ(-ENOTTY, kaio_ioctl(self->fd,
					      _IOR(magic, 0, struct kaio_query),
					      &query))
		{
			TH_LOG("magic %#x", magic);
		}
	}
}

TEST_F(device, no_read_write_mmap)
{
	char c = 0;

	EXPECT_EQ(-1, read(self->fd, &c, 1));
	EXPECT_EQ(-1, write(self->fd, &c, 1));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd,
				   0));
}

TEST_F(device, read_only_is_enough)
{
	int fd = open(KAIO_DEVICE, O_RDONLY | O_CLOEXEC);
	__u64 ctx;

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, kaio_setup(fd, 1, &ctx));
	EXPECT_EQ(0, kaio_destroy(fd, ctx));
}

TEST_F(device, query_version)
{
	struct kaio_query query;

	/* The memory of an output field need not be zero. */
	memset(&query, 0xff, sizeof(query));
	query.flags = 0;
	ASSERT_EQ(0, kaio_ioctl(self->fd, KAIO_QUERY, &query));
	EXPECT_EQ(KAIO_ABI_VERSION, query.version);
	EXPECT_EQ(0, query.flags);
	EXPECT_EQ(KAIO_FEATURE_RING_REAP | KAIO_FEATURE_RESFD |
			  KAIO_FEATURE_IOPRIO | KAIO_FEATURE_CANCEL |
			  KAIO_FEATURE_SIGMASK | KAIO_FEATURE_SUBMIT_WAIT |
			  KAIO_FEATURE_PEEK | KAIO_FEATURE_POLL |
			  KAIO_FEATURE_ABSTIME | KAIO_FEATURE_FADVISE,
		  query.features);
}

TEST_F(device, query_opcodes)
{
	const __u64 known = 1ULL << IOCB_CMD_PREAD | 1ULL << IOCB_CMD_PWRITE |
			    1ULL << IOCB_CMD_PREADV | 1ULL << IOCB_CMD_PWRITEV |
			    1ULL << IOCB_CMD_FSYNC | 1ULL << IOCB_CMD_FDSYNC |
			    1ULL << IOCB_CMD_POLL | 1ULL << KAIO_CMD_NOOP;
	struct kaio_query query;
	__u64 ctx;
	int i;

	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(known, query.opcodes);
	/* An opcode that the query does not report is refused. */
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx));
	for (i = 0; i < 64; i++) {
		struct iocb iocb;

		if (query.opcodes & 1ULL << i)
			continue;
		prep_rw(&iocb, i, self->fd, NULL, 0, 0);
		EXPECT_EQ(-EINVAL, kaio_submit_one(self->fd, ctx, &iocb))
		{
			TH_LOG("opcode %d", i);
		}
	}
}

TEST_F(device, query_rw_flags)
{
	const __u64 needed = RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT |
			     RWF_APPEND | RWF_NOAPPEND | RWF_ATOMIC;
	const int file = open_pattern(MEM_DIR, 1, 1);
	struct kaio_query query;
	struct iocb iocb;
	__u64 ctx;
	int bit;
	char c;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, kaio_query(self->fd, &query));
	EXPECT_EQ(0, query.rw_flags >> 32);
	EXPECT_EQ(needed, query.rw_flags & needed);
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx));
	for (bit = 0; bit < 32; bit++) {
		if (query.rw_flags & 1ULL << bit)
			continue;
		prep_pread(&iocb, file, &c, 1, 0);
		iocb.aio_rw_flags = 1U << bit;
		EXPECT_EQ(-EOPNOTSUPP, kaio_submit_one(self->fd, ctx, &iocb))
		{
			TH_LOG("bit %d", bit);
		}
	}
}

/* The size of the mask is ignored if there is no mask. */
TEST_F(device, sigsetsize_without_mask)
{
	struct kaio_getevents arg = { .sigsetsize = 12345 };

	ASSERT_EQ(0, kaio_setup(self->fd, 1, (__u64 *)&arg.ctx_id));
	EXPECT_EQ(0, kaio_ioctl(self->fd, KAIO_GETEVENTS, &arg));
}

/* A first size never changes after a release. The current size may grow. */
TEST_F(device, first_sizes)
{
	EXPECT_EQ(64, sizeof(struct kaio_query));
	EXPECT_EQ(16, sizeof(struct kaio_setup));
	EXPECT_EQ(16, sizeof(struct kaio_destroy));
	EXPECT_EQ(32, sizeof(struct kaio_submit));
	EXPECT_EQ(64, sizeof(struct kaio_getevents));
	EXPECT_EQ(24, sizeof(struct kaio_cancel));
	EXPECT_EQ(88, sizeof(struct kaio_submit_wait));
	EXPECT_EQ(64, KAIO_QUERY_SIZE_VER0);
	EXPECT_EQ(16, KAIO_SETUP_SIZE_VER0);
	EXPECT_EQ(16, KAIO_DESTROY_SIZE_VER0);
	EXPECT_EQ(32, KAIO_SUBMIT_SIZE_VER0);
	EXPECT_EQ(64, KAIO_GETEVENTS_SIZE_VER0);
	EXPECT_EQ(24, KAIO_CANCEL_SIZE_VER0);
	EXPECT_EQ(88, KAIO_SUBMIT_WAIT_SIZE_VER0);
}

/*
 * The offset of a field never changes and is the same in programs of any width.
 */
TEST_F(device, offsets)
{
	EXPECT_EQ(40, offsetof(struct kaio_query, nr));
	EXPECT_EQ(48, offsetof(struct kaio_query, max_user_nr));
	EXPECT_EQ(56, offsetof(struct kaio_query, user_nr));
	EXPECT_EQ(8, offsetof(struct kaio_setup, ctx_id));
	EXPECT_EQ(16, offsetof(struct kaio_submit, iocbpp));
	EXPECT_EQ(28, offsetof(struct kaio_submit, error));
	EXPECT_EQ(32, offsetof(struct kaio_getevents, timeout));
	EXPECT_EQ(56, offsetof(struct kaio_getevents, flags));
	EXPECT_EQ(8, offsetof(struct kaio_cancel, iocb));
	EXPECT_EQ(20, offsetof(struct kaio_cancel, ended));
	EXPECT_EQ(72, offsetof(struct kaio_submit_wait, submitted));
	EXPECT_EQ(84, offsetof(struct kaio_submit_wait, error));
	EXPECT_EQ(32, offsetof(struct kaio_ring, io_events));
}

TEST_F(device, fdinfo)
{
	const char *const names[] = { "contexts",  "inflight", "submitted",
				      "completed", "inline",   "queued",
				      "parked",	   "kicked",   "cancelled",
				      "irq" };
	__u64 ctx[2];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_EQ(0, kaio_stat(self->fd, names[i]))
		{
			TH_LOG("kaio-%s", names[i]);
		}
	}
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx[0]));
	ASSERT_EQ(0, kaio_setup(self->fd, 1, &ctx[1]));
	EXPECT_EQ(2, kaio_stat(self->fd, "contexts"));
	ASSERT_EQ(0, kaio_destroy(self->fd, ctx[0]));
	EXPECT_EQ(1, kaio_stat(self->fd, "contexts"));
}

TEST_HARNESS_MAIN
