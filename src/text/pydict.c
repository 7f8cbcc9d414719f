/*
 * Repeated keys. The writer's text is the only copy of keys and values; a member is
 * four positions in it. Keys are compared as JSON text, which the writer makes in one
 * way only. When an object closes its members are sorted by key (a search in the
 * members before would be quadratic in what a model may write); if two are equal the
 * object's body is put together anew from the members that count.
 */
#include "text/pydict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sl_pydict_member {
    size_t key_off, key_len; /* with quotes */
    size_t value_off, value_len;
    enum sl_pydict_key kind;
    bool dropped; /* a repeated key after its first place */
};

void sl_pydict_stack_done(struct sl_pydict_stack *stack)
{
    free(stack->members);
    *stack = (struct sl_pydict_stack){0};
}

void sl_pydict_begin(struct sl_pydict_stack *stack, struct sl_pydict *dict,
                     struct sl_jsonwriter *w)
{
    assert(w->flags == 0 && !w->file);
    sl_jsonwriter_begin_object(w);
    dict->first_member = stack->n;
    dict->body_off = w->buf.len;
}

int sl_pydict_key(struct sl_pydict_stack *stack, struct sl_jsonwriter *w, const char *key,
                  size_t len, enum sl_pydict_key kind)
{
    struct sl_pydict_member *member;
    size_t off = w->buf.len;

    if (stack->n == stack->cap) {
        size_t cap = stack->cap ? stack->cap * 2 : 16;
        void *members = realloc(stack->members, cap * sizeof(*member));

        if (!members)
            return -ENOMEM;
        stack->members = members;
        stack->cap = cap;
    }
    sl_jsonwriter_key_len(w, key, len);
    if (w->buf.error)
        return w->buf.error;
    off += w->buf.ptr[off] == ',';
    member = &stack->members[stack->n++];
    *member = (struct sl_pydict_member){
        .key_off = off,
        .key_len = w->buf.len - off - 1, /* without the colon */
        .value_off = w->buf.len,
        .kind = kind,
    };
    return 0;
}

void sl_pydict_end_value(struct sl_pydict_stack *stack, const struct sl_pydict *dict,
                         const struct sl_jsonwriter *w)
{
    struct sl_pydict_member *member = &stack->members[stack->n - 1];

    assert(stack->n > dict->first_member);
    member->value_len = w->buf.len - member->value_off;
}

static int compare_keys(const void *pa, const void *pb, void *text)
{
    const struct sl_pydict_member *a = pa, *b = pb;
    const char *base = text;
    int order;

    if (a->key_len != b->key_len)
        return a->key_len < b->key_len ? -1 : 1;
    order = memcmp(base + a->key_off, base + b->key_off, a->key_len);
    return order ? order : a->key_off < b->key_off ? -1 : 1;
}

static int compare_places(const void *pa, const void *pb)
{
    const struct sl_pydict_member *a = pa, *b = pb;

    return a->key_off < b->key_off ? -1 : 1;
}

static bool same_key(const struct sl_pydict_member *a, const struct sl_pydict_member *b,
                     const char *text)
{
    return a->key_len == b->key_len &&
           memcmp(text + a->key_off, text + b->key_off, a->key_len) == 0;
}

/* In members sorted by key and place, the first of each gets the last one's value. */
static int merge(struct sl_pydict_member *members, size_t n, const char *text, bool *ret_repeats)
{
    size_t first = 0;

    *ret_repeats = false;
    for (size_t i = 1; i < n; i++) {
        if (!same_key(&members[first], &members[i], text)) {
            first = i;
            continue;
        }
        if (members[first].kind != members[i].kind)
            return -EBADMSG;
        members[first].value_off = members[i].value_off;
        members[first].value_len = members[i].value_len;
        members[i].dropped = true;
        *ret_repeats = true;
    }
    return 0;
}

static int rebuild(const struct sl_pydict_member *members, size_t n, size_t body_off,
                   struct sl_jsonwriter *w)
{
    struct sl_strbuf body = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        const struct sl_pydict_member *m = &members[i];

        if (m->dropped)
            continue;
        if (body.len)
            sl_strbuf_add(&body, ",", 1);
        sl_strbuf_add(&body, w->buf.ptr + m->key_off, m->key_len);
        sl_strbuf_add(&body, ":", 1);
        sl_strbuf_add(&body, w->buf.ptr + m->value_off, m->value_len);
    }
    r = body.error;
    if (r == 0) {
        sl_strbuf_cut(&w->buf, body_off);
        sl_strbuf_add(&w->buf, body.ptr, body.len);
    }
    sl_strbuf_done(&body);
    return r;
}

int sl_pydict_end(struct sl_pydict_stack *stack, const struct sl_pydict *dict,
                  struct sl_jsonwriter *w, enum sl_pydict_rule rule)
{
    size_t n = stack->n - dict->first_member;
    struct sl_pydict_member *members = n ? stack->members + dict->first_member : NULL;
    bool found = false;
    int r = 0;

    if (w->buf.error)
        return w->buf.error;
    for (size_t i = 0; i < n && rule == SL_PYDICT_KEYWORDS; i++)
        if (members[i].kind != SL_PYDICT_KEY_STRING)
            return -EBADMSG;
    if (n > 1) {
        qsort_r(members, n, sizeof(*members), compare_keys, w->buf.ptr);
        r = merge(members, n, w->buf.ptr, &found);
        if (r == 0 && found && rule == SL_PYDICT_KEYWORDS)
            r = -EBADMSG;
        if (r == 0 && found) {
            qsort(members, n, sizeof(*members), compare_places);
            r = rebuild(members, n, dict->body_off, w);
        }
    }
    stack->n = dict->first_member;
    if (r == 0)
        sl_jsonwriter_end_object(w);
    return r;
}
