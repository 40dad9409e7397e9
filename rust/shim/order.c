// SPDX-License-Identifier: GPL-2.0
/* Keeps requests in lines. The caller of these functions holds the lock of the lines. */
#include <linux/list.h>
#include <linux/rbtree.h>

#include "kaio_shim.h"

/*
 * Returns the link in the tree that leads to the first entry of the line with this number,
 * or would lead to it.
 */
static struct rb_node **kaio_line_place(struct rb_root *lines, unsigned long number,
					struct rb_node **parent)
{
	struct rb_node **place = &lines->rb_node;

	*parent = NULL;
	while (*place) {
		const struct kaio_in_line *first = rb_entry(*place, struct kaio_in_line, node);

		if (number == first->number)
			break;
		*parent = *place;
		place = number < first->number ? &(*place)->rb_left : &(*place)->rb_right;
	}
	return place;
}

bool kaio_line_exists(const struct rb_root *lines, unsigned long number)
{
	struct rb_node *parent;

	return *kaio_line_place((struct rb_root *)lines, number, &parent);
}

/* Appends the entry to its line. Returns whether it is the first one there. */
bool kaio_line_join(struct rb_root *lines, struct kaio_in_line *entry, unsigned long number)
{
	struct rb_node *parent, **place = kaio_line_place(lines, number, &parent);
	struct kaio_in_line *first;

	entry->number = number;
	if (!*place) {
		entry->second = NULL;
		rb_link_node(&entry->node, parent, place);
		rb_insert_color(&entry->node, lines);
		return true;
	}
	first = rb_entry(*place, struct kaio_in_line, node);
	entry->second = entry;
	INIT_LIST_HEAD(&entry->others);
	if (first->second)
		list_add_tail(&entry->others, &first->second->others);
	else
		first->second = entry;
	return false;
}

bool kaio_line_is_first(const struct kaio_in_line *entry)
{
	return entry->second != entry;
}

/*
 * Removes an entry that is not the first of its line. Returns the entry behind it, or NULL
 * if there is none.
 */
static struct kaio_in_line *kaio_line_remove(struct kaio_in_line *entry)
{
	struct kaio_in_line *next = NULL;

	if (!list_empty(&entry->others))
		next = list_next_entry(entry, others);
	list_del(&entry->others);
	return next;
}

/*
 * Removes an entry from its line. If the entry was the first one and others are behind it,
 * returns the next, which is the first one now. Otherwise returns NULL.
 */
struct kaio_in_line *kaio_line_leave(struct rb_root *lines, struct kaio_in_line *entry)
{
	struct kaio_in_line *next, *first;
	struct rb_node *parent;

	if (!kaio_line_is_first(entry)) {
		next = kaio_line_remove(entry);
		first = rb_entry(*kaio_line_place(lines, entry->number, &parent),
				 struct kaio_in_line, node);
		if (first->second == entry)
			first->second = next;
		return NULL;
	}
	next = entry->second;
	if (!next) {
		rb_erase(&entry->node, lines);
		return NULL;
	}
	next->second = kaio_line_remove(next);
	rb_replace_node(&entry->node, &next->node, lines);
	return next;
}
