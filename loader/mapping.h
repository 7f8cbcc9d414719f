/*
 * A file mapped read-only, counted by reference. Called by loader/gguf.c and by the
 * engine. Opening and closing: one thread at a time per mapping; reading: any.
 *
 * A page that cannot be read later (file truncated, device error) raises SIGBUS.
 * With the handler installed, such a page is replaced by zeros and the mapping is
 * marked bad; whoever computes from it asks sl_mapping_bad_off at the end of a step.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct sl_mapping;

/*
 * Map a regular file whole. Errors say the path: -ENOENT, -EACCES, -EISDIR, -EBADMSG
 * (empty file), -ENOTSUP (not a regular file), -E2BIG (too many are mapped), -ENOMEM,
 * or what the system says.
 */
int sl_mapping_open(struct sl_mapping **ret_map, const char *path, struct sl_diag *diag);

struct sl_mapping *sl_mapping_ref(struct sl_mapping *map);
void sl_mapping_unref(struct sl_mapping *map); /* NULL is allowed */

const uint8_t *sl_mapping_data(const struct sl_mapping *map);
uint64_t sl_mapping_bytes(const struct sl_mapping *map);
const char *sl_mapping_path(const struct sl_mapping *map); /* borrowed */
int sl_mapping_fd(const struct sl_mapping *map);           /* borrowed, O_RDONLY */

/* For error texts: path, or its last 200 bytes where it is longer. Borrowed. */
const char *sl_mapping_path_tail(const char *path);

/*
 * File offset of the first page found unreadable, or UINT64_MAX. A file that is now
 * shorter than when it was mapped counts as unreadable from there on. Any thread;
 * costs one system call.
 */
uint64_t sl_mapping_bad_off(const struct sl_mapping *map);

/*
 * Whether the open file is another one than it was when mapped: of another size, or
 * written to since (its time of modification). A file that took its name does not count.
 * Any thread; costs one system call.
 */
bool sl_mapping_is_changed(const struct sl_mapping *map);

/*
 * Install the process-wide SIGBUS handler for all mappings, once; later calls do
 * nothing. Faults elsewhere go to the handler that was there before. Returns 0 or a
 * negative errno.
 */
int sl_mapping_install_sigbus(void);

/*
 * Read the byte range into the page cache with large sequential reads and n_threads
 * threads (cold start), calling progress(arg, done, total) from the calling thread
 * about ten times a second and once at the end; NULL is allowed. Pages already cached
 * cost little. progress returning nonzero stops with -ECANCELED; -EIO when a read
 * fails or the file became shorter.
 */
int sl_mapping_warm(struct sl_mapping *map, uint64_t off, uint64_t bytes,
                    uint32_t n_threads,
                    int (*progress)(void *arg, uint64_t done, uint64_t total),
                    void *arg, struct sl_diag *diag);

/*
 * Ask for huge pages: what is missing of the page cache is then read in pages of 2 MiB
 * where the file system has them (XFS; ext4 since Linux 6.16), mapped as such, and stays
 * so for later processes. A first pass over the weights then takes one fault for 2 MiB.
 * What is cached already stays as it is. A hint; before sl_mapping_warm.
 */
void sl_mapping_set_huge(struct sl_mapping *map);

/*
 * Whether the mapping will be read at far apart places: then a page that is missing does
 * not bring its neighbours into the page cache (8 MiB of them on some systems), which
 * counts as memory of ours. A hint; off at first.
 */
void sl_mapping_set_random(struct sl_mapping *map, bool is_random);

/*
 * Share of the range that is in the page cache now, 0..1: of all its pages up to 4096, else
 * of so many that are evenly spread, so that the time does not depend on the size.
 */
double sl_mapping_resident(const struct sl_mapping *map, uint64_t off, uint64_t bytes);
