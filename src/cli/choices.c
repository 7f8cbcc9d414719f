/* Lists stand in the order of the enum that their option sets. */
#include "cli/choices.h"

#include <string.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct {
    const char *option;
    const char *const *words;
} choices[] = {
    {"cache-type-k", WORDS("f16", "q8_0", "f32")},
    {"cache-type-v", WORDS("f16", "q8_0", "f32")},
    {"cpu", WORDS("auto", "c", "avx2", "avx512")},
    {"draft", WORDS("off", "lookup", "lookup:N")},
    {"for", WORDS("decode", "prefill")},
    {"io", WORDS("auto", "uring", "pread", "buffered")},
    {"kv", WORDS("f16", "f32", "q8_0")},
    {"numa", WORDS("split", "off")},
    {"output", WORDS("md", "csv", "json", "jsonl", "sql", "none")},
    {"output-err", WORDS("md", "csv", "json", "jsonl", "sql", "none")},
    {"policy", WORDS("default", "lru", "lfu")},
    {"predict", WORDS("on", "off", "replay:FILE")},
    {"residency", WORDS("auto", "resident", "stream")},
};

const char *const *sl_choices_find(const char *option)
{
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
        if (!strcmp(choices[i].option, option))
            return choices[i].words;
    return NULL;
}

int sl_choices_parse(struct argp_state *state, const char *option, const char *arg)
{
    const char *const *words = sl_choices_find(option);
    char list[128] = "";

    for (int i = 0; words[i]; i++)
        if (!strcmp(arg, words[i]))
            return i;
    for (int i = 0; words[i]; i++) { /* short lists of short words */
        (void)strcat(list, i == 0 ? "" : words[i + 1] ? ", " : " or ");
        (void)strcat(list, words[i]);
    }
    argp_error(state, "--%s: %s expected, found \"%s\"", option, list, arg);
    return 0;
}
