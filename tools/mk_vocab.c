/*
 * A byte-level BPE vocabulary that any size can be had of. Merged tokens come in a fixed
 * order, each the concatenation of two tokens before it, so that ranks are consistent
 * and every token can be reached:
 *
 *     runs of newlines, runs of blanks, blank + letter, pairs of letters, pairs of
 *     digits, blank + pair, capitals, triples of digits, triples of letters (pair +
 *     letter), blank + triple, words of four letters (pair + pair)
 *
 * with letters in the order of their frequency in English, so that a small vocabulary
 * has the likelier ones. No spelling comes twice, because each kind has its own shape.
 * All kinds together make about 496,000 tokens.
 *
 * Ids: 14 control tokens, reserved ones, the bytes, then the merged tokens. With 65,536
 * tokens there are 63,683 merges, as in LFM2's vocabulary.
 */
#include "tools/mk_vocab.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define N_BYTES 256
#define N_RESERVED_MAX 1583 /* 65536 - 63683 - 256 - 14 */

static const char *const controls[MK_VOCAB_N_CONTROL] = {
    "<|pad|>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|fim_pre|>",
    "<|fim_mid|>",
    "<|fim_suf|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|tool_list_start|>",
    "<|tool_list_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|tool_response_start|>",
    "<|tool_response_end|>",
};

static const char lower[] = "etaoinshrdlcumwfgypbvkjxqz";
static const char upper[] = "ETAOINSHRDLCUMWFGYPBVKJXQZ";
static const char digits[] = "0123456789";

/* GPT-2's letters for bytes: printable Latin-1 stands for itself, the others for
 * U+0100 and up, in order. */
static uint32_t byte_letter(uint32_t byte)
{
    uint32_t n_before = 0;

    for (uint32_t b = 0; b <= byte; b++) {
        if ((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF)) {
            if (b == byte)
                return b;
        } else {
            n_before++;
        }
    }
    return 256 + n_before - 1;
}

/* Raw bytes as letters. */
static void add_letters(struct sl_strbuf *buf, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = byte_letter((unsigned char)bytes[i]);
        char utf8[2] = { (char)(0xC0 | c >> 6), (char)(0x80 | (c & 63)) };
        char ascii = (char)c;

        if (c < 0x80)
            sl_strbuf_add(buf, &ascii, 1);
        else
            sl_strbuf_add(buf, utf8, 2);
    }
}

static void end_token(struct mk_vocab *v)
{
    v->token_ends[v->n_tokens++] = (uint32_t)v->tokens.len;
}

/* Merged tokens are added until the vocabulary is full. */
struct fill {
    struct mk_vocab *vocab;
    uint32_t n_tokens;
};

/* The token text[0..n) made of its first n_left bytes and the rest. False: full. */
static bool merge(struct fill *f, const char *text, size_t n_left, size_t n)
{
    struct mk_vocab *v = f->vocab;

    if (v->n_tokens >= f->n_tokens)
        return false;
    add_letters(&v->tokens, text, n);
    end_token(v);
    add_letters(&v->merges, text, n_left);
    sl_strbuf_add(&v->merges, " ", 1);
    add_letters(&v->merges, text + n_left, n - n_left);
    v->merge_ends[v->n_merges++] = (uint32_t)v->merges.len;
    return true;
}

static bool merge_runs(struct fill *f, char byte)
{
    char run[8];

    memset(run, byte, sizeof(run));
    for (size_t n = 2; n <= sizeof(run); n++)
        if (!merge(f, run, n - 1, n))
            return false;
    return true;
}

/*
 * Words with one letter from each of sets[0..n), in order of their letters' ranks;
 * after blank ? with a blank before them, which is the left part; else split after
 * n_left letters.
 */
static bool merge_words(struct fill *f, const char *const *sets, size_t n, size_t n_left,
                        bool blank)
{
    size_t at[4] = { 0 };
    char word[5] = " ";

    for (;;) {
        size_t i = n;

        for (size_t k = 0; k < n; k++)
            word[k + 1] = sets[k][at[k]];
        if (!merge(f, blank ? word : word + 1, blank ? 1 : n_left, blank ? n + 1 : n))
            return false;
        while (i > 0 && !sets[i - 1][++at[i - 1]])
            at[--i] = 0;
        if (i == 0)
            return true;
    }
}

static void merge_all(struct fill *f)
{
    const char *const small[] = { lower, lower, lower, lower };
    const char *const title[] = { upper, lower };
    const char *const capital[] = { upper, upper };
    const char *const number[] = { digits, digits, digits };

    (void)(merge_runs(f, '\n') && merge_runs(f, ' ') && merge_words(f, small, 1, 0, true) &&
           merge_words(f, small, 2, 1, false) && merge_words(f, number, 2, 1, false) &&
           merge_words(f, small, 2, 0, true) && merge_words(f, title, 2, 1, false) &&
           merge_words(f, title, 1, 0, true) && merge_words(f, title, 2, 0, true) &&
           merge_words(f, capital, 2, 1, false) && merge_words(f, number, 3, 2, false) &&
           merge_words(f, small, 3, 2, false) && merge_words(f, small, 3, 0, true) &&
           merge_words(f, small, 4, 2, false));
}

int mk_vocab_init(struct mk_vocab *vocab, uint32_t n_tokens)
{
    uint32_t n_free = n_tokens - MK_VOCAB_N_CONTROL - N_BYTES;
    uint32_t n_reserved = n_free / 40 < N_RESERVED_MAX ? n_free / 40 : N_RESERVED_MAX;
    struct fill fill = { .vocab = vocab, .n_tokens = n_tokens };

    *vocab = (struct mk_vocab){ .n_tokens = 0 };
    vocab->token_ends = calloc(n_tokens, sizeof(*vocab->token_ends));
    vocab->merge_ends = calloc(n_tokens, sizeof(*vocab->merge_ends));
    if (!vocab->token_ends || !vocab->merge_ends)
        goto fail;
    for (uint32_t i = 0; i < MK_VOCAB_N_CONTROL; i++) {
        sl_strbuf_add_str(&vocab->tokens, controls[i]);
        end_token(vocab);
    }
    for (uint32_t i = 0; i < n_reserved; i++) {
        sl_strbuf_add_fmt(&vocab->tokens, "<|reserved_%u|>", i + 4);
        end_token(vocab);
    }
    for (uint32_t i = 0; i < N_BYTES; i++) {
        char byte = (char)i;

        add_letters(&vocab->tokens, &byte, 1);
        end_token(vocab);
    }
    merge_all(&fill);
    assert(vocab->n_tokens == n_tokens);
    if (vocab->tokens.error || vocab->merges.error)
        goto fail;
    return 0;

fail:
    mk_vocab_done(vocab);
    return -ENOMEM;
}

void mk_vocab_done(struct mk_vocab *vocab)
{
    sl_strbuf_done(&vocab->tokens);
    sl_strbuf_done(&vocab->merges);
    free(vocab->token_ends);
    free(vocab->merge_ends);
    *vocab = (struct mk_vocab){ .n_tokens = 0 };
}

const char *mk_vocab_template(void)
{
    return
        "{{- bos_token -}}\n"
        "{%- set first = namespace(text='') -%}\n"
        "{%- if messages and messages[0].role == 'system' -%}\n"
        "{%- set first.text = messages[0].content -%}\n"
        "{%- set messages = messages[1:] -%}\n"
        "{%- endif -%}\n"
        "{%- if tools -%}\n"
        "{%- if first.text -%}{%- set first.text = first.text + '\\n' -%}{%- endif -%}\n"
        "{%- set first.text = first.text + 'List of tools: <|tool_list_start|>[' -%}\n"
        "{%- for tool in tools -%}\n"
        "{%- set first.text = first.text + (tool if tool is string else tool | tojson) -%}\n"
        "{%- if not loop.last -%}{%- set first.text = first.text + ', ' -%}{%- endif -%}\n"
        "{%- endfor -%}\n"
        "{%- set first.text = first.text + ']<|tool_list_end|>' -%}\n"
        "{%- endif -%}\n"
        "{%- if first.text -%}\n"
        "{{- '<|im_start|>system\\n' + first.text + '<|im_end|>\\n' -}}\n"
        "{%- endif -%}\n"
        "{%- for message in messages -%}\n"
        "{%- set body = message.content if message.content is string"
        " else message.content | tojson -%}\n"
        "{%- if message.role == 'tool' -%}\n"
        "{%- set body = '<|tool_response_start|>' + body + '<|tool_response_end|>' -%}\n"
        "{%- endif -%}\n"
        "{{- '<|im_start|>' + message.role + '\\n' + body + '<|im_end|>\\n' -}}\n"
        "{%- endfor -%}\n"
        "{%- if add_generation_prompt -%}\n"
        "{{- '<|im_start|>assistant\\n' -}}\n"
        "{%- endif -%}\n";
}
