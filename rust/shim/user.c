// SPDX-License-Identifier: GPL-2.0
/* Accesses user memory of the current task. */
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <asm/futex.h>

#include "kaio_shim.h"

/*
 * Reads an array of one segment. Returns false if import_iovec() must report what is wrong
 * with the segment, or must read that of a 32-bit caller.
 */
bool kaio_read_iovec(struct iovec *iov, unsigned long addr)
{
	return !in_compat_syscall() &&
	       !copy_from_user(iov, (const void __user *)addr, sizeof(*iov)) &&
	       (ssize_t)iov->iov_len >= 0;
}

void kaio_iter_ubuf(struct iov_iter *iter, int direction, unsigned long addr, size_t len)
{
	iov_iter_ubuf(iter, direction, (void __user *)addr, len);
}

/* kaio_iter_is_present() tests no more pages than this, as that would take too long. */
#define KAIO_PRESENT_PAGES	1024

/*
 * Returns whether the current task can access a page without waiting for it: the function
 * adds 0 to a word of the page, or reads a byte of it.
 */
static bool kaio_page_is_present(unsigned long addr, bool to_write)
{
	int old;
	u8 byte;

	if (to_write)
		return !arch_futex_atomic_op_inuser(FUTEX_OP_ADD, 0, &old,
						    (u32 __user *)(addr & ~3UL));
	return !__get_user(byte, (u8 __user *)addr);
}

/*
 * Returns whether all pages of the range are there, and are no more than @pages. Subtracts
 * the pages that were found from @pages.
 */
static bool kaio_range_is_present(unsigned long addr, size_t len, bool to_write, size_t *pages)
{
	const unsigned long end = addr + len;

	for (; addr < end; addr = (addr & PAGE_MASK) + PAGE_SIZE) {
		if (!*pages || !kaio_page_is_present(addr, to_write))
			return false;
		--*pages;
	}
	return true;
}

/*
 * Returns whether the current task can copy to or from these buffers, which have been
 * imported, without waiting for a page: a moment ago all pages were there. Returns false if
 * the buffers have more than KAIO_PRESENT_PAGES pages.
 */
bool kaio_iter_is_present(const struct iov_iter *iter)
{
	const bool to_write = iov_iter_rw(iter) == ITER_DEST;
	size_t left = iov_iter_count(iter), skip = iter->iov_offset;
	size_t pages = KAIO_PRESENT_PAGES;
	const struct iovec *iov;
	bool present = true;

	/* From here on, an access to a page that is not there returns an error. */
	pagefault_disable();
	if (iter_is_ubuf(iter)) {
		present = kaio_range_is_present((unsigned long)iter->ubuf + skip, left, to_write,
						&pages);
		left = 0;
	}
	for (iov = iter_iov(iter); left && present; iov++) {
		const size_t len = min(left, iov->iov_len - skip);

		present = kaio_range_is_present((unsigned long)iov->iov_base + skip, len, to_write,
						&pages);
		left -= len;
		skip = 0;
	}
	pagefault_enable();
	return present;
}

/*
 * Reads words from user memory, and returns whether that was possible. copy_from_user()
 * would be slow for so few.
 */
bool kaio_read_words(u64 *to, unsigned long from, unsigned long nr)
{
	const u64 __user *words = (const u64 __user *)from;

	if (!user_read_access_begin(words, nr * sizeof(u64)))
		return false;
	for (; nr; nr--, to++, words++)
		unsafe_get_user(*to, words, fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

/* Reads eight words, the size of an iocb, as kaio_read_words() does, but without a loop. */
bool kaio_read_eight_words(u64 *to, unsigned long from)
{
	const u64 __user *words = (const u64 __user *)from;

	if (!user_read_access_begin(words, 8 * sizeof(u64)))
		return false;
	unsafe_get_user(to[0], &words[0], fault);
	unsafe_get_user(to[1], &words[1], fault);
	unsafe_get_user(to[2], &words[2], fault);
	unsafe_get_user(to[3], &words[3], fault);
	unsafe_get_user(to[4], &words[4], fault);
	unsafe_get_user(to[5], &words[5], fault);
	unsafe_get_user(to[6], &words[6], fault);
	unsafe_get_user(to[7], &words[7], fault);
	user_read_access_end();
	return true;
fault:
	user_read_access_end();
	return false;
}

bool kaio_read_u32(u32 *to, unsigned long from)
{
	return !get_user(*to, (const u32 __user *)from);
}

bool kaio_write_u32(unsigned long to, u32 value)
{
	return !put_user(value, (u32 __user *)to);
}
