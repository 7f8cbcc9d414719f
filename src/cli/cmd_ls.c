/*
 * sluice ls: the models on this machine, in whatever program's folder they lie, with the
 * names that MODEL takes, and how each would run in the memory that is free now. Names are
 * other people's: they are escaped for the terminal.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cmdline.h"
#include "cli/command.h"
#include "cli/escape.h"
#include "cli/options.h"
#include "cli/planshape.h"
#include "cli/report.h"
#include "cli/storeenv.h"
#include "cli/units.h"
#include "loader/mapping.h"
#include "store/inspect.h"

enum {
    KEY_JSON = 512,
    KEY_NAMES,
};

#define NAME_COLUMNS_MAX 60 /* longer names push the rest of their line */

struct ls_args {
    bool json, names;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct ls_args *args = state->input;

    switch (key) {
    case KEY_JSON: args->json = true; break;
    case KEY_NAMES: args->names = true; break;
    case 'h': argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP); break;
    case ARGP_KEY_ARG: argp_error(state, "too many arguments"); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 0},
    {"names", KEY_NAMES, NULL, OPTION_HIDDEN, NULL, 0}, /* for completions */
    {NULL, 'h', NULL, OPTION_HIDDEN, NULL, 0},
    {0},
};

const struct argp sl_argp_ls = {
    .options = options,
    .parser = parse,
    .doc = "List the models on this machine, with the names that commands take as MODEL.\v"
           "Looked into are the cache of Hugging Face's tools and llama.cpp (HF_HUB_CACHE, "
           "HF_HOME, LLAMA_CACHE), the stores of Ollama (OLLAMA_MODELS, and its service's) and "
           "LM Studio, and the folders in SLUICE_MODELS, with a colon between two "
           "(~/.local/share/sluice/models). Nothing is written there. HERE says whether a model "
           "would be resident in the memory that is free now, or stream its experts.",
};

enum here { /* how a model would run on this machine, without --ram */
    HERE_UNKNOWN = 0,
    HERE_RESIDENT,
    HERE_STREAMS,
    HERE_TOO_BIG,
};

static const char *const here_keys[] = {
    [HERE_UNKNOWN] = NULL,
    [HERE_RESIDENT] = "resident",
    [HERE_STREAMS] = "streams",
    [HERE_TOO_BIG] = "too big",
};

struct ls {
    struct sl_store store;
    enum here *here; /* of each model */
};

enum section {
    SECTION_OURS = 0,
    SECTION_OTHERS,
    SECTION_BAD,
    N_SECTIONS,
};

static enum section section_of(const struct sl_store_model *m)
{
    if (m->state != SL_STORE_OK)
        return SECTION_BAD;
    return m->is_lfm2 ? SECTION_OURS : SECTION_OTHERS;
}

static enum here plan_model(const struct sl_store_model *m, const struct sl_plan_in *machine)
{
    enum here here = HERE_UNKNOWN;
    struct sl_planshape shape = {0};
    struct sl_plan plan;
    int r = sl_planshape_open(&shape, m->path, NULL);

    if (r == 0) {
        shape.in.n_workers = machine->n_workers;
        shape.in.n_nodes = machine->n_nodes;
        shape.in.session.n_seq_max = 1; /* as run and chat have it */
        r = sl_plan_make(&plan, &shape.in, NULL);
        if (r == 0)
            here = plan.is_streaming ? HERE_STREAMS : HERE_RESIDENT;
        else if (r == -ENOMEM)
            here = HERE_TOO_BIG;
    }
    sl_planshape_done(&shape);
    return here;
}

/* Plan those that can be run; without knowledge of the machine nothing is said. */
static int plan_models(struct ls *ls)
{
    const struct sluice_model_opts opts = {0};
    struct sl_plan_in machine = {0};

    ls->here = calloc(ls->store.n_models + 1, sizeof(*ls->here));
    if (!ls->here)
        return sl_report_error("not enough memory for the list of models");
    for (size_t i = 0; i < ls->store.n_models; i++) {
        const struct sl_store_model *m = &ls->store.models[i];

        if (!sl_inspect_is_usable(m))
            continue;
        if (!machine.n_workers && sl_planshape_count_threads(&machine, &opts, NULL) < 0)
            return 0;
        ls->here[i] = plan_model(m, &machine);
    }
    return 0;
}

/* The folder of a file that no program keeps, else the program. */
static void add_where(struct sl_strbuf *line, const struct sl_store_model *m)
{
    const char *slash = m->path ? strrchr(m->path, '/') : NULL;
    char *folder;

    if (m->kind != SL_STORE_FOLDER || !slash) {
        sl_strbuf_add_str(line, sl_store_kind_name(m->kind));
        return;
    }
    folder = strndup(m->path, (size_t)(slash - m->path));
    sl_escape_add(line, folder ? folder : "");
    free(folder);
}

/* Spaces from a column to the next. */
static void pad(struct sl_strbuf *line, int columns, int width)
{
    sl_strbuf_add_fmt(line, "%*s", (columns < width ? width - columns : 0) + 2, "");
}

static void add_line(struct sl_strbuf *out, const struct sl_store_model *m, enum here here,
                     int width)
{
    char size[SL_UNITS_BYTES];
    struct sl_strbuf name = {0};

    sl_escape_add(&name, m->name);
    sl_strbuf_add_str(out, name.ptr ? name.ptr : "");
    pad(out, sl_escape_columns(name.ptr ? name.ptr : ""), width);
    sl_strbuf_add_fmt(out, "%9s  ", sl_units_size(size, m->bytes));
    sl_strbuf_done(&name);
    sl_escape_add(&name, m->type[0] ? m->type : "-");
    sl_strbuf_add_fmt(out, "%-8s  ", name.ptr ? name.ptr : "");
    sl_strbuf_done(&name);
    if (section_of(m) == SECTION_OURS)
        sl_strbuf_add_fmt(out, "%-8s  ", here_keys[here] ? here_keys[here] : "-");
    add_where(out, m);
    if (m->state == SL_STORE_OK && !m->is_lfm2) {
        sl_strbuf_add_str(out, "  ");
        sl_escape_add(out, m->architecture);
    }
    if (m->note) {
        sl_strbuf_add_str(out, "\n    ");
        sl_escape_add(out, m->note);
    }
    sl_strbuf_add_str(out, "\n");
}

static int name_width(const struct sl_store *store)
{
    int width = (int)strlen("MODEL");

    for (size_t i = 0; i < store->n_models; i++) {
        struct sl_strbuf name = {0};
        int columns;

        sl_escape_add(&name, store->models[i].name);
        columns = sl_escape_columns(name.ptr ? name.ptr : "");
        if (columns > width && columns <= NAME_COLUMNS_MAX)
            width = columns;
        sl_strbuf_done(&name);
    }
    return width;
}

static void add_models(struct sl_strbuf *out, const struct ls *ls)
{
    static const char *const titles[N_SECTIONS] = {
        [SECTION_OTHERS] = "Not LFM2, which Sluice cannot run",
        [SECTION_BAD] = "Cannot be used",
    };
    const struct sl_store *store = &ls->store;
    int width = name_width(store);

    for (int section = 0; section < N_SECTIONS; section++) {
        bool is_first = true;

        for (size_t i = 0; i < store->n_models; i++) {
            if (section_of(&store->models[i]) != (enum section)section)
                continue;
            if (is_first && titles[section])
                sl_strbuf_add_fmt(out, "%s%s:\n", out->len ? "\n" : "", titles[section]);
            else if (is_first)
                sl_strbuf_add_fmt(out, "%-*s  %9s  %-8s  %-8s  %s\n", width, "MODEL", "SIZE",
                                  "TYPE", "HERE", "WHERE");
            is_first = false;
            add_line(out, &store->models[i], ls->here[i], width);
        }
    }
}

/* Places with something wrong; all that are there, if there is no model. */
static void add_places(struct sl_strbuf *out, const struct sl_store *store)
{
    bool is_first = true;

    for (size_t i = 0; i < store->n_places; i++) {
        const struct sl_store_place *p = &store->places[i];
        const char *advice = sl_storeenv_advice(p);

        if (p->access == SL_STORE_ABSENT || (!p->note && store->n_models))
            continue;
        if (is_first && out->len)
            sl_strbuf_add_str(out, "\n");
        is_first = false;
        sl_escape_add(out, p->path);
        sl_strbuf_add_fmt(out, " (%s): ", sl_store_kind_name(p->kind));
        sl_escape_add(out, p->note ? p->note : "no models");
        if (advice)
            sl_strbuf_add_fmt(out, "; %s", advice);
        sl_strbuf_add_str(out, "\n");
    }
}

static int print_table(const struct ls *ls)
{
    struct sl_strbuf out = {0};
    int r;

    if (!ls->store.n_models)
        sl_strbuf_add_str(&out, "No models were found; SLUICE_MODELS names folders with some.\n");
    else
        add_models(&out, ls);
    add_places(&out, &ls->store);
    if (out.error)
        (void)sl_report_error("not enough memory for the list of models");
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

static void write_text(struct sl_jsonwriter *w, const char *key, const char *text)
{
    sl_jsonwriter_key(w, key);
    if (text && text[0])
        sl_jsonwriter_string(w, text);
    else
        sl_jsonwriter_null(w);
}

static void write_model(struct sl_jsonwriter *w, const struct sl_store_model *m, enum here here)
{
    sl_jsonwriter_begin_object(w);
    sl_jsonwriter_member_string(w, "name", m->name);
    sl_jsonwriter_member_string(w, "store", sl_store_kind_key(m->kind));
    write_text(w, "repo", m->repo);
    write_text(w, "revision", m->revision);
    write_text(w, "tag", m->tag);
    write_text(w, "path", m->path);
    sl_jsonwriter_member_u64(w, "parts", m->n_parts);
    sl_jsonwriter_member_u64(w, "bytes", m->bytes);
    sl_jsonwriter_member_string(w, "state", sl_store_state_key(m->state));
    write_text(w, "note", m->note);
    sl_jsonwriter_member_bool(w, "supported", m->is_lfm2);
    write_text(w, "architecture", m->architecture);
    write_text(w, "quantization", m->type);
    write_text(w, "memory", here_keys[here]);
    write_text(w, "sha256", m->digest);
    sl_jsonwriter_end_object(w);
}

static int print_json(const struct ls *ls)
{
    static const char *const access[] = {
        [SL_STORE_THERE] = "ok",
        [SL_STORE_ABSENT] = "absent",
        [SL_STORE_DENIED] = "unreadable",
    };
    const struct sl_store *store = &ls->store;
    struct sl_jsonwriter w;

    sl_report_begin_json(&w);
    sl_jsonwriter_member_array(&w, "models");
    for (size_t i = 0; i < store->n_models; i++)
        write_model(&w, &store->models[i], ls->here[i]);
    sl_jsonwriter_end_array(&w);
    sl_jsonwriter_member_array(&w, "places");
    for (size_t i = 0; i < store->n_places; i++) {
        const struct sl_store_place *p = &store->places[i];

        sl_jsonwriter_begin_object(&w);
        sl_jsonwriter_member_string(&w, "store", sl_store_kind_key(p->kind));
        sl_jsonwriter_member_string(&w, "path", p->path);
        sl_jsonwriter_member_string(&w, "state", access[p->access]);
        write_text(&w, "note", p->note);
        sl_jsonwriter_end_object(&w);
    }
    sl_jsonwriter_end_array(&w);
    return sl_report_end_json(&w);
}

/* A line for each model that can be run. Names that a line cannot hold are left out. */
static int print_names(const struct sl_store *store)
{
    struct sl_strbuf out = {0};
    int r;

    for (size_t i = 0; i < store->n_models; i++)
        if (sl_inspect_is_usable(&store->models[i]) && !strchr(store->models[i].name, '\n'))
            sl_strbuf_add_fmt(&out, "%s\n", store->models[i].name);
    if (out.error)
        (void)sl_report_error("not enough memory for the list of models");
    r = out.error ? out.error : sl_report_write(out.ptr, out.len);
    sl_strbuf_done(&out);
    return r == 0 ? sl_report_flush() : r;
}

int sl_cmd_ls(int argc, char **argv)
{
    struct ls_args args = {0};
    struct ls ls = {0};
    int r;

    sl_cmdline_parse(&sl_argp_ls, argc, argv, 0, &args);
    (void)sl_mapping_install_sigbus(); /* without it, a file cut meanwhile ends the program */
    r = sl_storeenv_list(&ls.store);
    if (r == 0) {
        sl_inspect_all(&ls.store);
        r = args.names ? 0 : plan_models(&ls);
    }
    if (r == 0 && args.names)
        r = sl_report_code(print_names(&ls.store));
    else if (r == 0)
        r = sl_report_code(args.json ? print_json(&ls) : print_table(&ls));
    free(ls.here);
    sl_store_done(&ls.store);
    return r;
}
