/*
 * argp's own rules (its manual, "Specifying Argp Parsers"): a table ends with an entry of
 * zeroes; an alias has the properties of the entry before it that is none; a child with a
 * heading or a group number begins a group, others join their parent's; groups stand in order
 * of number, negative ones last.
 */
#include "cli/optable.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct place {
    const char *heading;
    int group;
};

static int add(struct sl_optable *table, const struct sl_option *option)
{
    if (table->n == table->cap) {
        size_t cap = table->cap ? 2 * table->cap : 32;
        struct sl_option *more = realloc(table->options, cap * sizeof(*more));

        if (!more)
            return -ENOMEM;
        table->options = more;
        table->cap = cap;
    }
    table->options[table->n++] = *option;
    return 0;
}

static bool is_end(const struct argp_option *o)
{
    return !o->key && !o->name && !o->doc && !o->group;
}

static char letter_of(const struct argp_option *o)
{
    return (char)(o->key > 0 && o->key < 128 && isprint(o->key) ? o->key : 0);
}

static int add_own(struct sl_optable *table, const struct argp *argp, struct place place)
{
    const struct argp_option *real = argp->options;

    for (const struct argp_option *o = argp->options; o && !is_end(o); o++) {
        struct sl_option option = {.name = o->name, .letter = letter_of(o), .from = argp,
                                   .heading = place.heading, .group = place.group};
        int r;

        if (!(o->flags & OPTION_ALIAS))
            real = o;
        if ((!o->name && !o->key) || (o->flags & (OPTION_HIDDEN | OPTION_DOC)))
            continue;
        option.arg = real->arg;
        option.is_arg_optional = (real->flags & OPTION_ARG_OPTIONAL) != 0;
        option.doc = real->doc ? real->doc : "";
        r = add(table, &option);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_all(struct sl_optable *table, const struct argp *argp, struct place place)
{
    int r = add_own(table, argp, place);

    for (const struct argp_child *c = argp->children; c && c->argp && r == 0; c++) {
        struct place own = {c->header, c->group};

        r = add_all(table, c->argp, c->header || c->group ? own : place);
    }
    return r;
}

/* Negative groups come after the others. */
static bool is_before(int a, int b)
{
    return (a < 0) == (b < 0) ? a < b : b < 0;
}

/* Insertion: stable, and the list is nearly in order. */
static void sort(struct sl_optable *table)
{
    for (size_t i = 1; i < table->n; i++) {
        struct sl_option option = table->options[i];
        size_t k = i;

        for (; k > 0 && is_before(option.group, table->options[k - 1].group); k--)
            table->options[k] = table->options[k - 1];
        table->options[k] = option;
    }
}

int sl_optable_read(struct sl_optable *table, const struct argp *argp)
{
    int r = argp ? add_all(table, argp, (struct place){NULL, 0}) : 0;

    sort(table);
    return r;
}

void sl_optable_done(struct sl_optable *table)
{
    free(table->options);
    *table = (struct sl_optable){0};
}

const struct sl_option *sl_optable_find(const struct sl_optable *table, const char *name)
{
    for (size_t i = 0; i < table->n; i++)
        if (table->options[i].name && !strcmp(table->options[i].name, name))
            return &table->options[i];
    return NULL;
}
