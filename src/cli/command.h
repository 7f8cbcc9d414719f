/*
 * The commands of sluice, one file each (cmd_NAME.c), and what they have in common.
 * Each takes its own arguments, argv[0] being "sluice NAME", and returns an exit code.
 * src/cli alone prints, and each message once.
 */
#pragma once

enum sl_exit {
    SL_EXIT_OK = 0,
    SL_EXIT_FAILED = 1,
    SL_EXIT_USAGE = 2, /* argp ends the program with it by itself */
    SL_EXIT_INTERRUPTED = 130,
};

struct sl_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;   /* arguments, for the list of commands */
    const char *summary; /* one line */
};

int sl_cmd_run(int argc, char **argv);
int sl_cmd_chat(int argc, char **argv);
int sl_cmd_info(int argc, char **argv);
int sl_cmd_ls(int argc, char **argv);
int sl_cmd_pack(int argc, char **argv);
int sl_cmd_tokenize(int argc, char **argv);
int sl_cmd_eval(int argc, char **argv);
int sl_cmd_perplexity(int argc, char **argv);
int sl_cmd_bench(int argc, char **argv);
int sl_cmd_plan(int argc, char **argv);
int sl_cmd_serve(int argc, char **argv);
int sl_cmd_tune(int argc, char **argv);
