#include "server/apitools.h"

#include <math.h>
#include <string.h>

#include "server/apijson.h"
#include "server/apisampling.h"
#include "text/toolcall.h"

#define NAME_BYTES_MAX 256

static struct sl_genreq *gen_of(struct sl_apiobject *o)
{
    return &o->parse->call->gen;
}

/* The list of tools, or NULL when there is none or no tool in it; room for their names. */
static const struct sl_json *open_list(struct sl_apiobject *o, const char *key)
{
    const struct sl_json *list = sl_apiobject_get(o, key, SL_JSON_ARRAY);
    size_t n = sl_json_n_items(list);

    if (n == 0)
        return NULL;
    if (n > SL_GENREQ_TOOLS_MAX)
        sl_apiobject_fail(o, key, "at most %d are supported, found %zu", SL_GENREQ_TOOLS_MAX, n);
    if (!o->parse->env->has_tools)
        sl_apiobject_fail(o, key, "this model's chat template does not list tools");
    gen_of(o)->tool_names = sl_apiparse_alloc(o->parse, n, sizeof(*gen_of(o)->tool_names));
    return gen_of(o)->tool_names ? list : NULL;
}

/* The name of a function, which becomes one of the request's. */
static const char *read_name(struct sl_apiobject *function)
{
    struct sl_genreq *gen = gen_of(function);
    const char *name;
    size_t len = 0;

    (void)sl_apiobject_require(function, "name", SL_JSON_STRING); /* its fault is kept */
    name = sl_apiobject_text(function, "name", &len);
    if (!name)
        return NULL;
    if (len == 0 || len > NAME_BYTES_MAX)
        sl_apiobject_fail(function, "name", "1 to %d bytes expected, found %zu", NAME_BYTES_MAX,
                          len);
    for (size_t i = 0; i < gen->n_tool_names; i++)
        if (strcmp(gen->tool_names[i], name) == 0)
            sl_apiobject_fail(function, "name", "another tool has it too");
    gen->tool_names[gen->n_tool_names] = sl_apiparse_copy(function->parse, name, len);
    if (!gen->tool_names[gen->n_tool_names])
        return NULL;
    gen->n_tool_names++;
    return name;
}

/* Take the list that w wrote, unless it is empty. */
static void finish(struct sl_apiobject *o, struct sl_jsonwriter *w)
{
    struct sl_genreq *gen = gen_of(o);

    sl_jsonwriter_end_array(w);
    if (!sl_apiobject_is_failed(o) && gen->n_tool_names > 0) {
        if (sl_strbuf_take(&w->buf, &gen->tools_json, NULL) < 0)
            sl_apiparse_no_memory(o->parse);
        gen->flags |= SL_GENREQ_CALLS;
    }
    if (sl_jsonwriter_done(w) < 0)
        sl_apiparse_no_memory(o->parse);
}

void sl_apitools_read(struct sl_apiobject *o, const char *key)
{
    const struct sl_json *list = open_list(o, key);
    struct sl_jsonwriter w;

    if (!list)
        return;
    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_array(&w);
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject tool = sl_apiobject_item(o, key, i);
        const char *type = sl_apiobject_text(&tool, "type", NULL);
        struct sl_apiobject function;

        if (type && strcmp(type, "function") != 0)
            sl_apiobject_fail(&tool, "type", "\"%.60s\" is not supported, only \"function\"", type);
        (void)sl_apiobject_require(&tool, "function", SL_JSON_OBJECT);
        function = sl_apiobject_object(&tool, "function");
        (void)read_name(&function);
        (void)sl_apiobject_get(&function, "parameters", SL_JSON_OBJECT);
        sl_jsonwriter_value(&w, tool.node);
    }
    finish(o, &w);
}

static void write_flat(struct sl_apiobject *tool, struct sl_jsonwriter *w, const char *name,
                       const char *schema_key)
{
    const char *description = sl_apiobject_text(tool, "description", NULL);
    const struct sl_json *schema = sl_apiobject_get(tool, schema_key, SL_JSON_OBJECT);

    sl_jsonwriter_begin_object(w);
    sl_apijson_text(w, "type", "function");
    sl_apijson_object(w, "function");
    sl_apijson_text(w, "name", name);
    if (description)
        sl_apijson_text(w, "description", description);
    if (schema) {
        sl_jsonwriter_key(w, "parameters");
        sl_jsonwriter_value(w, schema);
    }
    sl_jsonwriter_end_object(w);
    sl_jsonwriter_end_object(w);
}

void sl_apitools_read_flat(struct sl_apiobject *o, const char *key, const char *schema_key,
                           uint32_t flags)
{
    const struct sl_json *list = open_list(o, key);
    struct sl_jsonwriter w;

    if (!list)
        return;
    sl_jsonwriter_init(&w, NULL, 0);
    sl_jsonwriter_begin_array(&w);
    for (size_t i = 0; i < sl_json_n_items(list) && !sl_apiobject_is_failed(o); i++) {
        struct sl_apiobject tool = sl_apiobject_item(o, key, i);
        const char *type = sl_apiobject_text(&tool, "type", NULL);
        const char *name;

        if (type && strcmp(type, "function") != 0 && strcmp(type, "custom") != 0) {
            if (!(flags & SL_APITOOLS_SKIP))
                sl_apiobject_fail(&tool, "type", "\"%.60s\" is not supported here", type);
            continue;
        }
        if (type && type[0] == 'c' && flags & SL_APITOOLS_SKIP)
            continue; /* of the Responses API: free text in place of arguments */
        name = read_name(&tool);
        if (name)
            write_flat(&tool, &w, name, schema_key);
    }
    finish(o, &w);
}

void sl_apitools_choose(struct sl_apiobject *o, const char *key, enum sl_gentoolchoice choice,
                        const char *name)
{
    struct sl_genreq *gen = gen_of(o);
    bool is_known = false;

    if (sl_apiobject_is_failed(o))
        return;
    if (choice >= SL_GENTOOLCHOICE_REQUIRED && gen->n_tool_names == 0)
        sl_apiobject_fail(o, key, "there are no tools to choose from");
    if (choice == SL_GENTOOLCHOICE_NAMED) {
        for (size_t i = 0; i < gen->n_tool_names; i++)
            is_known = is_known || strcmp(gen->tool_names[i], name) == 0;
        if (!is_known)
            sl_apiobject_fail(o, key, "no tool is called \"%.60s\"", name);
        gen->tool_name = sl_apiparse_copy(o->parse, name, strlen(name));
    }
    if (choice == SL_GENTOOLCHOICE_NONE && gen->n_tool_names > 0) {
        gen->flags &= ~(uint32_t)SL_GENREQ_CALLS;
        sl_apisampling_add_bias(o, key, -1, SL_TOOLCALL_START, strlen(SL_TOOLCALL_START),
                                -INFINITY);
    }
    gen->tool_choice = choice;
}

static void read_choice_object(struct sl_apiobject *o)
{
    struct sl_apiobject choice = sl_apiobject_object(o, "tool_choice");
    struct sl_apiobject function = sl_apiobject_object(&choice, "function");
    const char *type = sl_apiobject_text(&choice, "type", NULL);
    const char *name;

    if (type && strcmp(type, "function") != 0) {
        sl_apiobject_fail(&choice, "type", "\"%.60s\" is not supported, only \"function\"", type);
        return;
    }
    name = sl_apiobject_text(function.node ? &function : &choice, "name", NULL);
    if (!name)
        sl_apiobject_fail(&choice, "function.name", "is required");
    sl_apitools_choose(o, "tool_choice", SL_GENTOOLCHOICE_NAMED, name);
}

void sl_apitools_read_choice(struct sl_apiobject *o)
{
    static const char *const words[] = {
        [SL_GENTOOLCHOICE_AUTO] = "auto",
        [SL_GENTOOLCHOICE_NONE] = "none",
        [SL_GENTOOLCHOICE_REQUIRED] = "required",
    };
    const struct sl_json *node = sl_apiobject_find(o, "tool_choice");
    const char *word = sl_json_get_string(node, NULL);
    bool is_parallel = true;

    if (sl_apiobject_bool(o, "parallel_tool_calls", &is_parallel) && !is_parallel)
        gen_of(o)->flags |= SL_GENREQ_ONE_CALL;
    if (!node)
        return;
    if (!word) {
        read_choice_object(o);
        return;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i]) == 0) {
            sl_apitools_choose(o, "tool_choice", (enum sl_gentoolchoice)i, NULL);
            return;
        }
    sl_apiobject_fail(o, "tool_choice",
                      "\"auto\", \"none\", \"required\" or a function expected, found \"%.60s\"",
                      word);
}
