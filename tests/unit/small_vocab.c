/*
 * A small vocabulary: eight special tokens, the 256 bytes, and a few merges. Spellings
 * are made here, from the definition of GPT-2's mapping, and not by the code tested.
 */
#include "tests/unit/small_vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const SPECIALS[SMALL_BYTES] = {
    "<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>",
    "<|im_end|>", "<think>", "nk>tails", "two words",
};
static const int32_t SPECIAL_TYPES[SMALL_BYTES] = {
    SL_TOKEN_CONTROL, SL_TOKEN_CONTROL, SL_TOKEN_CONTROL, SL_TOKEN_CONTROL,
    SL_TOKEN_NORMAL, SL_TOKEN_USER_DEFINED, SL_TOKEN_CONTROL, SL_TOKEN_USER_DEFINED,
};

/* Left and right side of each merge; its token is both. */
static const char *const MERGES[][2] = {
    {"a", "b"}, {"b", "c"}, {"ab", "c"}, {"t", "h"}, {"th", "e"}, {" ", "the"}, {" ", " "},
    {"  ", "  "}, {"\n", "\n"}, {"1", "2"}, {"12", "3"}, {"(", "p"}, {"'", "s"},
    {"\xc3", "\xa9"}, {"l", "l"}, {"\xc3\xa9", "ll"},
    {"=", "="}, {"==", "=="}, {"====", "===="}, {"========", "========"},
    {"================", "="}, {"================", "================"},
};
#define N_MERGES (sizeof(MERGES) / sizeof(MERGES[0]))

static char *spell(char *out, unsigned char byte)
{
    unsigned cp = 0x100;

    for (unsigned b = 0; b <= byte; b++) {
        int printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;

        if (b == byte && printable)
            cp = b;
        else if (b < byte && !printable)
            cp++;
    }
    if (cp < 0x80) {
        *out++ = (char)cp;
    } else {
        *out++ = (char)(0xc0 | cp >> 6);
        *out++ = (char)(0x80 | (cp & 0x3f));
    }
    return out;
}

static char *spell_all(char *out, const char *bytes)
{
    while (*bytes)
        out = spell(out, (unsigned char)*bytes++);
    return out;
}

void small_vocab_opts(struct sl_vocab_opts *ret_opts, struct small_store *store)
{
    char *p = store->text, *start;
    uint32_t n = 0;

    for (uint32_t i = 0; i < SMALL_BYTES; i++, n++) {
        store->tokens[n] = (struct sl_str_view){SPECIALS[i], strlen(SPECIALS[i])};
        store->types[n] = SPECIAL_TYPES[i];
    }
    for (unsigned b = 0; b < 256; b++, n++) {
        start = p;
        p = spell(p, (unsigned char)b);
        store->tokens[n] = (struct sl_str_view){start, (size_t)(p - start)};
        store->types[n] = SL_TOKEN_NORMAL;
    }
    store->tokens[n] = (struct sl_str_view){"zebra", 5};
    store->types[n++] = SL_TOKEN_NORMAL;
    for (size_t i = 0; i < N_MERGES; i++, n++) {
        start = p;
        p = spell_all(spell_all(p, MERGES[i][0]), MERGES[i][1]);
        store->tokens[n] = (struct sl_str_view){start, (size_t)(p - start)};
        store->types[n] = SL_TOKEN_NORMAL;
        start = p;
        p = spell_all(p, MERGES[i][0]);
        *p++ = ' ';
        p = spell_all(p, MERGES[i][1]);
        store->merges[i] = (struct sl_str_view){start, (size_t)(p - start)};
    }
    *ret_opts = (struct sl_vocab_opts){
        .tokens = store->tokens,
        .types = store->types,
        .n_tokens = n,
        .merges = store->merges,
        .n_merges = N_MERGES,
        .bos = SMALL_BOS,
        .eos = SMALL_IM_END,
        .pad = SMALL_PAD,
        .add_bos = true,
        .pre = {"lfm2", 4},
    };
}

int small_vocab_new(struct sl_vocab **ret_vocab, struct sl_diag *diag)
{
    struct small_store *store = calloc(1, sizeof(*store));
    struct sl_vocab_opts opts;
    int r;

    if (!store)
        return sl_diag_set(diag, -ENOMEM, "no memory for the test's vocabulary");
    small_vocab_opts(&opts, store);
    r = sl_vocab_new(ret_vocab, &opts, diag);
    free(store);
    return r;
}
