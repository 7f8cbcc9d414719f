/* Where sluice keeps what it remembers: $XDG_STATE_HOME/sluice or ~/.local/state/sluice, as
 * the XDG base directory specification has it. */
#pragma once

#include <stdbool.h>

/* Heap path of a file there; nothing is made. NULL if there is no place or no memory. */
char *sl_statedir_path(const char *name);

/* Make all folders of path up to its last slash. path is as before afterwards. */
bool sl_statedir_make_folders(char *path);
