#include "fetch/hublist.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "fetch/hubname.h"

/* Digits in lower case, as blobs are named. */
static bool copy_digest(char *to, const char *from)
{
    if (!from || !sl_sha256_is_hex(from))
        return false;
    for (size_t i = 0; i < SL_SHA256_HEX_BYTES; i++)
        to[i] = (char)tolower((unsigned char)from[i]);
    return true;
}

/* False: it is left out. A text with a zero byte in it cannot be: json.h. */
static bool read_file(struct sl_hubfile *ret, const struct sl_json *item)
{
    const char *path = sl_json_get_string(sl_json_find(item, "rfilename"), NULL);
    const struct sl_json *lfs = sl_json_find(item, "lfs");
    int64_t bytes = 0;

    *ret = (struct sl_hubfile){0};
    if (!path || !sl_hubname_is_path(path))
        return false;
    if (sl_json_is(lfs, SL_JSON_OBJECT) &&
        !copy_digest(ret->sha256, sl_json_get_string(sl_json_find(lfs, "sha256"), NULL)))
        return false;
    if (!sl_json_get_i64(sl_json_find(lfs, "size"), &bytes) &&
        !sl_json_get_i64(sl_json_find(item, "size"), &bytes) && ret->sha256[0])
        return false;
    if (bytes < 0 || (uint64_t)bytes > SL_HUBLIST_FILE_BYTES_MAX)
        return false;
    ret->bytes = (uint64_t)bytes;
    ret->path = strdup(path);
    return true;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct sl_hubfile *)a)->path, ((const struct sl_hubfile *)b)->path);
}

static int read_files(struct sl_hublist *ret, const struct sl_json *siblings, struct sl_diag *diag)
{
    size_t n = sl_json_n_items(siblings);

    if (n > SL_HUBLIST_FILES_MAX)
        return sl_diag_set(diag, -E2BIG, "the repo has %zu files, at most %u are handled", n,
                           SL_HUBLIST_FILES_MAX);
    ret->files = calloc(n + 1, sizeof(*ret->files));
    if (!ret->files)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    for (size_t i = 0; i < n; i++) {
        struct sl_hubfile file;

        if (!read_file(&file, sl_json_item(siblings, i))) {
            ret->n_refused++;
            continue;
        }
        if (!file.path)
            return sl_diag_set(diag, -ENOMEM, "not enough memory");
        ret->files[ret->n_files++] = file;
    }
    qsort(ret->files, ret->n_files, sizeof(*ret->files), compare);
    return 0;
}

int sl_hublist_parse(struct sl_hublist *ret, const char *json, size_t len, struct sl_diag *diag)
{
    struct sl_hublist list = {.n_files = 0};
    struct sl_json_doc *doc = NULL;
    const struct sl_json *root, *siblings;
    const char *commit;
    int r = sl_json_parse(&doc, json, len, diag);

    if (r < 0)
        return sl_diag_prefix(diag, r, "the server's list of files");
    root = sl_json_root(doc);
    commit = sl_json_get_string(sl_json_find(root, "sha"), NULL);
    siblings = sl_json_find(root, "siblings");
    if (!commit || !sl_hubname_is_commit(commit) || !sl_json_is(siblings, SL_JSON_ARRAY)) {
        r = sl_diag_set(diag, -EBADMSG, "the server's list of files: a commit (sha) and files "
                                        "(siblings) expected, found %s and %s",
                        commit ? "another text" : sl_json_type_name(SL_JSON_NONE),
                        sl_json_type_name(sl_json_get_type(siblings)));
    } else {
        memcpy(list.commit, commit, sizeof(list.commit));
        r = read_files(&list, siblings, diag);
    }
    sl_json_free(doc);
    if (r < 0)
        sl_hublist_done(&list);
    else
        *ret = list;
    return r;
}

void sl_hublist_done(struct sl_hublist *list)
{
    for (size_t i = 0; i < list->n_files; i++)
        free(list->files[i].path);
    free(list->files);
    *list = (struct sl_hublist){.n_files = 0};
}

const struct sl_hubfile *sl_hublist_find(const struct sl_hublist *list, const char *path)
{
    const struct sl_hubfile key = {.path = (char *)path}; /* not written through */

    if (!list->n_files)
        return NULL;
    return bsearch(&key, list->files, list->n_files, sizeof(*list->files), compare);
}
