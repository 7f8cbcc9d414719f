/* The one place that tells settings from what is typed with each run. */
#include "cli/settable.h"

#include <string.h>
#include <strings.h>

#include "cli/benchopts.h"

/* command NULL: in each that has the option. */
static const struct {
    const char *command, *option;
} one_run[] = {
    /* what goes in and what comes out */
    {NULL, "bos"}, {NULL, "detokenize"}, {NULL, "file"}, {NULL, "grammar-file"}, {NULL, "html"},
    {NULL, "ignore-eos"}, {NULL, "json"}, {NULL, "list"}, {NULL, "load"}, {NULL, "logit-bias"},
    {NULL, "logits"}, {NULL, "pieces"}, {NULL, "raw"}, {NULL, "routes"}, {NULL, "sha256"},
    {NULL, "special"}, {NULL, "target"}, {NULL, "tokens"}, {NULL, "trace"},
    /* consent */
    {NULL, "yes"},
    /* a list to compare, and whether to measure */
    {"plan", "ram"}, {"plan", "measure"}, {"plan", "no-measure"},
    /* what is looked for */
    {"tune", "threads"}, {"tune", "cpus"},
    /* results would be another machine's, or another method's */
    {"eval", "ctx"}, {"eval", "kv"}, {"perplexity", "ctx"}, {"perplexity", "kv"},
    /* the command prints settings */
    {"config", "path"},
};

bool sl_settable_is(const struct sl_command *command, const struct sl_option *option)
{
    if (!option->name || option->from == &sl_options_bench) /* llama-bench has none */
        return false;
    for (size_t i = 0; i < sizeof(one_run) / sizeof(one_run[0]); i++)
        if (!strcmp(one_run[i].option, option->name) &&
            (!one_run[i].command || !strcmp(one_run[i].command, command->name)))
            return false;
    return true;
}

bool sl_settable_repeats(const char *option)
{
    static const char *const names[] = {"alias", "allow-host", "allow-origin", "api-key",
                                        "api-key-file"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(option, names[i]))
            return true;
    return false;
}

bool sl_settable_is_secret(const char *option)
{
    return !strcmp(option, "api-key");
}

bool sl_settable_is_path(const struct sl_option *option)
{
    return option->arg && (!strcmp(option->arg, "FILE") || !strcmp(option->arg, "FOLDER") ||
                           !strcmp(option->arg, "PATH"));
}

const char *sl_settable_gives_way_to(const char *option)
{
    return !strcmp(option, "system") ? "raw" : NULL;
}

bool sl_settable_parse_flag(const char *value, bool *ret_on)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

    for (int i = 0; i < 8; i++)
        if (!strcasecmp(value, words[i])) {
            *ret_on = i % 2 == 1;
            return true;
        }
    return false;
}
