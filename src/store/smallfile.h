/* Whole small files of other programs: manifests, references, settings. For the listers. */
#pragma once

#include <stddef.h>

/*
 * All of a regular file, terminated, to heap memory that the caller frees. -EFBIG: more than
 * max bytes; -ENOTSUP: no regular file; -ENOMEM; or the system's error. Does not wait for
 * what may never come (pipes).
 */
int sl_smallfile_read(const char *path, size_t max, char **ret_text, size_t *ret_len);
