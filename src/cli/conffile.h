/*
 * The file of settings as it is written: sections, keys and values, with the line of each. What
 * they mean is settings.h's. The file is read by libinih. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SL_CONFFILE_BYTES_MAX ((size_t)1 << 20)

struct sl_conffile_entry {
    char *section; /* "": before the first */
    char *key, *value;
    uint32_t line; /* the first is 1 */
};

struct sl_conffile {
    struct sl_conffile_entry *entries; /* owned, with their texts; in the order of the file */
    size_t n, cap;
    bool is_there;
    bool others_read; /* users other than its owner can read it */
};

/* Heap path of the file: $XDG_CONFIG_HOME/sluice/config, or in ~/.config. NULL if there is no
 * place for one, or no memory. */
char *sl_conffile_path(void);

/*
 * Read path into a struct of all zeroes; sl_conffile_done is due in any case. A file that is not
 * there, or in a folder that may not be searched, has no entries. -EBADMSG: it is not well-formed
 * (diag names file and line); -E2BIG, -ENOMEM; or as the system said.
 */
int sl_conffile_read(struct sl_conffile *file, const char *path, struct sl_diag *diag);

void sl_conffile_done(struct sl_conffile *file);
