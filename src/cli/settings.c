/*
 * What the file says and no command knows is an error, so that no slip goes unnoticed; so is a
 * section of no command. Variables are other people's names too: those that mean nothing are
 * left alone, but for a note where one is nearly right.
 */
#include "cli/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/conffile.h"
#include "cli/report.h"
#include "cli/settable.h"
#include "store/nearname.h"

#define PREFIX "SLUICE_"
#define NAME_BYTES 64

/* Where a name is looked for. */
struct lookup {
    bool is_option;  /* there is one of that name */
    bool is_settable;
    bool is_flag, is_path;
    bool has_tables; /* some command that was asked has options at all */
    char near[NAME_BYTES]; /* the settable one that is most like it, or "" */
    uint32_t distance;
};

static void look_in(struct lookup *l, const struct sl_command *c, const struct sl_optable *table,
                    const char *name)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct sl_option *o = &table->options[i];
        bool is_same = o->name && !strcmp(o->name, name);
        bool is_settable = o->name && sl_settable_is(c, o);
        uint32_t distance = is_settable ? sl_nearname_distance(name, o->name) : UINT32_MAX;

        l->has_tables = true;
        l->is_option |= is_same;
        if (is_same && is_settable) {
            l->is_settable = true;
            l->is_flag = !o->arg;
            l->is_path = sl_settable_is_path(o);
        }
        if (distance < l->distance) {
            (void)snprintf(l->near, sizeof(l->near), "%s", o->name); /* names are short */
            l->distance = distance;
        }
    }
}

/* command NULL: in all of them. */
static int look_up(struct lookup *l, const struct sl_command *command, const char *name)
{
    int r = 0;

    *l = (struct lookup){.distance = UINT32_MAX};
    for (const struct sl_command *c = sl_commands; c->name && r == 0; c++) {
        struct sl_optable table = {0};

        if (command && c != command)
            continue;
        r = sl_optable_read(&table, c->argp);
        look_in(l, c, &table, name);
        sl_optable_done(&table);
    }
    return r;
}

static int add(struct sl_settings *s, const struct sl_setting *setting, struct sl_diag *diag)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 16;
        struct sl_setting *more = realloc(s->list, cap * sizeof(*more));

        if (!more)
            return sl_diag_set(diag, -ENOMEM, "not enough memory for settings");
        s->list = more;
        s->cap = cap;
    }
    s->list[s->n++] = *setting;
    return 0;
}

static int check_section(const char *section, const struct sl_command **ret_command,
                         const char *origin, struct sl_diag *diag)
{
    const char *near = NULL;
    uint32_t least = UINT32_MAX;

    *ret_command = *section ? sl_command_find(section) : NULL;
    if (!*section || *ret_command)
        return 0;
    for (const struct sl_command *c = sl_commands; c->name; c++) {
        uint32_t distance = sl_nearname_distance(section, c->name);

        near = distance < least ? c->name : near;
        least = distance < least ? distance : least;
    }
    if (near)
        return sl_diag_set(diag, -EBADMSG, "%s: no command is called \"%s\"; did you mean [%s]?",
                           origin, section, near);
    return sl_diag_set(diag, -EBADMSG, "%s: no command is called \"%s\"; sections are [COMMAND], "
                                       "and what is for all stands before the first", origin,
                       section);
}

static int check_key(const struct lookup *l, const struct sl_command *command, const char *key,
                     const char *origin, struct sl_diag *diag)
{
    const char *of = command ? command->name : "any command";

    if (l->is_settable)
        return 0;
    if (l->is_option)
        return sl_diag_set(diag, -EBADMSG, "%s: --%s of %s cannot be set: it is for each run to "
                                           "give", origin, key, of);
    if (l->near[0])
        return sl_diag_set(diag, -EBADMSG, "%s: \"%s\" is no option of %s; did you mean %s?",
                           origin, key, of, l->near);
    return sl_diag_set(diag, -EBADMSG, "%s: \"%s\" is no option of %s", origin, key, of);
}

static int check_value(const struct lookup *l, const struct sl_setting *setting,
                       struct sl_diag *diag)
{
    bool is_on;

    if (l->is_flag && !sl_settable_parse_flag(setting->value, &is_on))
        return sl_diag_set(diag, -EBADMSG, "%s: %s: yes or no expected, found \"%s\"",
                           setting->origin, setting->name, setting->value);
    if (!l->is_flag && !setting->value[0])
        return sl_diag_set(diag, -EBADMSG, "%s: %s: no value", setting->origin, setting->name);
    if (l->is_path && setting->line && setting->value[0] != '/')
        return sl_diag_set(diag, -EBADMSG, "%s: %s: a path from / or ~/ expected, found \"%s\"",
                           setting->origin, setting->name, setting->value);
    return 0;
}

static int check_twice(const struct sl_settings *s, const struct sl_setting *setting,
                       struct sl_diag *diag)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->list[i].command == setting->command && !strcmp(s->list[i].name, setting->name) &&
            !sl_settable_repeats(setting->name))
            return sl_diag_set(diag, -EBADMSG, "%s: %s is set in line %u already",
                               setting->origin, setting->name, s->list[i].line);
    return 0;
}

/* "~/x" is in the home folder. Heap; NULL: no memory. */
static char *expand(const char *value)
{
    const char *home = getenv("HOME");
    char *path = NULL;

    if (strncmp(value, "~/", 2) != 0 || !home || home[0] != '/')
        return strdup(value);
    return asprintf(&path, "%s%s", home, value + 1) < 0 ? NULL : path;
}

static void free_setting(struct sl_setting *setting)
{
    free(setting->name);
    free(setting->value);
    free(setting->origin);
}

static int take_entry(struct sl_settings *s, const struct sl_conffile_entry *e,
                      struct sl_diag *diag)
{
    struct sl_setting setting = {.line = e->line};
    struct lookup l = {0};
    int r = 0;

    if (asprintf(&setting.origin, "%s:%u", s->path, e->line) < 0) {
        setting.origin = NULL;
        return sl_diag_set(diag, -ENOMEM, "not enough memory for settings");
    }
    r = check_section(e->section, &setting.command, setting.origin, diag);
    if (r == 0)
        r = look_up(&l, setting.command, e->key);
    if (r == 0 && !l.has_tables) { /* a command that this build is without */
        free_setting(&setting);
        return 0;
    }
    if (r == 0)
        r = check_key(&l, setting.command, e->key, setting.origin, diag);
    if (r == 0) {
        setting.name = strdup(e->key);
        setting.value = l.is_path ? expand(e->value) : strdup(e->value);
        if (!setting.name || !setting.value)
            r = sl_diag_set(diag, -ENOMEM, "not enough memory for settings");
    }
    if (r == 0)
        r = check_value(&l, &setting, diag);
    if (r == 0)
        r = check_twice(s, &setting, diag);
    if (r == 0)
        r = add(s, &setting, diag);
    if (r < 0)
        free_setting(&setting);
    return r;
}

/* Keys that others can read are as good as none. */
static void note_secrets(const struct sl_settings *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (sl_settable_is_secret(s->list[i].name)) {
            sl_report_note("%s: others can read the key in it", s->list[i].origin);
            return;
        }
}

static int load_file(struct sl_settings *s, struct sl_diag *diag)
{
    struct sl_conffile file = {0};
    int r;

    s->path = sl_conffile_path();
    if (!s->path)
        return 0;
    r = sl_conffile_read(&file, s->path, diag);
    s->is_there = file.is_there;
    for (size_t i = 0; i < file.n && r == 0; i++)
        r = take_entry(s, &file.entries[i], diag);
    if (r == 0 && file.others_read)
        note_secrets(s);
    sl_conffile_done(&file);
    return r;
}

/* An option's name for a variable's, or false. */
static bool option_name(char *name, const char *variable, size_t len)
{
    if (len < sizeof(PREFIX) || len - strlen(PREFIX) >= NAME_BYTES ||
        strncmp(variable, PREFIX, strlen(PREFIX)) != 0)
        return false;
    for (variable += strlen(PREFIX), len -= strlen(PREFIX); len > 0; len--, variable++) {
        if (!isupper((unsigned char)*variable) && !isdigit((unsigned char)*variable) &&
            *variable != '_')
            return false;
        *name++ = (char)(*variable == '_' ? '-' : tolower((unsigned char)*variable));
    }
    *name = '\0';
    return true;
}

char *sl_settings_variable(const char *name)
{
    char *variable = NULL;

    if (asprintf(&variable, PREFIX "%s", name) < 0)
        return NULL;
    for (char *c = variable + strlen(PREFIX); *c; c++)
        *c = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
    return variable;
}

/* Near ones of nearly the same length only: SLUICE_MODELS and others are no slips. */
static void note_slip(const struct lookup *l, const char *name, const char *variable)
{
    size_t len = strlen(name), near_len = strlen(l->near);
    char *right = NULL;

    if (!l->near[0] || l->is_option || l->distance > 2 || !strcmp(variable, "SLUICE_MODELS") ||
        (len > near_len ? len - near_len : near_len - len) > 2)
        return;
    right = sl_settings_variable(l->near);
    sl_report_note("%s is no setting; did you mean %s?", variable, right ? right : "another");
    free(right);
}

static int take_variable(struct sl_settings *s, const char *entry, struct sl_diag *diag)
{
    size_t len = strcspn(entry, "=");
    struct sl_setting setting = {0};
    char name[NAME_BYTES];
    struct lookup l;
    int r;

    if (!option_name(name, entry, len) || !entry[len] || !entry[len + 1])
        return 0; /* not ours, or empty, which is as good as not set */
    r = look_up(&l, NULL, name);
    if (r < 0)
        return sl_diag_set(diag, r, "not enough memory for settings");
    setting.origin = strndup(entry, len);
    if (!l.is_settable) {
        if (setting.origin)
            note_slip(&l, name, setting.origin);
        free(setting.origin);
        return 0;
    }
    setting.name = strdup(name);
    setting.value = strdup(entry + len + 1);
    if (!setting.origin || !setting.name || !setting.value)
        r = sl_diag_set(diag, -ENOMEM, "not enough memory for settings");
    if (r == 0)
        r = check_value(&l, &setting, diag);
    if (r == 0)
        r = add(s, &setting, diag);
    if (r < 0)
        free_setting(&setting);
    return r;
}

int sl_settings_load(struct sl_settings *s, struct sl_diag *diag)
{
    int r = load_file(s, diag);

    for (char **entry = environ; entry && *entry && r == 0; entry++)
        r = take_variable(s, *entry, diag);
    return r;
}

void sl_settings_done(struct sl_settings *s)
{
    for (size_t i = 0; i < s->n; i++)
        free_setting(&s->list[i]);
    free(s->list);
    free(s->path);
    *s = (struct sl_settings){0};
}

bool sl_settings_applies(const struct sl_setting *setting, const struct sl_command *command,
                         const struct sl_option *option)
{
    return option->name && !strcmp(setting->name, option->name) &&
           (!setting->command || setting->command == command) &&
           sl_settable_is(command, option);
}

static int strength(const struct sl_setting *setting)
{
    return setting->line == 0 ? 3 : setting->command ? 2 : 1;
}

bool sl_settings_holds(const struct sl_settings *s, const struct sl_setting *setting,
                       const struct sl_command *command, const struct sl_option *option)
{
    if (!sl_settings_applies(setting, command, option))
        return false;
    for (size_t i = 0; i < s->n; i++)
        if (sl_settings_applies(&s->list[i], command, option) &&
            strength(&s->list[i]) > strength(setting))
            return false;
    return true;
}
