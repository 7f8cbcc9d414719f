/*
 * What the reader (reader.c) and its back ends (uring.c, preadio.c) share: open files,
 * reads on their way, and the table of functions that a back end is. Nobody else
 * includes this. The reader owns the table of reads and hands their indices to its back
 * end, which hands them back when they have ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "loader/reader.h"

#define SL_READER_REGIONS_MAX 1024u
#define SL_READER_THREADS_MAX 64u

struct sl_readfile {
    uint64_t bytes;  /* when it was opened */
    int fd;          /* opened with O_DIRECT if is_direct, else equal to buffered_fd */
    int buffered_fd; /* -1: there is none to fall back on */
    bool is_direct;
};

/* A read on its way. Belongs to the back end from submit to reap, there to one thread. */
struct sl_readop {
    struct sl_read read;
    uint32_t want_bytes; /* up to the end of the file */
    uint32_t done_bytes; /* read so far; a multiple of the alignment until the end */
    uint32_t n_retries;
    uint16_t n_errors;    /* failures that should not have been */
    uint16_t n_transient; /* interrupted, cancelled, nothing new: in a row */
    bool is_buffered;     /* goes through buffered_fd */
    int error;            /* of the whole; valid when it has ended */
};

void sl_readop_init(struct sl_readop *op, const struct sl_read *read,
                    const struct sl_readfile *file);

/*
 * Take note of what the system answered to reading want_bytes (or more) less done_bytes:
 * a number of bytes or a negative errno. True if the read has ended, well or not;
 * false if it must be issued again from done_bytes on.
 */
bool sl_readop_advance(struct sl_readop *op, const struct sl_readfile *file, int64_t res,
                       uint32_t alignment);

/* What is to be issued next. */
static inline int sl_readop_fd(const struct sl_readop *op, const struct sl_readfile *file)
{
    return op->is_buffered ? file->buffered_fd : file->fd;
}

/* Once a read has ended: let the page cache forget what went through it. */
void sl_readop_drop_behind(const struct sl_readop *op, const struct sl_readfile *file);

/* What a back end works with; borrowed from the reader, outlives the back end. */
struct sl_readback_setup {
    const struct sl_readfile *files;
    struct sl_readop *ops; /* depth of them */
    uint32_t n_files;
    uint32_t depth;
    uint32_t alignment;
    uint32_t n_threads;   /* wanted */
    bool no_registration;
};

struct sl_readback; /* each back end has its own */

/* A back end. One thread at a time calls it. */
struct sl_readback_ops {
    const char *name;
    /* Failing, why says so in a few words. */
    int (*open)(struct sl_readback **ret_back, const struct sl_readback_setup *setup,
                struct sl_diag *why);
    void (*close)(struct sl_readback *back); /* waits; NULL is allowed */
    void (*add_region)(struct sl_readback *back, uint32_t region, void *base,
                       uint64_t bytes);
    void (*remove_region)(struct sl_readback *back, uint32_t region);
    /* Indices of reads that have been initialised. */
    void (*submit)(struct sl_readback *back, const uint32_t *ops, uint32_t n);
    uint32_t (*reap)(struct sl_readback *back, bool wait, uint32_t *ret_ops, uint32_t cap);
    /* The system no longer takes reads this way; they are done, but one by one. */
    bool (*has_given_up)(const struct sl_readback *back);
    /* Fills n_threads, flags, is_registered; writes into ret_why (512 bytes at least) what
     * could be better, "" if nothing. */
    void (*get_info)(const struct sl_readback *back, struct sl_reader_info *ret_info,
                     struct sl_diag *ret_why);
};

extern const struct sl_readback_ops sl_uring_ops;   /* uring.c or uring_none.c */
extern const struct sl_readback_ops sl_preadio_ops; /* preadio.c */

/* Carry out a read in the calling thread, to its end, including the drop behind. */
void sl_preadio_run(struct sl_readop *op, const struct sl_readfile *file,
                    uint32_t alignment);
