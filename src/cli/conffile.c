/*
 * libinih asks for lines one by one and calls back for each setting, without its line number;
 * lines are handed over here, so they are counted here too. An indented line goes on with the
 * value before it, as in libinih and Python's configparser; one that looks like a setting of its
 * own is an error, since it was hardly meant so.
 */
#include "cli/conffile.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/infile.h"

struct reading {
    struct sl_conffile *file;
    const char *path;
    const char *next;  /* of the text: the line after this one */
    uint32_t line;     /* this one; 0: none yet */
    bool is_indented;
    int error;         /* the first; its text is in diag */
    struct sl_diag *diag;
};

char *sl_conffile_path(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int len = -1;

    if (config && config[0] == '/')
        len = asprintf(&path, "%s/sluice/config", config);
    else if (home && home[0] == '/')
        len = asprintf(&path, "%s/.config/sluice/config", home);
    return len < 0 ? NULL : path;
}

static int fail(struct reading *r, int code, const char *text)
{
    if (r->error == 0)
        r->error = sl_diag_set(r->diag, code, "%s:%u: %s", r->path, r->line, text);
    return r->error;
}

/* For libinih: the next line, with its end, in at most num bytes; NULL after the last. */
static char *give_line(char *str, int num, void *stream)
{
    struct reading *r = stream;
    size_t len = strcspn(r->next, "\n");

    if (!*r->next || r->error)
        return NULL;
    r->line++;
    r->is_indented = *r->next == ' ' || *r->next == '\t';
    if (len + 2 > (size_t)num) {
        char text[128];

        (void)snprintf(text, sizeof(text), "%zu bytes; a line has at most %d, and indented lines "
                       "go on with a value", len, num - 2); /* it fits */
        (void)fail(r, -EBADMSG, text);
        return NULL;
    }
    memcpy(str, r->next, len);
    str[len] = '\n';
    str[len + 1] = '\0';
    r->next += len + (r->next[len] == '\n');
    return str;
}

/* "key = value", where key is a word. */
static bool looks_like_setting(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && text[len + strspn(text + len, " \t")] == '=';
}

static int go_on(struct reading *r, const char *more)
{
    struct sl_conffile_entry *e = &r->file->entries[r->file->n - 1];
    char *value = NULL;

    if (looks_like_setting(more))
        return fail(r, -EBADMSG, "an indented line goes on with the value before it; take the "
                                 "blanks away if it is a setting");
    if (asprintf(&value, "%s\n%s", e->value, more) < 0)
        return fail(r, -ENOMEM, "not enough memory");
    free(e->value);
    e->value = value;
    return 0;
}

static int add(struct reading *r, const char *section, const char *key, const char *value)
{
    struct sl_conffile *file = r->file;
    struct sl_conffile_entry *e;

    if (file->n == file->cap) {
        size_t cap = file->cap ? 2 * file->cap : 16;

        e = realloc(file->entries, cap * sizeof(*e));
        if (!e)
            return fail(r, -ENOMEM, "not enough memory");
        file->entries = e;
        file->cap = cap;
    }
    e = &file->entries[file->n++];
    *e = (struct sl_conffile_entry){.section = strdup(section), .key = strdup(key),
                                    .value = strdup(value), .line = r->line};
    return e->section && e->key && e->value ? 0 : fail(r, -ENOMEM, "not enough memory");
}

/* For libinih: not 0 is success. */
static int take_setting(void *user, const char *section, const char *key, const char *value)
{
    struct reading *r = user;
    size_t n = r->file->n;
    const struct sl_conffile_entry *last = n ? &r->file->entries[n - 1] : NULL;

    if (r->error)
        return 0;
    if (r->is_indented && last && !strcmp(last->key, key) && !strcmp(last->section, section))
        return go_on(r, value) == 0;
    return add(r, section, key, value) == 0;
}

static int parse(struct sl_conffile *file, const char *path, const char *text, size_t len,
                 struct sl_diag *diag)
{
    struct reading r = {.file = file, .path = path, .next = text, .diag = diag};
    int line;

    if (strlen(text) != len)
        return sl_diag_set(diag, -EBADMSG, "%s: no text: it holds a byte of zero", path);
    line = ini_parse_stream(give_line, &r, take_setting, &r);
    if (line > 0 && (r.error == 0 || (uint32_t)line < r.line)) {
        r.line = (uint32_t)line;
        r.error = 0;
        return fail(&r, -EBADMSG, "neither [SECTION] nor KEY = VALUE");
    }
    if (line < 0 && r.error == 0)
        return fail(&r, -ENOMEM, "not enough memory");
    return r.error;
}

int sl_conffile_read(struct sl_conffile *file, const char *path, struct sl_diag *diag)
{
    struct stat st;
    char *text;
    size_t len;
    int r = stat(path, &st) < 0 ? -errno : 0;

    if (r == -ENOENT || r == -ENOTDIR || r == -EACCES) /* -EACCES: a folder on the way */
        return 0;
    if (r < 0)
        return sl_diag_set(diag, r, "%s: %s", path, sl_err_text(r));
    file->is_there = true;
    file->others_read = (st.st_mode & (S_IRGRP | S_IROTH)) != 0;
    if (S_ISDIR(st.st_mode))
        return sl_diag_set(diag, -EISDIR, "%s: %s", path, sl_err_text(-EISDIR));
    if (!S_ISREG(st.st_mode))
        return sl_diag_set(diag, -EBADMSG, "%s: no regular file", path);
    if ((uint64_t)st.st_size > SL_CONFFILE_BYTES_MAX)
        return sl_diag_set(diag, -E2BIG, "%s: %llu bytes; settings have at most %zu", path,
                           (unsigned long long)st.st_size, SL_CONFFILE_BYTES_MAX);
    r = sl_infile_read(path, &text, &len, diag);
    if (r < 0)
        return r;
    r = parse(file, path, text, len, diag);
    free(text);
    return r;
}

void sl_conffile_done(struct sl_conffile *file)
{
    for (size_t i = 0; i < file->n; i++) {
        free(file->entries[i].section);
        free(file->entries[i].key);
        free(file->entries[i].value);
    }
    free(file->entries);
    *file = (struct sl_conffile){0};
}
