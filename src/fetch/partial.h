/*
 * A file that is being downloaded: data with gaps beside the place where it will be, the
 * journal of what is there, and the SHA-256 of it from the begin on. For download.c. One thread.
 *
 * PATH.sluice.incomplete holds the data, PATH.sluice.journal says what of it is there
 * (journal.h). The names differ from those of other programs' unfinished files, which would
 * take everything before the end for written. Whoever opens must hold a lock.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "fetch/journal.h"

#define SL_PARTIAL_DATA ".sluice.incomplete"
#define SL_PARTIAL_JOURNAL ".sluice.journal"

struct sl_partial {
    int fd;
    char *path, *data_path, *folder; /* owned */
    struct sl_journal journal;
    struct sl_sha256 *sum;
    char *buf;              /* to read for the checksum */
    uint64_t checked_bytes; /* gone through it, from the begin on */
    uint64_t resumed_bytes; /* were there at first */
    uint64_t fetched_bytes; /* written since */
    uint64_t unsynced_bytes, synced_ns;
};

/* 0, the system's error, -ENOMEM; errors name the file, here and below. */
int sl_partial_open(struct sl_partial *partial, const char *path, const struct sl_journal_id *id,
                    struct sl_diag *diag);
void sl_partial_close(struct sl_partial *partial); /* all zeroes but the fds -1: does nothing */

/*
 * Bytes of the file at off, of which those that are there are passed over; those before them
 * in their chunk must be there. How many were written to *ret_written.
 */
int sl_partial_take(struct sl_partial *partial, uint64_t off, const char *data, size_t len,
                    uint64_t *ret_written, struct sl_diag *diag);

/* Flush to the disk what was written, if it is time for that, or in any case. */
int sl_partial_sync_some(struct sl_partial *partial, struct sl_diag *diag);
int sl_partial_sync(struct sl_partial *partial, struct sl_diag *diag);

/* Put through the checksum some bytes that are there and have not been, from the file; takes
 * a few milliseconds. Returns 1 if there may be more, 0 if not. */
int sl_partial_check_some(struct sl_partial *partial, struct sl_diag *diag);

/*
 * All bytes are there and checked: give the file its name if the digest is this one. -EBADMSG:
 * it is another one, and the file was removed.
 */
int sl_partial_finish(struct sl_partial *partial, const char *sha256, struct sl_diag *diag);

/* Remove the unfinished file of path, if there is one. Nothing may have it open. */
void sl_partial_remove(const char *path);
