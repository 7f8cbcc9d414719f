/*
 * A line: ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPEROPTIONS. Blanks and
 * the like in names are written as \040.
 */
#include "base/mountinfo.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Undo \040 for a space and the like, in place. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static void tell(char *line, sl_mountinfo_fn fn, void *arg)
{
    char *tail = strstr(line, " - ");
    char *fields[5];
    char *type, *source, *options;
    char *save = NULL;

    if (!tail)
        return;
    *tail = '\0';
    for (int i = 0; i < 5; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!fields[i])
            return;
    }
    type = strtok_r(tail + 3, " \n", &save);
    source = type ? strtok_r(NULL, " \n", &save) : NULL;
    if (!source)
        return;
    options = strtok_r(NULL, " \n", &save);
    unescape(fields[3]);
    unescape(fields[4]);
    unescape(source);
    fn(arg, &(struct sl_mount){ .number = fields[2], .root = fields[3], .point = fields[4],
                                .type = type, .source = source,
                                .options = options ? options : "" });
}

void sl_mountinfo_walk(const char *root, sl_mountinfo_fn fn, void *arg)
{
    char path[PATH_MAX];
    char *line = NULL;
    size_t size = 0;
    FILE *f;

    if (snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root) >= (int)sizeof(path))
        return;
    f = fopen(path, "re");
    if (!f)
        return;
    while (getline(&line, &size, f) > 0)
        tell(line, fn, arg);
    free(line);
    (void)fclose(f); /* read-only: nothing to lose */
}
