/*
 * A text that begins as paths do, or names a file that is there, is a path, and what is wrong
 * with that file is said by who opens it. All others are looked for.
 */
#include "cli/modelname.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "cli/command.h"
#include "cli/escape.h"
#include "cli/storeenv.h"
#include "cli/units.h"
#include "store/find.h"

#define CANDIDATES_SHOWN 20u

static bool begins_as_path(const char *text)
{
    return text[0] == '\0' || text[0] == '/' || !strncmp(text, "./", 2) ||
           !strncmp(text, "../", 3);
}

/* Whether it is in the working folder; a folder of that name is no model. */
static bool is_file(const char *text)
{
    struct stat st;

    return lstat(text, &st) == 0 && (stat(text, &st) != 0 || !S_ISDIR(st.st_mode));
}

static void add_model(struct sl_strbuf *why, const struct sl_store_model *m)
{
    char size[SL_UNITS_BYTES];

    sl_strbuf_add_str(why, "\n  ");
    sl_escape_add(why, m->name);
    sl_strbuf_add_fmt(why, "  (%s, %s)  ", sl_store_kind_name(m->kind),
                      sl_units_size(size, m->bytes));
    sl_escape_add(why, m->path ? m->path : "");
}

static void add_models(struct sl_strbuf *why, const struct sl_find *find)
{
    for (size_t i = 0; i < find->n && i < CANDIDATES_SHOWN; i++)
        add_model(why, find->models[i]);
    if (find->n > CANDIDATES_SHOWN)
        sl_strbuf_add_fmt(why, "\n  ... and %zu more", find->n - CANDIDATES_SHOWN);
}

/* Where was looked, and where more may be. */
static void add_places(struct sl_strbuf *why, const struct sl_store *store)
{
    const char *before = "\nLooked in ";

    for (size_t i = 0; i < store->n_places; i++) {
        if (store->places[i].access == SL_STORE_ABSENT)
            continue;
        sl_strbuf_add_str(why, before);
        sl_escape_add(why, store->places[i].path);
        before = ", ";
    }
    if (strcmp(before, ", ") != 0)
        sl_strbuf_add_str(why, "\nNo folder of models is there; SLUICE_MODELS names some");
    for (size_t i = 0; i < store->n_places; i++) {
        const struct sl_store_place *p = &store->places[i];
        const char *advice = sl_storeenv_advice(p);

        if (!p->note)
            continue;
        sl_strbuf_add_str(why, "\n  ");
        sl_escape_add(why, p->path);
        sl_strbuf_add_str(why, ": ");
        sl_escape_add(why, p->note);
        if (advice)
            sl_strbuf_add_fmt(why, "; %s", advice);
    }
}

static void explain(struct sl_strbuf *why, int r, const char *text, const struct sl_store *store,
                    const struct sl_find *find)
{
    if (r == -ENOMEM) {
        sl_strbuf_add_str(why, "not enough memory to look for models");
    } else if (r == -ENOTUNIQ) {
        sl_escape_add(why, text);
        sl_strbuf_add_fmt(why, " may mean any of %zu models; give one of these names, or its "
                               "path:", find->n);
        add_models(why, find);
    } else if (r == -ENOENT) {
        sl_strbuf_add_str(why, "no file and no model is called ");
        sl_escape_add(why, text);
        sl_strbuf_add_str(why, "; sluice ls lists what is there");
        if (find->n)
            sl_strbuf_add_str(why, "\nDid you mean one of these?");
        add_models(why, find);
        add_places(why, store);
    } else {
        sl_escape_add(why, text);
        sl_strbuf_add_fmt(why, " (%s) cannot be used: ", sl_store_kind_name(find->models[0]->kind));
        sl_escape_add(why, find->models[0]->note ? find->models[0]->note : sl_err_text(r));
        if (find->models[0]->path)
            sl_strbuf_add_str(why, "; ");
        sl_escape_add(why, find->models[0]->path ? find->models[0]->path : "");
    }
}

/* 0 and the path in buf; or an error, with the text why. */
static int find_path(const char *text, char *buf, size_t cap, struct sl_strbuf *why)
{
    struct sl_store store = {0};
    struct sl_find find = {0};
    int r = sl_storeenv_list(&store);

    if (r == 0)
        r = sl_find_model(&store, text, &find);
    else
        r = -ENOMEM;
    if (r == 0 && (!find.models[0]->path || find.models[0]->state != SL_STORE_OK))
        r = -EBADMSG;
    if (r == 0 && strlen(find.models[0]->path) >= cap)
        r = -ENAMETOOLONG;
    if (r == 0)
        strcpy(buf, find.models[0]->path);
    else
        explain(why, r, text, &store, &find);
    sl_find_done(&find);
    sl_store_done(&store);
    return r;
}

const char *sl_modelname_path(struct argp_state *state, const char *text, char *buf,
                              size_t cap)
{
    struct sl_strbuf why = {0};
    struct stat st;
    int r;

    if (begins_as_path(text) || is_file(text))
        return text;
    r = find_path(text, buf, cap, &why);
    if (r == 0)
        return buf;
    if (r == -ENOENT && stat(text, &st) == 0) { /* a folder, as it turns out */
        sl_strbuf_done(&why);
        return text;
    }
    argp_failure(state, SL_EXIT_FAILED, 0, "%s", why.ptr ? why.ptr : sl_err_text(r));
    return text; /* not reached: that ended the program */
}
