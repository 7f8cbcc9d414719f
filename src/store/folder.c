/* What is not there or cannot be read of a model is said in its note; a model without its
 * first part has no path. */
#include "store/folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_state(struct sl_store_model *m, const struct sl_walk_model *found)
{
    uint32_t n = found->name.n_parts;

    if (found->name.kind == SL_MODELFILE_PARTIAL) {
        sl_store_set_state(m, SL_STORE_PARTIAL, "its download is not finished");
    } else if (found->error == 0) {
        return;
    } else if (n > 1 && found->error == -ENOENT) {
        sl_store_set_state(m, SL_STORE_PARTIAL, "part %u of %u is missing", found->part_missing,
                           n);
    } else if (found->error == -ENOENT) {
        sl_store_set_state(m, SL_STORE_BROKEN, "a link to nothing");
    } else if (found->error == -ENOTSUP || found->error == -EISDIR) {
        sl_store_set_state(m, SL_STORE_BROKEN, "not a regular file");
    } else {
        sl_store_set_state(m, SL_STORE_UNREADABLE, "%s", strerror(-found->error));
    }
}

int sl_folder_add(struct sl_store *store, struct sl_store_model *m, const char *root,
                  const struct sl_walk_model *found)
{
    const char *slash = found->dir[0] ? "/" : "";
    size_t stem_len = found->name.stem_len;
    size_t type = sl_modelfile_find_type(found->file, stem_len);
    size_t from = type < stem_len ? type : 0;
    char *path = NULL, *file = NULL, *tag = strndup(found->file + from, stem_len - from);
    struct sl_store_model *added = NULL;

    if (asprintf(&path, "%s/%s%s%s", root, found->dir, slash, found->file) < 0)
        path = NULL;
    if (asprintf(&file, "%s%s%s", found->dir, slash, found->file) < 0)
        file = NULL;
    m->path = path;
    m->tag = tag;
    if (!m->file)
        m->file = file;
    m->n_parts = found->name.n_parts;
    m->bytes = found->bytes;
    m->dev = found->st.st_dev;
    m->ino = found->st.st_ino;
    if (path && file && tag)
        added = sl_store_add(store, m);
    else
        store->error = -ENOMEM;
    if (added)
        set_state(added, found);
    free(path);
    free(file);
    free(tag);
    return added ? 0 : store->error ? store->error : -E2BIG;
}

void sl_folder_note_end(struct sl_store *store, int place, int r)
{
    if (r == -E2BIG)
        sl_store_note_place(store, place, SL_STORE_THERE,
                            "more than %u files: not all were looked at", SL_WALK_ENTRIES_MAX);
    else if (r < 0 && r != -ENOMEM)
        sl_store_note_place(store, place, SL_STORE_DENIED, "%s", strerror(-r));
}

void sl_folder_denied(void *arg, const char *dir, int error)
{
    const struct sl_folder_at *at = arg;

    sl_store_note_place(at->store, at->place, SL_STORE_DENIED, "%s/%s: %s", at->root, dir,
                        strerror(-error));
}

static int add(void *arg, const struct sl_walk_model *found)
{
    const struct sl_folder_at *at = arg;
    struct sl_store_model m = {.kind = SL_STORE_FOLDER};

    return sl_folder_add(at->store, &m, at->root, found);
}

int sl_folder_list(struct sl_store *store, const char *root)
{
    struct sl_folder_at at = {.store = store, .root = root};
    struct sl_walk walk = {.model = add, .denied = sl_folder_denied, .arg = &at};
    int r;

    at.place = sl_store_add_place(store, SL_STORE_FOLDER, root);
    if (at.place < 0)
        return at.place;
    r = sl_walk_run(&walk, root);
    sl_folder_note_end(store, at.place, r);
    return r == -ENOMEM ? r : 0;
}
