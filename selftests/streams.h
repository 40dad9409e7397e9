/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Opens pipes and socket pairs, and a context for the requests on one of them.
 */
#ifndef KAIO_STREAMS_H
#define KAIO_STREAMS_H

#include <netinet/in.h>

#include "kaio_common.h"

/*
 * Opens a pipe if @domain is 0, else a pair of sockets of @type. A reader of
 * *@in gets what is written to *@out.
 */
static inline bool open_ends(int domain, int type, int *in, int *out)
{
	int ends[2];

	if (domain ? socketpair(domain, type | SOCK_CLOEXEC, 0, ends) :
		     pipe2(ends, O_CLOEXEC))
		return false;
	*in = ends[0];
	*out = ends[1];
	return true;
}

/* Binds an IPv4 socket to a free port of this machine, and puts it in @addr. */
static inline bool bind_to_loopback(int file, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);

	*addr = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	return !bind(file, (struct sockaddr *)addr, len) &&
	       !getsockname(file, (struct sockaddr *)addr, &len);
}

/* A context, and two ends: a reader of @in gets what is written to @out. */
struct stream {
	int fd;
	__u64 ctx;
	int in;
	int out;
};

/* Returns false if the test is skipped. */
static inline bool stream_set_up(struct __test_metadata *const _metadata,
				 struct stream *s, int domain, int type)
{
	if (!open_context(_metadata, &s->fd, NR_EVENTS, &s->ctx))
		return false;
	ASSERT_TRUE(open_ends(domain, type, &s->in, &s->out));
	return true;
}

#endif /* KAIO_STREAMS_H */
