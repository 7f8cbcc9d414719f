/*
 * A few entries, found by comparing texts; a new one takes the place of those that were used
 * least of late, as many as there have to be. A grammar that is large by itself is not kept:
 * it would drive all others out.
 */
#include "server/grammarcache.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_BYTES (SL_GRAMMARCACHE_BYTES / 4)

struct entry {
    struct sluice_grammar *grammar; /* a reference; NULL: the entry is free */
    char *text;                     /* owned */
    size_t len, bytes;
    uint64_t used; /* tick of the last use */
};

struct sl_grammarcache {
    const struct sluice_model *model;
    struct entry entries[SL_GRAMMARCACHE_N];
    size_t n_bytes;
    uint64_t tick;
};

int sl_grammarcache_new(struct sl_grammarcache **ret_cache, const struct sluice_model *model)
{
    struct sl_grammarcache *cache = calloc(1, sizeof(*cache));

    if (!cache)
        return -ENOMEM;
    cache->model = model;
    *ret_cache = cache;
    return 0;
}

static void drop(struct sl_grammarcache *cache, struct entry *entry)
{
    sluice_grammar_unref(entry->grammar);
    free(entry->text);
    cache->n_bytes -= entry->bytes;
    *entry = (struct entry){.grammar = NULL};
}

void sl_grammarcache_free(struct sl_grammarcache *cache)
{
    if (!cache)
        return;
    for (uint32_t i = 0; i < SL_GRAMMARCACHE_N; i++)
        drop(cache, &cache->entries[i]);
    free(cache);
}

static struct entry *find(struct sl_grammarcache *cache, const char *gbnf, size_t len)
{
    for (uint32_t i = 0; i < SL_GRAMMARCACHE_N; i++) {
        struct entry *entry = &cache->entries[i];

        if (entry->grammar && entry->len == len && memcmp(entry->text, gbnf, len) == 0)
            return entry;
    }
    return NULL;
}

/* The entry that was used least of late, or a free one. */
static struct entry *oldest(struct sl_grammarcache *cache, bool is_used)
{
    struct entry *found = NULL;

    for (uint32_t i = 0; i < SL_GRAMMARCACHE_N; i++) {
        struct entry *entry = &cache->entries[i];

        if (entry->grammar || !is_used)
            found = found && found->used <= entry->used ? found : entry;
    }
    return found;
}

/* Without memory for it, it is not kept. */
static void keep(struct sl_grammarcache *cache, const char *gbnf, size_t len,
                 struct sluice_grammar *grammar)
{
    size_t bytes = len + sluice_grammar_bytes(grammar);
    char *text = bytes > LARGE_BYTES ? NULL : malloc(len + 1);
    struct entry *entry;

    if (!text)
        return;
    memcpy(text, gbnf, len);
    while (cache->n_bytes + bytes > SL_GRAMMARCACHE_BYTES)
        drop(cache, oldest(cache, true));
    entry = oldest(cache, false);
    drop(cache, entry);
    *entry = (struct entry){.grammar = sluice_grammar_ref(grammar), .text = text, .len = len,
                            .bytes = bytes, .used = ++cache->tick};
    cache->n_bytes += bytes;
}

int sl_grammarcache_get(struct sl_grammarcache *cache, const char *gbnf, size_t len,
                        struct sluice_grammar **ret_grammar, struct sl_diag *diag)
{
    struct entry *entry = find(cache, gbnf, len);
    struct sluice_grammar *grammar;
    int r;

    if (entry) {
        entry->used = ++cache->tick;
        *ret_grammar = sluice_grammar_ref(entry->grammar);
        return 0;
    }
    r = sluice_grammar_new(&grammar, cache->model, gbnf, len, (struct sluice_error *)diag);
    if (r < 0)
        return r;
    keep(cache, gbnf, len, grammar);
    *ret_grammar = grammar;
    return 0;
}
