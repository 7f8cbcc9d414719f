/* Input of the commands: a whole file or stdin, and lists of token ids. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_INFILE_BYTES_MAX ((size_t)256 << 20)

/*
 * All bytes of path ("-": stdin), terminated, to heap memory that the caller frees. The
 * system's error (-ENOENT, -EISDIR, ...) with the path, -E2BIG, -ENOMEM, -EINTR.
 */
int sl_infile_read(const char *path, char **ret_text, size_t *ret_len, struct sl_diag *diag);

/* The same, with failures reported. 0 or an exit code. */
int sl_infile_load(const char *path, char **ret_text, size_t *ret_len);

/* What messages call path: "standard input" for "-". */
const char *sl_infile_name(const char *path);

/* How many ids a text holds, if it holds nothing else. */
size_t sl_infile_count_ids(const char *text, size_t len);

/*
 * Ids separated by commas or blanks, each 0 .. n_vocab - 1; the caller frees them.
 * -EBADMSG names what is not an id (name says where it stands), or that there is none.
 */
int sl_infile_parse_ids(const char *name, const char *text, size_t len, uint32_t n_vocab,
                        int32_t **ret_ids, size_t *ret_n, struct sl_diag *diag);
