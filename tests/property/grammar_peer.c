/*
 * grammar_peer: answers for grammar.c over pipes. Standard input holds records: a 32-bit
 * little-endian length and that many bytes of a grammar, a 32-bit count of texts, and each
 * text the same way. For each grammar one line: "error" and its text, or a digit per text:
 * 0 no continuation matches, 1 the beginning of a match, 2 a match.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/grammar.h"
#include "text/matcher.h"

static char *read_bytes(uint32_t *ret_len)
{
    char *bytes;

    if (fread(ret_len, sizeof(*ret_len), 1, stdin) != 1)
        return NULL;
    bytes = malloc((size_t)*ret_len + 1);
    if (bytes && fread(bytes, 1, *ret_len, stdin) != *ret_len) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

static int judge(const struct sl_grammar *grammar, const char *text, uint32_t len)
{
    struct sl_matcher *matcher = NULL;
    int r = sl_matcher_new(&matcher, grammar);

    if (r == 0)
        r = sl_matcher_accept(matcher, text, len);
    if (r == 1 && sl_matcher_is_done(matcher))
        r = 2;
    sl_matcher_free(matcher);
    return r;
}

static int answer(const char *text, uint32_t len)
{
    struct sl_grammar *grammar = NULL;
    struct sl_diag diag = {""};
    uint32_t n = 0;
    int r = sl_grammar_new(&grammar, text, len, &diag), ok = 0;

    if (r < 0)
        printf("error %s", diag.text);
    if (fread(&n, sizeof(n), 1, stdin) != 1)
        ok = -1;
    for (uint32_t i = 0; i < n && ok == 0; i++) {
        char *string = read_bytes(&len);

        if (!string)
            ok = -1;
        else if (r == 0)
            printf("%d", judge(grammar, string, len));
        free(string);
    }
    putchar('\n');
    sl_grammar_free(grammar);
    return ok;
}

int main(void)
{
    uint32_t len;
    char *text;
    int ok = 0;

    while (ok == 0 && (text = read_bytes(&len)) != NULL) {
        ok = answer(text, len);
        free(text);
    }
    return ok == 0 ? 0 : 1;
}
