/*
 * Arguments of a command with its settings in front, as if they had been typed first: so what
 * is typed is stronger. Main thread, once in a process.
 */
#pragma once

#include <argp.h>

/*
 * argp_parse for the argp of one of sl_commands. Where a value comes from the file of settings
 * or a variable, messages about it say so. Does not return where argp_parse would not, nor where
 * settings cannot be read: exit code 2 for what is wrong in them, 1 for a file that cannot be
 * read. Help and version are given whatever the settings are.
 */
void sl_cmdline_parse(const struct argp *argp, int argc, char **argv, unsigned flags,
                      void *input);

/* Notes on stderr for options that a message speaks of ("--cpus") and that were set, not typed. */
void sl_cmdline_explain(const char *message);
