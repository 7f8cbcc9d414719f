/*
 * The options that a command takes, as one list: a struct argp with its children, in the
 * order and under the headings of --help, without what --help hides. Settings, man pages and
 * completions are made from it. Pure. Any thread.
 */
#pragma once

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

struct sl_option {
    const char *name;        /* long, without dashes; NULL: a short one alone */
    char letter;             /* short; 0: none */
    const char *arg;         /* name of its argument; NULL: it takes none */
    bool is_arg_optional;
    const char *doc;         /* "" if there is none */
    const char *heading;     /* of its group; NULL: the command's own */
    int group;               /* place of that heading among others */
    const struct argp *from; /* the table it stands in */
};

struct sl_optable {
    struct sl_option *options; /* owned, as everything in them is borrowed */
    size_t n, cap;
};

/* Fill a table of all zeroes. argp may be NULL: no options. 0 or -ENOMEM; sl_optable_done is
 * due in both cases. */
int sl_optable_read(struct sl_optable *table, const struct argp *argp);

void sl_optable_done(struct sl_optable *table);

/* By long name, or NULL. */
const struct sl_option *sl_optable_find(const struct sl_optable *table, const char *name);
