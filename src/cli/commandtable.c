/* The table of commands: --help, settings, man pages and completions are made from it. */
#include <string.h>

#include "cli/command.h"

const struct sl_command sl_commands[] = {
    {"run", sl_cmd_run, "MODEL [PROMPT]", "answer one prompt", &sl_argp_run},
    {"chat", sl_cmd_chat, "MODEL", "talk with a model", &sl_argp_chat},
    {"serve", sl_cmd_serve, "MODEL",
     "serve a model by HTTP to the tools that you use", &sl_argp_serve},
    {"ls", sl_cmd_ls, "", "which models are on this machine, in whose folders", &sl_argp_ls},
    {"pull", sl_cmd_pull, "user/repo[:TYPE]",
     "download a model from Hugging Face, with a plan first", &sl_argp_pull},
    {"verify", sl_cmd_verify, "MODEL", "whether its files are still what they were",
     &sl_argp_verify},
    {"info", sl_cmd_info, "MODEL", "what a file holds and how it would run", &sl_argp_info},
    {"plan", sl_cmd_plan, "MODEL",
     "where memory would go, and how fast it would be", &sl_argp_plan},
    {"bench", sl_cmd_bench, "MODEL",
     "how fast this machine is, and how fast it could be", &sl_argp_bench},
    {"tune", sl_cmd_tune, "MODEL",
     "which threads are best here, kept for later runs", &sl_argp_tune},
    {"doctor", sl_cmd_doctor, "[MODEL]",
     "what of this machine slows models down, and what mends it", &sl_argp_doctor},
    {"pack", sl_cmd_pack, "IN.gguf OUT.slpack",
     "one file made for streaming, plain or compressed", &sl_argp_pack},
    {"tokenize", sl_cmd_tokenize, "MODEL", "text to token ids and back", &sl_argp_tokenize},
    {"eval", sl_cmd_eval, "MODEL --tokens FILE",
     "logits and chosen experts of given ids", &sl_argp_eval},
    {"perplexity", sl_cmd_perplexity, "MODEL -f FILE",
     "perplexity of a text", &sl_argp_perplexity},
    {"config", sl_cmd_config, "[COMMAND]", "what is set, and where", &sl_argp_config},
    {0},
};

const struct sl_command *sl_command_find(const char *name)
{
    for (const struct sl_command *c = sl_commands; c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}
