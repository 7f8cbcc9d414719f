/*
 * A result file that appears whole or not at all: written beside its place without a
 * name, or under another one, and named when complete. What is not a regular file (a pipe,
 * /dev/stdout) is written directly.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

struct sl_outfile {
    FILE *file; /* NULL: not open */
    int fd;     /* below it */
    int error;  /* of the first write that failed */
    char *path, *aside; /* aside NULL: nameless, or written directly */
    bool is_nameless;
    char fd_path[32];   /* nameless: a name for it while it is open */
};

/* Errors name the path. out must stay where it is until commit or done. */
int sl_outfile_open(struct sl_outfile *out, const char *path, struct sl_diag *diag);

/* Flush to the disk and rename. On failure nothing is left behind. */
int sl_outfile_commit(struct sl_outfile *out, struct sl_diag *diag);

/* Give up: remove what was written aside. All zeroes, and after commit: does nothing. */
void sl_outfile_done(struct sl_outfile *out);
