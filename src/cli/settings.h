/*
 * Values of options that are not typed: first the file of settings (conffile.h), then variables
 * SLUICE_NAME, stronger than the file; what is typed is stronger than both. In the file, keys
 * before the first section are for all commands that have the option, those of [COMMAND] for
 * that one, and stronger. Main thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/command.h"
#include "cli/optable.h"

struct sl_setting {
    const struct sl_command *command; /* NULL: all that have the option */
    char *name;                       /* owned, as the next two: of the option */
    char *value;
    char *origin;  /* for messages: "FILE:LINE" or the variable */
    uint32_t line; /* of the file; 0: it is a variable */
};

struct sl_settings {
    char *path;      /* of the file, owned; NULL: there is no place for one */
    bool is_there;   /* the file */
    struct sl_setting *list; /* owned; the file's first */
    size_t n, cap;
};

/*
 * Read the file and the environment into a struct of all zeroes; sl_settings_done is due in any
 * case. -EBADMSG: something there means nothing (diag names its place); else the file cannot be
 * read. What is found up to then is in the list.
 */
int sl_settings_load(struct sl_settings *s, struct sl_diag *diag);
void sl_settings_done(struct sl_settings *s);

/* Whether a setting is one of that option of that command, which may be set at all. */
bool sl_settings_applies(const struct sl_setting *setting, const struct sl_command *command,
                         const struct sl_option *option);

/* Whether none that applies is stronger. */
bool sl_settings_holds(const struct sl_settings *s, const struct sl_setting *setting,
                       const struct sl_command *command, const struct sl_option *option);

/* Heap: SLUICE_NAME for an option's name; NULL: no memory. */
char *sl_settings_variable(const char *name);
