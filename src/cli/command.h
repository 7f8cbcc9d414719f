/*
 * The commands of sluice, one file each (cmd_NAME.c), and what they have in common.
 * Each takes its own arguments, argv[0] being "sluice NAME", and returns an exit code.
 * src/cli alone prints, and each message once.
 */
#pragma once

#include <argp.h>

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
    const struct argp *argp; /* what it takes; NULL: nothing is known */
};

/* All of them, in the order of the list in --help; ends with one whose name is NULL. */
extern const struct sl_command sl_commands[];

/* NULL if there is no such command. */
const struct sl_command *sl_command_find(const char *name);

int sl_cmd_run(int argc, char **argv);
int sl_cmd_chat(int argc, char **argv);
int sl_cmd_config(int argc, char **argv);
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
int sl_cmd_pull(int argc, char **argv);
int sl_cmd_verify(int argc, char **argv);
int sl_cmd_doctor(int argc, char **argv);

/* Their options, for argp; commandtable.c gives them to all who make something of them. */
extern const struct argp sl_argp_bench;
extern const struct argp sl_argp_chat;
extern const struct argp sl_argp_config;
extern const struct argp sl_argp_doctor;
extern const struct argp sl_argp_eval;
extern const struct argp sl_argp_info;
extern const struct argp sl_argp_ls;
extern const struct argp sl_argp_pack;
extern const struct argp sl_argp_perplexity;
extern const struct argp sl_argp_plan;
extern const struct argp sl_argp_pull;
extern const struct argp sl_argp_run;
extern const struct argp sl_argp_serve;
extern const struct argp sl_argp_tokenize;
extern const struct argp sl_argp_tune;
extern const struct argp sl_argp_verify;
