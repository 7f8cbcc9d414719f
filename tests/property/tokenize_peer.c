/*
 * tokenize_peer MODEL: reads records from standard input, each a 32-bit little-endian
 * flags word (SL_TOKENIZER_*), a 32-bit length and that many bytes, and prints the
 * ids of each on one line. The property test feeds it and llama.cpp the same strings.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/gguf_vocab.h"
#include "text/tokenizer.h"

static int answer(const struct sl_tokenizer *tok, uint32_t flags, uint32_t len)
{
    char *text = malloc((size_t)len + 1);
    int32_t *ids = malloc(((size_t)len + 2) * sizeof(*ids));
    int64_t n = -ENOMEM;

    if (text && ids && fread(text, 1, len, stdin) == len)
        n = sl_tokenizer_encode(tok, text, len, flags, ids, (size_t)len + 2);
    for (int64_t i = 0; i < n; i++)
        printf(i > 0 ? " %" PRId32 : "%" PRId32, ids[i]);
    putchar('\n');
    free(text);
    free(ids);
    return n < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct sl_vocab *vocab = NULL;
    struct sl_tokenizer *tok = NULL;
    struct sl_diag diag = {0};
    uint32_t head[2];
    int r;

    if (argc != 2) {
        fprintf(stderr, "usage: tokenize_peer MODEL < records\n");
        return 2;
    }
    r = gguf_vocab_read(&vocab, argv[1], &diag);
    if (r >= 0)
        r = sl_tokenizer_new(&tok, vocab, &diag);
    if (r < 0)
        fprintf(stderr, "tokenize_peer: %s\n", diag.text);
    while (r >= 0 && fread(head, sizeof(head), 1, stdin) == 1)
        r = answer(tok, head[0], head[1]);
    sl_tokenizer_free(tok);
    sl_vocab_free(vocab);
    return r < 0 ? 1 : 0;
}
