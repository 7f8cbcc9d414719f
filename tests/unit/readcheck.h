/*
 * Random reads through a reader, compared with what the files are known to hold; for the
 * tests of the reader. A check that fails says so and aborts, so that it works in
 * child processes too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loader/reader.h"

#define READCHECK_FILES 2
#define READCHECK_SLOTS 32
#define READCHECK_READ_MAX (256u << 10)
#define READCHECK_GUARD 4096u
#define READCHECK_SLOT_BYTES (READCHECK_READ_MAX + 2 * READCHECK_GUARD)
#define READCHECK_ARENA_BYTES ((uint64_t)READCHECK_SLOTS * READCHECK_SLOT_BYTES)

#define READCHECK(cond) \
    do { \
        if (!(cond)) \
            readcheck_fail(__FILE__, __LINE__, #cond); \
    } while (0)

/* Two files of random bytes, the first with an odd end, and memory to read to. */
struct readcheck {
    char dir[64];
    char paths[READCHECK_FILES][96];
    int fds[READCHECK_FILES];
    unsigned char *data[READCHECK_FILES];
    uint64_t bytes[READCHECK_FILES];
    char *arena;
    uint32_t read_max; /* longest read, bytes; READCHECK_READ_MAX unless a test changes it */
    uint64_t seed; /* of SL_SEED or the clock; printed */
    uint64_t rng;
};

struct readcheck_tally {
    uint32_t n_good, n_failed;
};

_Noreturn void readcheck_fail(const char *file, int line, const char *what);

void readcheck_open(struct readcheck *rc);
void readcheck_close(struct readcheck *rc);
uint64_t readcheck_random(struct readcheck *rc, uint64_t below);

/* A reader of both files, which must come about. */
struct sl_reader *readcheck_reader(struct readcheck *rc, const struct sl_reader_opts *opts);

/* A random read into a slot; guards and slot are poisoned. */
struct sl_read readcheck_make(struct readcheck *rc, uint32_t slot, uint32_t region);

/* What a read that ended well must have done, and nothing beside. */
void readcheck_compare(const struct readcheck *rc, const struct sl_read *read);

/*
 * n reads of random places, lengths and slots, submitted and reaped in random batches; those
 * that ended without error are compared. region: to go with about half of them, or
 * SL_READER_NO_REGION.
 */
struct readcheck_tally readcheck_run(struct readcheck *rc, struct sl_reader *reader,
                                     uint32_t n, uint32_t region);
