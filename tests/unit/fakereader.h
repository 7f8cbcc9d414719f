/*
 * A reader without a disk, which stands in for loader/reader.c: the test says which read
 * lands when, and which fails. What the files hold follows from the offset, so any
 * byte that lands in memory can be checked. One at a time; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "loader/reader.h"

#define FAKE_DEPTH_MAX SL_READER_DEPTH_MAX
#define FAKE_REGIONS_MAX 1024u

struct fake_region {
    uint8_t *base;
    uint64_t bytes;
};

/* What the test may look at and change at any time. */
struct sl_reader {
    uint32_t alignment, depth;
    /* submitted, not done; in order of submission */
    uint32_t n_pending;
    struct sl_read pending[FAKE_DEPTH_MAX];
    /* done, not reaped */
    uint32_t n_landed;
    struct sl_read_done landed[FAKE_DEPTH_MAX];
    struct fake_region regions[FAKE_REGIONS_MAX];
    uint32_t n_idle_waits; /* reaps that were to wait with nothing in flight */
    uint32_t n_waits;      /* reaps that had to wait */
    uint32_t n_strays;     /* reads to memory of no region */
    uint64_t bytes;        /* of whole reads that were reaped */
    /* Called by submit; by a reap that must wait: is to land at least one. Or NULL: the
     * first one lands whole. */
    void (*on_submit)(void *arg, const struct sl_read *reads, uint32_t n);
    void (*on_wait)(void *arg);
    void (*on_reap)(void *arg, const struct sl_read_done *done, uint32_t n);
    void *arg;
};

void fake_open(struct sl_reader *reader, uint32_t alignment, uint32_t depth);

/* The i-th pending read is done: its bytes are in memory, or after an error (-EIO) some
 * of them and garbage. */
void fake_land(struct sl_reader *reader, uint32_t i, int error);
void fake_land_all(struct sl_reader *reader);

/* Bytes of a file to memory, and whether memory holds them. */
void fake_bytes(uint32_t file, uint64_t off, uint8_t *buf, uint64_t bytes);
bool fake_is_same(uint32_t file, uint64_t off, const uint8_t *buf, uint64_t bytes);
