#include "server/apiprompt.h"

static bool read_id(struct sl_apiobject *o, const char *key, const struct sl_json *node,
                    int32_t *ret_id)
{
    int64_t id;

    if (!sl_json_get_i64(node, &id)) {
        sl_apiobject_fail(o, key, "token ids expected, found %s",
                          sl_json_type_name(sl_json_get_type(node)));
        return false;
    }
    if (id < 0 || id >= (int64_t)o->parse->env->n_vocab) {
        sl_apiobject_fail(o, key, "token %lld, but the vocabulary has 0 to %u", (long long)id,
                          o->parse->env->n_vocab - 1);
        return false;
    }
    *ret_id = (int32_t)id;
    return true;
}

int32_t *sl_apiprompt_read_ids(struct sl_apiobject *o, const char *key,
                               const struct sl_json *list, size_t *ret_n)
{
    size_t n = sl_json_n_items(list);
    int32_t *ids = n ? sl_apiparse_alloc(o->parse, n, sizeof(*ids)) : NULL;

    *ret_n = ids ? n : 0;
    for (size_t i = 0; ids && i < n; i++)
        if (!read_id(o, key, sl_json_item(list, i), &ids[i]))
            break; /* the ids go with the request */
    return ids;
}

/* How many items from i on are no texts. */
static size_t run_of_ids(const struct sl_json *list, size_t i)
{
    size_t n = 0;

    while (i + n < sl_json_n_items(list) && !sl_json_is(sl_json_item(list, i + n), SL_JSON_STRING))
        n++;
    return n;
}

static void add_text(struct sl_apiobject *o, struct sl_genpart *part, const struct sl_json *node)
{
    const char *text = sl_json_get_string(node, &part->len);

    part->text = sl_apiparse_copy(o->parse, text, part->len);
}

/* One prompt of texts and ids: each text and each run of ids is a part. */
static void read_mixed(struct sl_apiobject *o, const char *key, const struct sl_json *list)
{
    struct sl_genreq *gen = &o->parse->call->gen;
    size_t n = sl_json_n_items(list);

    gen->parts = sl_apiparse_alloc(o->parse, n, sizeof(*gen->parts));
    for (size_t i = 0; gen->parts && i < n && !sl_apiobject_is_failed(o);) {
        struct sl_genpart *part = &gen->parts[gen->n_parts++];
        size_t run = run_of_ids(list, i);

        if (run == 0) {
            add_text(o, part, sl_json_item(list, i++));
            continue;
        }
        part->tokens = sl_apiparse_alloc(o->parse, run, sizeof(*part->tokens));
        for (; part->tokens && part->n_tokens < run; i++)
            if (!read_id(o, key, sl_json_item(list, i), &part->tokens[part->n_tokens++]))
                return;
    }
}

static void read_one_text(struct sl_apiobject *o, const struct sl_json *node)
{
    struct sl_genreq *gen = &o->parse->call->gen;

    gen->parts = sl_apiparse_alloc(o->parse, 1, sizeof(*gen->parts));
    if (gen->parts)
        add_text(o, &gen->parts[gen->n_parts++], node);
}

/* A list that is not one prompt but several: of texts alone, or of lists. */
static bool is_list_of_prompts(const struct sl_json *list)
{
    bool has_ids = false;

    for (size_t i = 0; i < sl_json_n_items(list); i++)
        has_ids = has_ids || sl_json_is(sl_json_item(list, i), SL_JSON_INT);
    return !has_ids;
}

void sl_apiprompt_read(struct sl_apiobject *o, const char *key)
{
    const struct sl_json *node = sl_apiobject_find(o, key);

    if (sl_apiobject_is_failed(o))
        return;
    o->parse->call->gen.input = SL_GENINPUT_PROMPT;
    if (sl_json_is(node, SL_JSON_ARRAY) && is_list_of_prompts(node)) {
        if (sl_json_n_items(node) != 1) {
            sl_apiobject_fail(o, key, "one prompt for each request is supported, found %zu",
                              sl_json_n_items(node));
            return;
        }
        node = sl_json_item(node, 0);
    }
    if (sl_json_is(node, SL_JSON_STRING))
        read_one_text(o, node);
    else if (sl_json_is(node, SL_JSON_ARRAY) && sl_json_n_items(node) > 0)
        read_mixed(o, key, node);
    else if (!node)
        sl_apiobject_fail(o, key, "is required");
    else
        sl_apiobject_fail(o, key, "a text or a list of token ids expected, found %s",
                          sl_json_type_name(sl_json_get_type(node)));
}
