/* The environment is read here, since libraries may not. */
#include "cli/statedir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *sl_statedir_path(const char *name)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int len = -1;

    if (state && state[0] == '/')
        len = asprintf(&path, "%s/sluice/%s", state, name);
    else if (home && home[0] == '/')
        len = asprintf(&path, "%s/.local/state/sluice/%s", home, name);
    return len < 0 ? NULL : path;
}

bool sl_statedir_make_folders(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        bool is_there;

        *p = '\0';
        is_there = mkdir(path, 0700) == 0 || errno == EEXIST;
        *p = '/';
        if (!is_there)
            return false;
    }
    return true;
}
