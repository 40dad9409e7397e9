/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixture of most tests.
 */
#ifndef KAIO_CONTEXT_FIXTURE_H
#define KAIO_CONTEXT_FIXTURE_H

#include "kaio_common.h"

/*
 * One context of NR_EVENTS requests, and the numbers from before it.
 */
FIXTURE(context)
{
	int fd;
	__u64 ctx;
	__s64 nr_before;
};

FIXTURE_SETUP(context)
{
	self->fd = open_kaio(_metadata);
	if (self->fd < 0)
		return;
	self->nr_before = kaio_nr(self->fd);
	ASSERT_LE(0, self->nr_before);
	ASSERT_EQ(0, kaio_setup(self->fd, NR_EVENTS, &self->ctx));
}

/* Tests may have destroyed the context, or closed the file. */
FIXTURE_TEARDOWN(context)
{
	kaio_destroy(self->fd, self->ctx);
	close(self->fd);
}

#endif /* KAIO_CONTEXT_FIXTURE_H */
