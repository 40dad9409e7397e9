// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps the table of providers, and exports the names that their modules link against. This
 * is in C because static keys, RCU lists and exports are macros. rust/pure/promise.rs says
 * what a request's promise means.
 */
#include <linux/cleanup.h>
#include <linux/jump_label.h>
#include <linux/kaio.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/ratelimit.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/wait_bit.h>

#include "shim.h"

/* As long as there is no provider, a test of this key costs nothing. */
static DEFINE_STATIC_KEY_FALSE(kaio_any);
/* The list is changed under the mutex, and read under RCU. */
static LIST_HEAD(kaio_providers);
static DEFINE_MUTEX(kaio_providers_mutex);

static struct kaio_provider *kaio_provider_find(const struct file_operations *fops)
{
	struct kaio_provider *provider;

	list_for_each_entry_rcu(provider, &kaio_providers, list,
				lockdep_is_held(&kaio_providers_mutex))
		if (provider->fops == fops)
			return provider;
	return NULL;
}

/*
 * Returns the provider that does the reads, or writes, of this file, or NULL. A regular file
 * has none: it needs freeze protection and limits, which requests of providers do without.
 */
static struct kaio_provider *kaio_provider_of(const struct file *file, bool write)
{
	const unsigned int does = write ? KAIO_PROVIDES_WRITE : KAIO_PROVIDES_READ;
	struct kaio_provider *provider = kaio_provider_find(file->f_op);

	return provider && provider->flags & does && !S_ISREG(file_inode(file)->i_mode) ?
		       provider : NULL;
}

/**
 * __kaio_register_provider - gives requests on files of a driver to its methods.
 * @provider: the methods, and the files that they are for. The structure remains the
 *	caller's, and must not change until kaio_unregister_provider() has returned.
 * @caller: THIS_MODULE, which kaio_register_provider() adds.
 *
 * A driver calls this function before the first file with @provider->fops is opened:
 * requests that were submitted before go to the file operations. Requests on regular files
 * always go there.
 *
 * Context: process; may sleep.
 * Return: 0; -EINVAL if a field is missing or wrong, or if @provider or the file operations
 * belong to another module, or to none; -EEXIST if the file operations have a provider.
 */
int __kaio_register_provider(struct kaio_provider *provider, struct module *caller)
{
	const unsigned int provides = KAIO_PROVIDES_READ | KAIO_PROVIDES_WRITE;

	if (!provider->name || !provider->fops || provider->owner != caller ||
	    provider->fops->owner != caller)
		return -EINVAL;
	if (provider->flags != KAIO_ANY_TASK &&
	    (!provider->flags || provider->flags & ~provides || !provider->retry))
		return -EINVAL;
	guard(mutex)(&kaio_providers_mutex);
	if (kaio_provider_find(provider->fops))
		return -EEXIST;
	atomic_set(&provider->users, 0);
	list_add_tail_rcu(&provider->list, &kaio_providers);
	static_branch_inc(&kaio_any);
	return 0;
}
EXPORT_SYMBOL_GPL(__kaio_register_provider);

/**
 * kaio_unregister_provider - undoes kaio_register_provider().
 * @provider: the structure that was registered.
 *
 * From now on requests go to the file operations. The function waits until the last request
 * that the provider had has gone, and the destructor has returned. Within module_exit()
 * there is no such request: each request keeps its file open, and the file keeps the module.
 * Anywhere else the function waits for as long as the requests last: kaio does not cancel
 * requests that wait for a kick.
 *
 * Context: process; sleeps.
 */
void kaio_unregister_provider(struct kaio_provider *provider)
{
	scoped_guard(mutex, &kaio_providers_mutex) {
		list_del_rcu(&provider->list);
		static_branch_dec(&kaio_any);
	}
	/* After this, each task that has found the provider is counted in its users. */
	synchronize_rcu();
	wait_var_event(&provider->users, !atomic_read(&provider->users));
	/* After this, the task that put the last reference has left kaio_provider_put(). */
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(kaio_unregister_provider);

bool kaio_providers_any(void)
{
	return static_branch_unlikely(&kaio_any);
}

/*
 * Returns whether the file's driver has registered. If so, kworkers may call its file
 * operations, too.
 */
bool kaio_provider_vouches(const struct file *file)
{
	if (!kaio_providers_any())
		return false;
	guard(rcu)();
	return kaio_provider_find(file->f_op);
}

/* Returns whether a provider does the reads, or writes, of this file. */
bool kaio_provider_serves(const struct file *file, bool write)
{
	guard(rcu)();
	return kaio_provider_of(file, write);
}

/* Returns the provider of the file, and counts a user of it. Returns NULL if it has gone. */
struct kaio_provider *kaio_provider_get(const struct file *file, bool write)
{
	struct kaio_provider *provider;

	guard(rcu)();
	provider = kaio_provider_of(file, write);
	if (provider)
		atomic_inc(&provider->users);
	return provider;
}

/* Gives up what kaio_provider_get() has counted. The caller may be in any context. */
void kaio_provider_put(struct kaio_provider *provider)
{
	/*
	 * kaio_unregister_provider() may return once the count is 0, and the caller may
	 * free the provider then. But it waits for a grace period first.
	 */
	guard(rcu)();
	if (atomic_dec_and_test(&provider->users))
		wake_up_var(&provider->users);
}

/*
 * A provider that kicks or completes a request twice may do so when the request has gone. In
 * debug builds the memory of a request that has ended is kept as it is for a while, so that
 * kaio reports the mistake and does not crash. kaio frees the memory when it is unloaded,
 * after all providers.
 */
#ifdef CONFIG_RUST_DEBUG_ASSERTIONS

#define KAIO_MIN_GONE	1024

struct kaio_gone {
	struct list_head	list;
	u8			held[] __aligned(sizeof(u64));
};

static LIST_HEAD(kaio_gone);
static unsigned int kaio_nr_gone;
static DEFINE_SPINLOCK(kaio_gone_lock);

void *kaio_held_alloc(size_t size)
{
	struct kaio_gone *gone = NULL;

	scoped_guard(spinlock_irqsave, &kaio_gone_lock) {
		if (kaio_nr_gone > KAIO_MIN_GONE) {
			gone = list_first_entry(&kaio_gone, struct kaio_gone, list);
			list_del(&gone->list);
			kaio_nr_gone--;
		}
	}
	if (!gone)
		gone = kzalloc(sizeof(*gone) + size, GFP_KERNEL);
	return gone ? gone->held : NULL;
}

void kaio_held_free(void *held)
{
	struct kaio_gone *gone = container_of(held, struct kaio_gone, held[0]);

	guard(spinlock_irqsave)(&kaio_gone_lock);
	list_add_tail(&gone->list, &kaio_gone);
	kaio_nr_gone++;
}

void kaio_held_exit(void)
{
	struct kaio_gone *gone, *next;

	list_for_each_entry_safe(gone, next, &kaio_gone, list)
		kfree(gone);
}

#else

void *kaio_held_alloc(size_t size)
{
	return kzalloc(size, GFP_KERNEL_ACCOUNT);
}

void kaio_held_free(void *held)
{
	kfree(held);
}

void kaio_held_exit(void)
{
}

#endif /* CONFIG_RUST_DEBUG_ASSERTIONS */

/* Reports a provider's mistake. Where WARN() is a panic, the mistake must not cause one. */
void kaio_provider_report(const char *what, unsigned long caller)
{
	pr_err_ratelimited("kaio: %pS: %s\n", (void *)caller, what);
}

/**
 * kaio_kick - has a request retried, because what it waits for has happened.
 * @iocb: the request. The provider must not touch it after this call, except in retry.
 *
 * A provider calls this function once for each -EIOCBRETRY, perhaps before retry has
 * returned that.
 *
 * Context: any in which a spinlock may be taken: with PREEMPT_RT the thread of an
 * interrupt, otherwise also hard interrupt. The caller may hold any locks except
 * raw spinlocks and those that the provider's dtor takes.
 */
void kaio_kick(struct kaio_iocb *iocb)
{
	if (!kaio_held_kick(iocb))
		kaio_provider_report("kicks a request that is owed no kick", _RET_IP_);
}
EXPORT_SYMBOL_GPL(kaio_kick);

/**
 * kaio_complete - ends a request.
 * @iocb: the request. The provider must not touch it after this call, except in dtor.
 * @res: the result: the bytes of all attempts, or a negative errno, which counts even if
 *	earlier attempts have moved some bytes. @res cannot be a promise: kaio reports
 *	-EIOCBRETRY and -EIOCBQUEUED, and the result is -EIO. kaio also reports more than
 *	ki_nbytes bytes, and the result is ki_nbytes.
 * @res2: the value of io_event.res2.
 *
 * A provider calls this function once for each -EIOCBQUEUED, perhaps before retry has
 * returned that.
 *
 * Context: that of kaio_kick().
 */
void kaio_complete(struct kaio_iocb *iocb, long res, long res2)
{
	if (!kaio_held_complete(iocb, res, res2))
		kaio_provider_report("completes a request that is owed no completion", _RET_IP_);
}
EXPORT_SYMBOL_GPL(kaio_complete);

/**
 * kaio_read_iter - serves as read_iter in the file operations of a provider.
 * @kiocb: the kiocb of read(2), preadv2(2) and so on.
 * @iter: the caller's memory.
 *
 * The function calls the provider's retry, and sleeps until the provider kicks or completes
 * the request: what wait_on_sync_kiocb() was for. A signal cancels the request as KAIO_CANCEL
 * does. If the caller must not wait, the function cancels the request at once. If the
 * provider refuses, because it uses the caller's memory, the function waits all the same,
 * and nothing interrupts that wait.
 *
 * Context: process; sleeps. The caller may hold the lock of the file's position, which
 * stream_open() does away with, or locks of io_uring.
 * Return: bytes, or a negative errno; -ERESTARTSYS if a signal came before the first byte;
 * -EAGAIN if the function would have to wait, and must not (RWF_NOWAIT, O_NONBLOCK);
 * -EINVAL if the file has no provider, or is a regular file.
 */
ssize_t kaio_read_iter(struct kiocb *kiocb, struct iov_iter *iter)
{
	return kaio_held_call(kiocb, iter, false);
}
EXPORT_SYMBOL_GPL(kaio_read_iter);

/**
 * kaio_write_iter - serves as write_iter in the file operations of a provider.
 * @kiocb: the kiocb of write(2), pwritev2(2) and so on.
 * @iter: the caller's memory.
 *
 * The function does for a write what kaio_read_iter() does for a read.
 *
 * Context: that of kaio_read_iter().
 * Return: what kaio_read_iter() returns.
 */
ssize_t kaio_write_iter(struct kiocb *kiocb, struct iov_iter *iter)
{
	return kaio_held_call(kiocb, iter, true);
}
EXPORT_SYMBOL_GPL(kaio_write_iter);
