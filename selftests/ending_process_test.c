// SPDX-License-Identifier: GPL-2.0
/*
 * Tests contexts whose process ends, or executes another program, while
 * their requests are in every state.
 */
#include "ending_fixture.h"

static void kill_child(struct __test_metadata *const _metadata, pid_t pid)
{
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(SIGKILL, status_of(pid));
}

/*
 * The exit does not wait for ever. A request that has not begun by then never
 * begins, and an attempt of a kernel thread ends by then.
 */
TEST_F_TIMEOUT(end, kill, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, WAIT);
	__s64 since, waited;
	__u64 attempts;

	EXPECT_EQ(self->nr + kaio_capacity(requests(variant->state)), kaio_nr(self->fd));
	since = now_ns();
	kill_child(_metadata, pid);
	waited = now_ns() - since;
	/* The module counts whole seconds. */
	EXPECT_TRUE(ends_at_once(variant->state) ||
		    waited >= (SHORT_PATIENCE - 1) * NSEC_PER_SEC)
	{
		TH_LOG("after %lld ms", waited / 1000000);
	}
	attempts = mock_info(self->file).attempts;
	ASSERT_EQ(0, mock_wake(self->file, KAIO_MOCK_NOW, IN, IN));
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	if (is_in_hardware(variant->state))
		release(self);
	EXPECT_TRUE(context_is_released(self));
	EXPECT_EQ(attempts, mock_info(self->file).attempts);
}

/*
 * A write that waits for its turn is done if its turn comes before the exit
 * stops waiting.
 */
TEST_F_TIMEOUT(end, ordered_write_after_kill, 120)
{
	pid_t pid;

	if (variant->state != ORDERED_WRITE)
		return;
	/* Even a slow machine lets the write take its turn within this time. */
	ASSERT_TRUE(write_number(END_SECONDS, PATIENCE_SECONDS));
	pid = start_child(_metadata, self, ORDERED_WRITE, WAIT);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	usleep(200 * 1000);
	EXPECT_EQ(1, mock_info(self->file).attempts);
	release(self);
	EXPECT_EQ(SIGKILL, status_of(pid));
	EXPECT_EQ(2, mock_info(self->file).attempts);
	EXPECT_EQ(0, mock_info(self->file).interrupted);
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(context_is_released(self));
}

/*
 * The exit closes no descriptor if a message has the only one, or if the
 * process executed another program before. The requests end in time all the
 * same.
 */
TEST_F_TIMEOUT(end, kill_without_descriptor, 120)
{
	if (is_in_hardware(variant->state))
		return;
	kill_child(_metadata, start_child(_metadata, self, variant->state, LEAVE_FD));
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(wait_until(kaio_nr(self->fd) == self->nr));
	close(self->mail[0]);
	close(self->mail[1]);
	EXPECT_TRUE(context_is_released(self));
}

TEST_F_TIMEOUT(end, exec_ends_requests_in_time, 120)
{
	pid_t pid;

	if (is_in_hardware(variant->state))
		return;
	pid = start_child(_metadata, self, variant->state, EXEC);
	EXPECT_EQ(0, status_of(pid));
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(context_is_released(self));
}

/* The requests of a process that is alive go on without a time limit. */
static void expect_requests_go_on(struct __test_metadata *const _metadata,
				  FIXTURE_DATA(end) *self, enum action action)
{
	const pid_t pid = start_child(_metadata, self, ORDERED_WRITE, action);

	usleep((SHORT_PATIENCE + 2) * 1000 * 1000);
	EXPECT_EQ(1, mock_info(self->file).sleeping);
	EXPECT_EQ(0, mock_info(self->file).interrupted);
	release(self);
	EXPECT_TRUE(wait_until(mock_info(self->file).attempts == 2));
	kill_child(_metadata, pid);
	EXPECT_TRUE(context_is_released(self));
}

TEST_F_TIMEOUT(end, unmap_keeps_requests, 120)
{
	if (variant->state == ORDERED_WRITE)
		expect_requests_go_on(_metadata, self, UNMAP);
}

TEST_F_TIMEOUT(end, exec_keeps_requests, 120)
{
	if (variant->state == ORDERED_WRITE)
		expect_requests_go_on(_metadata, self, EXEC_AND_WAIT);
}

TEST_F_TIMEOUT(end, exit, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, EXIT);

	if (!ends_at_once(variant->state)) {
		usleep(50 * 1000);
		release(self);
	}
	EXPECT_EQ(0, status_of(pid));
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(context_is_released(self));
}

TEST_F_TIMEOUT(end, exec, 120)
{
	const pid_t pid = start_child(_metadata, self, variant->state, EXEC);

	EXPECT_EQ(0, status_of(pid));
	if (!ends_at_once(variant->state))
		release(self);
	EXPECT_TRUE(wait_until(mm_is_gone(self)));
	EXPECT_TRUE(context_is_released(self));
}

TEST_HARNESS_MAIN
