// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A library with a syscall() of its own, which is preloaded after libkaio.so.1.
 */
#include <dlfcn.h>

long next_calls;

long syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	static long (*libc)(long nr, long a, long b, long c, long d, long e, long f);

	if (!libc)
		*(void **)&libc = dlsym(RTLD_NEXT, "syscall");
	next_calls++;
	return libc(nr, a, b, c, d, e, f);
}
