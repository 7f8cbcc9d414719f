/*
 * A compressed stream of bytes in a file: for traces. Bytes are gathered in a buffer and
 * written block by block, each block a zstd frame of its own with a checksum, so that a
 * file that ends early is readable up to its last whole block.
 *
 * A block: raw length and stored length (two little-endian uint32), then the frame.
 * Used by experts/trace.c. One thread per stream. Descriptors are borrowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_ZSTREAM_BLOCK 65536u /* raw bytes of a block at most */

struct sl_zstream_writer;

/* Allocates everything: writing does not. -ENOMEM. */
int sl_zstream_writer_new(struct sl_zstream_writer **ret_writer, int fd);
/* Flushes nothing. NULL is allowed. */
void sl_zstream_writer_free(struct sl_zstream_writer *writer);

/* Append. After an error everything is ignored. */
void sl_zstream_write(struct sl_zstream_writer *writer, const void *data, size_t bytes);
/* Write out what is in the buffer. Returns 0 or the first error: -EIO, -ENOSPC. */
int sl_zstream_flush(struct sl_zstream_writer *writer);

struct sl_zstream_reader;

int sl_zstream_reader_new(struct sl_zstream_reader **ret_reader, int fd); /* -ENOMEM */
void sl_zstream_reader_free(struct sl_zstream_reader *reader); /* NULL is allowed */

/* Exactly so many bytes. 0; -ENODATA: the stream ended before the first of them; -EBADMSG:
 * it is damaged or ended within them or within a block; -EIO. */
int sl_zstream_read(struct sl_zstream_reader *reader, void *ret_data, size_t bytes);
