// SPDX-License-Identifier: GPL-2.0
/* Polls files, and puts entries on their wait queues. */
#include <linux/list.h>
#include <linux/poll.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "kaio_shim.h"

u32 kaio_poll(struct file *file, struct poll_table_struct *pt)
{
	return (__force u32)vfs_poll(file, pt);
}

u32 kaio_poll_demangle(u16 events)
{
	return (__force u32)(demangle_poll(events) | EPOLLERR | EPOLLHUP);
}

u16 kaio_poll_mangle(u32 events)
{
	return mangle_poll((__force __poll_t)events);
}

void kaio_poll_wait(struct file *file, struct wait_queue_head *wq,
		    struct poll_table_struct *pt)
{
	poll_wait(file, wq, pt);
}

u32 kaio_key_to_poll(void *key)
{
	return (__force u32)key_to_poll(key);
}

void kaio_poll_entry_init(struct wait_queue_entry *entry, wait_queue_func_t func)
{
	init_waitqueue_func_entry(entry, func);
	INIT_LIST_HEAD(&entry->entry);
}

/* Takes an entry that has fired off its wait queue, whose lock the caller holds. */
void kaio_poll_entry_free(struct wait_queue_entry *entry, struct wait_queue_head **head)
{
	list_del_init(&entry->entry);
	/*
	 * This store must be last: once @head is NULL, kaio_poll_entry_remove() no longer
	 * takes the lock, and the entry may be freed.
	 */
	smp_store_release(head, NULL);
}

/*
 * Takes the entry off its wait queue. The owner of the queue may free the queue at any
 * moment, but calls wake_up_pollfree() first, and waits for a grace period: see
 * poll_iocb_lock_wq() of fs/aio.c.
 */
void kaio_poll_entry_remove(struct wait_queue_entry *entry, struct wait_queue_head **head)
{
	struct wait_queue_head *wq;
	unsigned long flags;

	rcu_read_lock();
	/* Pairs with kaio_poll_entry_free(): NULL means that the entry is off the queue. */
	wq = smp_load_acquire(head);
	if (wq) {
		spin_lock_irqsave(&wq->lock, flags);
		list_del_init(&entry->entry);
		spin_unlock_irqrestore(&wq->lock, flags);
	}
	rcu_read_unlock();
	*head = NULL;
}
