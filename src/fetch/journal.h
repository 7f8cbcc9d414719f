/*
 * What a download has: of each chunk of a file how many bytes, from the chunk's begin on, are
 * written. Kept in a small file beside the data, so that an end at any moment, SIGKILL and loss
 * of power too, loses next to nothing and never claims what is not there. For download.c.
 * One thread.
 *
 * Two counters for each chunk. `written` is stored after every write of data; both are then in
 * the page cache, which outlives the process and not the system. `durable` is stored after the
 * data was flushed to the disk. The journal says under which boot it was written: while that
 * is the current one `written` counts, else `durable`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetch/sha256.h"

#define SL_JOURNAL_BOOT_BYTES 40
#define SL_JOURNAL_NAME_BYTES 512

struct sl_journal_count {
    uint32_t durable, written;
};

struct sl_journal {
    int fd;
    uint64_t bytes;       /* of the file */
    uint32_t chunk_bytes; /* of all chunks but the last */
    uint32_t n_chunks;
    uint64_t n_written;   /* bytes, of all chunks */
    struct sl_journal_count *counts; /* of each chunk; owned */
    char path[4096];
};

/* What a journal is of. */
struct sl_journal_id {
    char sha256[SL_SHA256_HEX_BYTES];
    uint64_t bytes;                     /* above 0 */
    char name[SL_JOURNAL_NAME_BYTES];   /* of the file in its repo, cut; for read_id */
};

/* The name of this boot, or "", which is no name: nothing then outlives the process but what
 * is durable. */
void sl_journal_get_boot(char ret_boot[SL_JOURNAL_BOOT_BYTES]);

/*
 * Open or begin the journal at path for a file of which data_bytes lie there (the size of the
 * partial file; 0: none). What it says must fit id and lie within data_bytes, else it begins
 * anew, with nothing written. 0 or the system's error.
 */
int sl_journal_open(struct sl_journal *journal, const char *path, const struct sl_journal_id *id,
                    uint64_t data_bytes, const char *boot, struct sl_diag *diag);
void sl_journal_close(struct sl_journal *journal); /* all zeroes but fd -1: does nothing */

uint32_t sl_journal_chunk_bytes(const struct sl_journal *journal, uint32_t chunk);

/* Bytes from the file's begin on that are there without a gap. */
uint64_t sl_journal_prefix(const struct sl_journal *journal);

/* n more bytes of a chunk are written. 0 or the system's error. */
int sl_journal_add(struct sl_journal *journal, uint32_t chunk, uint32_t n);

/* All that is written was flushed to the disk. 0 or the system's error. */
int sl_journal_set_durable(struct sl_journal *journal);

/* What the journal at path is of; false: it is none. */
bool sl_journal_read_id(const char *path, struct sl_journal_id *ret_id);
