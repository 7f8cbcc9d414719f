/*
 * The table is at most half full and probed linearly. Names come from files, so the
 * hash starts from a number that the kernel gave this process: nobody can prepare a
 * file whose 65536 names all fall into one place. Eight bytes at a time are mixed
 * in with a 64 x 64 -> 128 bit product, folded.
 */
#include "loader/ggufindex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/bytes.h"

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash(const struct sl_ggufindex *index, const char *ptr, size_t len)
{
    uint64_t h = index->seed ^ len;

    for (; len >= 8; len -= 8, ptr += 8)
        h = mix(h ^ sl_load_u64(ptr), 0x9E3779B97F4A7C15u); /* 2^64 / golden ratio */
    if (len > 0) {
        uint64_t rest = 0;

        memcpy(&rest, ptr, len);
        h = mix(h ^ rest, 0x9E3779B97F4A7C15u);
    }
    return mix(h ^ index->seed, 0xD6E8FEB86659FD93u); /* any odd number with mixed bits */
}

/* The slot that holds the string, or the free one where it would go. */
static uint64_t find_slot(const struct sl_ggufindex *index, const char *ptr, size_t len)
{
    uint64_t i = hash(index, ptr, len) & index->mask;

    while (index->slots[i] && (index->slots[i]->len != len ||
                               memcmp(index->slots[i]->ptr, ptr, len) != 0))
        i = (i + 1) & index->mask;
    return i;
}

int sl_ggufindex_init(struct sl_ggufindex *index, uint32_t n)
{
    const void *random = (const void *)getauxval(AT_RANDOM); /* 16 bytes, or NULL */
    uint64_t n_slots = 8;

    while (n_slots < 2 * (uint64_t)n)
        n_slots *= 2;
    *index = (struct sl_ggufindex){
        .slots = calloc(n_slots, sizeof(index->slots[0])),
        .mask = n_slots - 1,
        .seed = random ? sl_load_u64(random) | 1 : 1,
    };
    return index->slots ? 0 : -ENOMEM;
}

void sl_ggufindex_done(struct sl_ggufindex *index)
{
    free(index->slots);
    *index = (struct sl_ggufindex){ 0 };
}

const struct sl_gguf_str *sl_ggufindex_add(struct sl_ggufindex *index,
                                           const struct sl_gguf_str *str)
{
    uint64_t i = find_slot(index, str->ptr, str->len);

    if (index->slots[i])
        return index->slots[i];
    index->slots[i] = str;
    return NULL;
}

const struct sl_gguf_str *sl_ggufindex_find(const struct sl_ggufindex *index,
                                            const char *ptr, size_t len)
{
    return index->slots[find_slot(index, ptr, len)];
}
