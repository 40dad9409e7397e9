// SPDX-License-Identifier: GPL-2.0
/*
 * Providers: the table of them, and the names that their modules link against.
 * C because of static keys, RCU lists and exports, which are macros; what a
 * request's promise means is in rust/sys/provider.rs.
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

#include "kaio_shim.h"

/* No provider, no cost. */
static DEFINE_STATIC_KEY_FALSE(kaio_any);
/* Changed under the mutex, read under RCU. */
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

/* Regular files need freeze protection and limits, which here nobody sees to. */
static struct kaio_provider *kaio_provider_of(const struct file *file, bool write)
{
	const unsigned int does = write ? KAIO_PROVIDES_WRITE : KAIO_PROVIDES_READ;
	struct kaio_provider *provider = kaio_provider_find(file->f_op);

	return provider && provider->flags & does && !S_ISREG(file_inode(file)->i_mode) ?
		       provider : NULL;
}

/**
 * __kaio_register_provider - give requests on files of a driver to its methods.
 * @provider: what and how. Stays the caller's, and must stay as it is until
 *	kaio_unregister_provider() has returned.
 * @caller: THIS_MODULE, which kaio_register_provider() adds.
 *
 * Before the first file with @provider->fops is opened: requests that were
 * submitted before go to the file operations. Those on regular files always do.
 *
 * Context: process; may sleep.
 * Return: 0; -EINVAL: a field is missing or wrong, or it or the file operations belong
 * to another module, or to none; -EEXIST: they have a provider.
 */
int __kaio_register_provider(struct kaio_provider *provider, struct module *caller)
{
	if (!provider->name || !provider->fops || !provider->retry ||
	    provider->owner != caller || provider->fops->owner != caller || !provider->flags ||
	    provider->flags & ~(KAIO_PROVIDES_READ | KAIO_PROVIDES_WRITE))
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
 * kaio_unregister_provider - the opposite.
 * @provider: was registered.
 *
 * From now on requests go to the file operations. Waits until the last one that
 * the provider had has gone, and its destructor has returned. Within module_exit()
 * there is none: each keeps its file open, and that the module. Anywhere else it
 * waits as long as the requests do: nobody cancels those that wait for a kick.
 *
 * Context: process; sleeps.
 */
void kaio_unregister_provider(struct kaio_provider *provider)
{
	scoped_guard(mutex, &kaio_providers_mutex) {
		list_del_rcu(&provider->list);
		static_branch_dec(&kaio_any);
	}
	/* Who has found it has counted itself then. */
	synchronize_rcu();
	wait_var_event(&provider->users, !atomic_read(&provider->users));
	/* And who was last has left what it called. */
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(kaio_unregister_provider);

bool kaio_providers_any(void)
{
	return static_branch_unlikely(&kaio_any);
}

bool kaio_provider_serves(const struct file *file, bool write)
{
	guard(rcu)();
	return kaio_provider_of(file, write);
}

/* NULL: it has gone. */
struct kaio_provider *kaio_provider_get(const struct file *file, bool write)
{
	struct kaio_provider *provider;

	guard(rcu)();
	provider = kaio_provider_of(file, write);
	if (provider)
		atomic_inc(&provider->users);
	return provider;
}

/* Any context. */
void kaio_provider_put(struct kaio_provider *provider)
{
	/* Who waits may free it once it is 0, but not before this has returned. */
	guard(rcu)();
	if (atomic_dec_and_test(&provider->users))
		wake_up_var(&provider->users);
}

/*
 * A provider that kicks or completes twice may do so when the request has gone.
 * In debug builds its memory stays one of a request, and stays over for a while, so
 * that this is seen and not a crash; the memory goes when kaio does, after all
 * providers.
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

/* Not WARN(): where that is a panic, a provider's mistake would be one. */
void kaio_provider_report(const char *what, unsigned long caller)
{
	pr_err_ratelimited("kaio: %pS: %s\n", (void *)caller, what);
}

/**
 * kaio_kick - what the request waits for has happened: retry it.
 * @iocb: the request. Must not be touched after this, but by retry.
 *
 * Once for each -EIOCBRETRY; it may come before retry has returned that.
 *
 * Context: any, hard interrupt included, under any locks but those that the
 * provider's dtor takes.
 */
void kaio_kick(struct kaio_iocb *iocb)
{
	if (!kaio_held_kick(iocb))
		kaio_provider_report("kicks a request that is owed no kick", _RET_IP_);
}
EXPORT_SYMBOL_GPL(kaio_kick);

/**
 * kaio_complete - the request is over.
 * @iocb: the request. Must not be touched after this, but by dtor.
 * @res: the result: bytes of all attempts, or a negative errno, which counts even
 *	if earlier attempts have moved some. No promise: -EIOCBRETRY and -EIOCBQUEUED
 *	are reported, and are -EIO. So is more than ki_nbytes, which is that many.
 * @res2: io_event.res2.
 *
 * Once for each -EIOCBQUEUED; it may come before retry has returned that.
 *
 * Context: any, hard interrupt included, under any locks but those that the
 * provider's dtor takes.
 */
void kaio_complete(struct kaio_iocb *iocb, long res, long res2)
{
	if (!kaio_held_complete(iocb, res, res2))
		kaio_provider_report("completes a request that is owed no completion", _RET_IP_);
}
EXPORT_SYMBOL_GPL(kaio_complete);

/**
 * kaio_read_iter - file_operations.read_iter of files with a provider.
 * @kiocb: of read(2), preadv2(2) and so on.
 * @iter: the caller's memory.
 *
 * Calls the provider's retry, and sleeps until it is kicked or completed: what
 * wait_on_sync_kiocb() was for. A signal ends it as KAIO_CANCEL does, and so does,
 * at once, that it is not to wait. If the provider refuses, because it uses the
 * caller's memory, it waits all the same, and nothing interrupts that.
 *
 * Context: process; sleeps. Perhaps under the lock of the file's position, which
 * stream_open() does away with, or under locks of io_uring.
 * Return: bytes, or a negative errno; -ERESTARTSYS: a signal came before the first
 * byte; -EAGAIN: it would have to wait, and is not to (RWF_NOWAIT, O_NONBLOCK);
 * -EINVAL: the file has no provider, or is a regular one.
 */
ssize_t kaio_read_iter(struct kiocb *kiocb, struct iov_iter *iter)
{
	return kaio_held_call(kiocb, iter, false);
}
EXPORT_SYMBOL_GPL(kaio_read_iter);

/**
 * kaio_write_iter - file_operations.write_iter of files with a provider.
 * @kiocb: of write(2), pwritev2(2) and so on.
 * @iter: the caller's memory.
 *
 * As kaio_read_iter().
 *
 * Context: process; sleeps.
 * Return: bytes, or a negative errno.
 */
ssize_t kaio_write_iter(struct kiocb *kiocb, struct iov_iter *iter)
{
	return kaio_held_call(kiocb, iter, true);
}
EXPORT_SYMBOL_GPL(kaio_write_iter);

void kaio_wake_var(void *var)
{
	wake_up_var(var);
}

int kaio_wait_var(void *var, bool (*ready)(void *), void *arg, bool interruptible)
{
	if (interruptible)
		return wait_var_event_interruptible(var, ready(arg));
	wait_var_event(var, ready(arg));
	return 0;
}
