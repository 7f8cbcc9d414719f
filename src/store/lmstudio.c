/*
 * LM Studio's own home is named by the first line of ~/.lmstudio-home-pointer, else it is
 * ~/.lmstudio, in old versions ~/.cache/lm-studio. Models are below it, unless settings.json
 * (there, or with the settings of the desktop program) has "downloadsFolder".
 */
#include "store/lmstudio.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "store/folder.h"
#include "store/smallfile.h"

#define SETTINGS_BYTES_MAX ((size_t)4 << 20)

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static char *join(const char *dir, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* The folder that the first line of the pointer names, if there is one; heap, or NULL. */
static char *follow_pointer(const char *home)
{
    char *pointer = join(home, ".lmstudio-home-pointer");
    char *text = NULL, *end;
    size_t len;

    if (!pointer || sl_smallfile_read(pointer, 4096, &text, &len) < 0) {
        free(pointer);
        return NULL;
    }
    free(pointer);
    text[strcspn(text, "\r\n")] = '\0';
    for (end = text + strlen(text); end > text && end[-1] == ' '; end--)
        end[-1] = '\0';
    if (text[0] == '/' && is_folder(text))
        return text;
    free(text);
    return NULL;
}

static char *find_home(const char *home)
{
    static const char *const names[] = {".lmstudio", ".cache/lm-studio"};
    char *found = follow_pointer(home);

    for (size_t i = 0; !found && i < 2; i++) {
        found = join(home, names[i]);
        if (!found || is_folder(found))
            return found;
        free(found);
        found = NULL;
    }
    return found ? found : join(home, names[0]);
}

/* The absolute path that settings.json in dir gives, heap, or NULL. */
static char *read_settings(const char *dir)
{
    char *path = join(dir, "settings.json");
    const char *folder = NULL;
    struct sl_json_doc *doc = NULL;
    char *text = NULL, *found = NULL;
    size_t len;

    if (path && sl_smallfile_read(path, SETTINGS_BYTES_MAX, &text, &len) == 0 &&
        sl_json_parse(&doc, text, len, NULL) == 0)
        folder = sl_json_get_string(sl_json_find(sl_json_root(doc), "downloadsFolder"), NULL);
    if (folder && folder[0] == '/')
        found = strdup(folder);
    sl_json_free(doc);
    free(text);
    free(path);
    return found;
}

char *sl_lmstudio_root(const char *home, const char *config)
{
    char *own = find_home(home);
    char *desktop = config ? join(config, "LM Studio") : NULL;
    char *root = own ? read_settings(own) : NULL;

    if (!root && desktop)
        root = read_settings(desktop);
    if (!root && own)
        root = join(own, "models");
    free(own);
    free(desktop);
    return root;
}

/* PUBLISHER/REPO and what is below it; a file beside the publishers belongs to none. */
static int add(void *arg, const struct sl_walk_model *found)
{
    const struct sl_folder_at *at = arg;
    const char *slash = strchr(found->dir, '/');
    const char *below = slash ? strchr(slash + 1, '/') : NULL;
    size_t len = below ? (size_t)(below - found->dir) : strlen(found->dir);
    struct sl_store_model m = {.kind = SL_STORE_LMSTUDIO, .repo = strndup(found->dir, len)};
    char *file = NULL;
    int r;

    if (!m.repo || asprintf(&file, "%s%s%s", below ? below + 1 : "", below ? "/" : "",
                            found->file) < 0) {
        free(m.repo);
        return -ENOMEM;
    }
    m.file = file;
    r = sl_folder_add(at->store, &m, at->root, found);
    free(m.repo);
    free(file);
    return r;
}

int sl_lmstudio_list(struct sl_store *store, const char *root)
{
    struct sl_folder_at at = {.store = store, .root = root};
    struct sl_walk walk = {.model = add, .denied = sl_folder_denied, .arg = &at};
    int r;

    at.place = sl_store_add_place(store, SL_STORE_LMSTUDIO, root);
    if (at.place < 0)
        return at.place;
    r = sl_walk_run(&walk, root);
    sl_folder_note_end(store, at.place, r);
    return r == -ENOMEM ? r : 0;
}
