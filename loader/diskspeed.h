/*
 * How fast a disk gives a file: random direct reads for a moment, as the expert cache
 * makes them. Called by sluice plan and bench/disk.c, while nothing else reads. Any
 * thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define SL_DISKSPEED_BYTES_MAX (256u << 20) /* of all reads in flight */
#define SL_DISKSPEED_SECONDS_MAX 60.0

/*
 * Bytes per second of reads of read_bytes (rounded up to the alignment of direct reads)
 * at random places of the first file_bytes of fd, depth of them in flight, for about
 * `seconds`. fd: any mode of opening, borrowed. The file must hold one such read.
 *
 * -EINVAL: no reads, no time, or more than the bounds above; -ERANGE: the file is too
 * small; -ENOTSUP: it takes no direct reads, so that only the page cache could be
 * measured; -EIO; -ENOMEM. Blocks.
 */
int sl_diskspeed_measure(int fd, uint64_t file_bytes, uint32_t read_bytes, uint32_t depth,
                         double seconds, double *ret_bytes_per_s, struct sl_diag *diag);
