// SPDX-License-Identifier: GPL-2.0
/*
 * Tests the modules and files that a provider (include/linux/kaio.h) and its
 * requests keep.
 */
#include "provider_fixture.h"

TEST_F(ticker, open_file_keeps_module)
{
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	close(self->file);
	self->file = -1;
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, request_keeps_file_and_module)
{
	struct iocb iocb;

	ASSERT_EQ(1, submit_read(self, &iocb, 4));
	ASSERT_EQ(0, ticker_run(self->file, 100 * NSEC_PER_MSEC, 0));
	close(self->file);
	self->file = -1;
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	expect_end(_metadata, self, &iocb, 4, 0);
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, owed_kick_keeps_module)
{
	cancel_kept_read(_metadata, self, 4);
	ASSERT_EQ(0, ticker_run(self->file, 200 * NSEC_PER_MSEC, KAIO_TICKER_KEEP));
	close(self->file);
	self->file = -1;
	/* Only the promise of a kick is left of the request. */
	EXPECT_EQ(0, kaio_destroy(self->fd, self->ctx));
	EXPECT_EQ(-EWOULDBLOCK, remove_module(variant->module));
	EXPECT_TRUE(is_removed(variant->module));
	EXPECT_EQ(0, load_module(variant->module));
}

TEST_F(ticker, provider_keeps_kaio)
{
	close(self->file);
	self->file = -1;
	close(self->fd);
	EXPECT_EQ(-EWOULDBLOCK, remove_module("kaio"));
	self->fd = open(KAIO_DEVICE, O_RDWR | O_CLOEXEC);
	EXPECT_LE(0, self->fd);
}

TEST_F(ticker, provider_gets_only_transfers)
{
	struct iocb iocb;

	prep_noop(&iocb, self->file);
	EXPECT_EQ(0, kaio_do(self->fd, self->ctx, &iocb));
	prep_fsync(&iocb, self->file);
	EXPECT_EQ(-EINVAL, kaio_do(self->fd, self->ctx, &iocb));
	EXPECT_EQ(0, ticker_info(self->file).retries);
}

int main(int argc, char **argv)
{
	return run_with_modules(argc, argv);
}
