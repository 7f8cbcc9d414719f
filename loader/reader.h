/*
 * Asynchronous reads of large pieces of files into memory, past the page cache where
 * the system allows it. Two back ends, tried from best to plain: io_uring (uring.c),
 * a pool of threads that call pread (preadio.c); each with direct I/O where the file
 * system takes it, otherwise buffered with the page cache dropped behind. What was
 * chosen, and why nothing better, is in struct sl_reader_info.
 *
 * Called by experts/cache.c, by the loading of pinned weights, and by tools. One
 * thread at a time per reader; memory given to it must stay until the read is reaped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Offsets, lengths and addresses of direct reads are multiples of the reader's
 * alignment, at least this; a read's end may lie behind the end of the file (then it
 * is complete with fewer bytes). Always a power of two, at most SL_READER_ALIGN_MAX. */
#define SL_READER_ALIGN 4096u
#define SL_READER_ALIGN_MAX 65536u
#define SL_READER_DEPTH_MAX 256u

struct sl_reader;

enum sl_reader_backend {
    SL_READER_AUTO = 0,
    SL_READER_URING,
    SL_READER_PREAD,
};

enum sl_reader_direct {
    SL_READER_DIRECT_AUTO = 0, /* where the file system takes it */
    SL_READER_DIRECT_OFF,      /* buffered, cache dropped behind */
};

struct sl_reader_opts {
    enum sl_reader_backend backend; /* AUTO: uring, else pread; URING: or fail */
    enum sl_reader_direct direct;
    uint32_t depth;       /* reads in flight, 1..SL_READER_DEPTH_MAX; 0: 64 */
    uint32_t n_threads;   /* of the pread pool; 0: 8 */
    bool no_registration; /* do not register buffers and files with io_uring */
};

/* A read: bytes of a file to memory. off, bytes and buf are multiples of the reader's
 * alignment. */
struct sl_read {
    uint64_t off;
    void *buf;
    uint64_t tag;   /* the caller's, comes back in sl_read_done */
    uint32_t bytes; /* at most 16 MiB */
    uint32_t file;  /* index into the paths of sl_reader_open */
    uint32_t region; /* from sl_reader_add_region, or SL_READER_NO_REGION */
};
#define SL_READER_NO_REGION UINT32_MAX

struct sl_read_done {
    uint64_t tag;
    int error; /* 0: whole (up to the end of the file); else a negative errno: -EIO
                  after retries, or short: the file is shorter than when opened */
};

struct sl_reader_info {
    const char *backend;    /* "io_uring", "pread" */
    bool is_direct;         /* all files */
    bool is_registered;     /* buffers; false until a region was registered */
    uint32_t alignment;     /* bytes */
    uint32_t n_threads;     /* pread */
    char flags[64];         /* of the ring: "COOP_TASKRUN", "" */
    char fallback[256];     /* why nothing better, one line; "" if best */
};

struct sl_reader_counters {
    uint64_t n_reads, bytes; /* completed without error */
    uint64_t n_retries;      /* short, interrupted or failed reads tried again */
    uint64_t n_failed;       /* given up */
};

/*
 * Open n_files files for reading. fds are borrowed descriptors (any mode of opening):
 * the reader opens them again for direct I/O through /proc/self/fd, so that a file that
 * was replaced under its name is still the one meant. Before direct I/O is believed,
 * the first bytes read directly are compared with a buffered read. -ENOTSUP: the back
 * end asked for cannot be had (says why); -ENOMEM; -EMFILE.
 */
int sl_reader_open(struct sl_reader **ret_reader, const int *fds, uint32_t n_files,
                   const struct sl_reader_opts *opts, struct sl_diag *diag);

/* Waits for reads in flight. NULL is allowed. */
void sl_reader_close(struct sl_reader *reader);

void sl_reader_get_info(const struct sl_reader *reader, struct sl_reader_info *ret_info);
void sl_reader_get_counters(const struct sl_reader *reader,
                            struct sl_reader_counters *ret_counters);
uint32_t sl_reader_alignment(const struct sl_reader *reader);

/*
 * Tell the reader of memory that reads will go to (page-aligned, at most 1 GiB), so that
 * it can be registered. Returns the region's number; registration that the system
 * refuses (RLIMIT_MEMLOCK) is recorded in the info, and its reads go unregistered.
 * -ENOMEM; -E2BIG: more than 1024 regions.
 */
int sl_reader_add_region(struct sl_reader *reader, void *base, uint64_t bytes);
/* No read into it may be in flight. */
void sl_reader_remove_region(struct sl_reader *reader, uint32_t region);

/* Reads that can be submitted now: depth less those in flight. */
uint32_t sl_reader_room(const struct sl_reader *reader);
uint32_t sl_reader_n_flying(const struct sl_reader *reader);

/* Start n reads, n <= room, in order. Does not wait. */
void sl_reader_submit(struct sl_reader *reader, const struct sl_read *reads, uint32_t n);

/*
 * Completed reads, at most cap. Waits for the first one if wait is true and any is in
 * flight; otherwise cheap (no system call when nothing has landed). Returns their
 * number.
 */
uint32_t sl_reader_reap(struct sl_reader *reader, bool wait, struct sl_read_done *ret_done,
                        uint32_t cap);
