// SPDX-License-Identifier: GPL-2.0
/* Makes the memory, the file and the mapping of a ring. */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>

#include "kaio_shim.h"

void *kaio_page_address(struct page *page)
{
	return page_address(page);
}

unsigned long kaio_copy_to_user(void __user *to, const void *from, unsigned long n)
{
	return copy_to_user(to, from, n);
}

struct file *kaio_anon_file(const char *name, const struct file_operations *fops,
			    void *priv)
{
	return anon_inode_getfile(name, fops, priv, O_RDWR | O_CLOEXEC);
}

void kaio_ring_vma_init(struct vm_area_struct *vma,
			const struct vm_operations_struct *ops, void *priv)
{
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTCOPY | VM_DONTDUMP);
	vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_ops = ops;
	vma->vm_private_data = priv;
}

void kaio_ring_fault_page(struct vm_fault *vmf, struct page *page)
{
	get_page(page);
	vmf->page = page;
}

/*
 * If a process closes the device for the last time and lives on, the program may still read
 * the ring, or a library that does not know of the close may. So memory of zeroes, which no
 * part of kaio owns, takes the ring's place. That happens in one step, and only if the ring
 * is still there, as another thread may map something else at that address at any time:
 * vm_mmap() calls kaio_remains_area() and kaio_remains_mmap() under one hold of the mmap
 * lock.
 */
struct kaio_remains {
	/* The object whose pages are mapped now. */
	const void *object;
	/* The file of the memory that is mapped afterwards, which does not need the module. */
	struct file *file;
};

static unsigned long kaio_remains_area(struct file *file, unsigned long addr, unsigned long len,
				       unsigned long pgoff, unsigned long flags)
{
	const struct kaio_remains *remains = file->private_data;
	const struct vm_area_struct *vma = find_vma(current->mm, addr);

	if (!vma || vma->vm_start != addr || vma->vm_end - addr != len || !vma->vm_file ||
	    vma->vm_private_data != remains->object ||
	    vma->vm_file->private_data != remains->object)
		return -ENXIO;
	return addr;
}

static int kaio_remains_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct kaio_remains *remains = file->private_data;

	vma_set_file(vma, remains->file);
	/* The mapping is private and has no operations, like a private one of /dev/zero. */
	vma_set_anonymous(vma);
	return 0;
}

static const struct file_operations kaio_remains_fops = {
	.owner			= THIS_MODULE,
	.mmap			= kaio_remains_mmap,
	.get_unmapped_area	= kaio_remains_area,
};

/*
 * Replaces the mapping of @object, which kaio_ring_vma_init() and kaio_anon_file() were
 * given, by memory of zeroes. Returns 0, or -ENXIO if that mapping is not at @addr, or
 * another negative errno.
 */
int kaio_ring_replace(unsigned long addr, unsigned long len, const void *object)
{
	struct kaio_remains remains = { .object = object };
	struct file *file;
	unsigned long ret;

	remains.file = shmem_file_setup("kaio-ended", 0, EMPTY_VMA_FLAGS);
	if (IS_ERR(remains.file))
		return PTR_ERR(remains.file);
	file = anon_inode_getfile("[kaio]", &kaio_remains_fops, &remains, O_RDONLY | O_CLOEXEC);
	if (IS_ERR(file)) {
		ret = PTR_ERR(file);
	} else {
		ret = vm_mmap(file, addr, len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, 0);
		file->private_data = NULL;
		fput(file);
	}
	fput(remains.file);
	return IS_ERR_VALUE(ret) ? (int)ret : 0;
}
