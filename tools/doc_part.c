/* A part is read whole; sections are found anew for each question: pages are short. */
#include "tools/doc_part.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/infile.h"

#define TITLE ".Sh "

int doc_part_read(struct doc_part *part, const char *folder, const char *name,
                  struct sl_diag *diag)
{
    char *path = NULL;
    int r = asprintf(&path, "%s/%s.mdoc", folder, name) < 0 ? -ENOMEM : 0;

    if (r == 0)
        r = sl_infile_read(path, &part->text, &part->len, diag);
    else
        (void)sl_diag_set(diag, r, "not enough memory");
    if (r == -ENOENT) {
        part->text = strdup("");
        part->len = 0;
        r = part->text ? 0 : -ENOMEM;
    }
    free(path);
    return r;
}

void doc_part_done(struct doc_part *part)
{
    free(part->text);
    *part = (struct doc_part){0};
}

/* The next title at or after from, or the end. */
static const char *find_title(const struct doc_part *part, const char *from)
{
    while (*from && strncmp(from, TITLE, strlen(TITLE)) != 0) {
        const char *end = strchr(from, '\n');

        from = end ? end + 1 : part->text + part->len;
    }
    return from;
}

bool doc_part_at(const struct doc_part *part, size_t i, struct doc_section *ret_section)
{
    struct doc_section s = {.title = "", .body = part->text};

    for (size_t k = 0; ; k++) {
        const char *next = find_title(part, s.body);

        s.body_len = (size_t)(next - s.body);
        if (k == i)
            break;
        if (!*next)
            return false;
        s.title = next + strlen(TITLE);
        s.title_len = strcspn(s.title, "\n");
        s.body = s.title + s.title_len + (s.title[s.title_len] == '\n');
    }
    *ret_section = s;
    return true;
}

bool doc_part_find(const struct doc_part *part, const char *title,
                   struct doc_section *ret_section)
{
    struct doc_section s;

    for (size_t i = 0; doc_part_at(part, i, &s); i++)
        if (s.title_len == strlen(title) && !strncmp(s.title, title, s.title_len)) {
            *ret_section = s;
            return true;
        }
    return false;
}
