/* Texts are put together piece by piece: several causes may add to one finding. */
#include "doctor/finding.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sl_findings_done(struct sl_findings *findings)
{
    for (uint32_t i = 0; i < findings->n; i++) {
        struct sl_finding *f = &findings->list[i];

        sl_strbuf_done(&f->found);
        sl_strbuf_done(&f->costs);
        sl_strbuf_done(&f->command);
        sl_strbuf_done(&f->advice);
    }
    findings->n = 0;
}

int sl_findings_error(const struct sl_findings *findings)
{
    for (uint32_t i = 0; i < findings->n; i++) {
        const struct sl_finding *f = &findings->list[i];
        int errors[] = {f->found.error, f->costs.error, f->command.error, f->advice.error};

        for (int k = 0; k < 4; k++)
            if (errors[k])
                return errors[k];
    }
    return 0;
}

struct sl_finding *sl_finding_add(struct sl_findings *findings, const char *key,
                                  const char *title)
{
    struct sl_finding *f = &findings->list[findings->n];

    assert(findings->n < SL_FINDINGS_MAX);
    findings->n++;
    *f = (struct sl_finding){.key = key, .title = title};
    return f;
}

/* Texts of several causes stand one behind the other. */
static void add(struct sl_strbuf *buf, const char *between, const char *fmt, va_list args)
{
    char *text;

    if (vasprintf(&text, fmt, args) < 0) {
        buf->error = -ENOMEM;
        return;
    }
    if (buf->len)
        sl_strbuf_add_str(buf, between);
    sl_strbuf_add_str(buf, text);
    free(text);
}

void sl_finding_note(struct sl_finding *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(&f->found, ", ", fmt, args);
    va_end(args);
}

void sl_finding_raise(struct sl_finding *f, enum sl_finding_state state, const char *costs, ...)
{
    va_list args;

    if (state > f->state)
        f->state = state;
    va_start(args, costs);
    add(&f->costs, "; ", costs, args);
    va_end(args);
}

void sl_finding_mend(struct sl_finding *f, const char *command, ...)
{
    va_list args;

    va_start(args, command);
    add(&f->command, " && ", command, args);
    va_end(args);
}

void sl_finding_advise(struct sl_finding *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(&f->advice, "; ", fmt, args);
    va_end(args);
}

const char *sl_finding_state_key(enum sl_finding_state state)
{
    static const char *const keys[] = {
        [SL_FINDING_OK] = "ok",
        [SL_FINDING_UNKNOWN] = "unknown",
        [SL_FINDING_WARN] = "warn",
        [SL_FINDING_BAD] = "bad",
    };

    return keys[state];
}

void sl_finding_quote(struct sl_strbuf *buf, const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789/._-+:@%,=";

    if (name[0] && strspn(name, plain) == strlen(name)) {
        sl_strbuf_add_str(buf, name);
        return;
    }
    sl_strbuf_add_str(buf, "'");
    for (const char *from = name; *from;) {
        size_t len = strcspn(from, "'");

        sl_strbuf_add(buf, from, len);
        from += len;
        if (*from) {
            sl_strbuf_add_str(buf, "'\\''");
            from++;
        }
    }
    sl_strbuf_add_str(buf, "'");
}
