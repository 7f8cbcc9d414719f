/*
 * What the checks found: one finding each, with what it costs and what mends it. Filled by the
 * checks (checks.h), printed by src/cli/doctorprint.c. One thread.
 */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

#define SL_FINDINGS_MAX 48u

enum sl_finding_state { /* from best to worst */
    SL_FINDING_OK = 0,
    SL_FINDING_UNKNOWN, /* could not be found out, or was not to be measured */
    SL_FINDING_WARN,    /* works, and could be faster or safer */
    SL_FINDING_BAD,     /* much slower than it need be, or does not work */
};

/* Texts are owned; any of them may be empty (ptr NULL). Names of files are in them as the
 * system has them, in commands quoted for a shell. */
struct sl_finding {
    const char *key;   /* "huge_pages"; fixed, for programs */
    const char *title; /* "huge pages"; for people */
    enum sl_finding_state state;
    const char *place;       /* the file or folder that it is about; borrowed; NULL */
    struct sl_strbuf found;
    struct sl_strbuf costs;
    struct sl_strbuf command; /* mends it */
    struct sl_strbuf advice;  /* on the command, or what to do where there is none */
    double value;            /* measured; 0: nothing */
    const char *unit;        /* of it: "bytes_per_s"; NULL */
};

struct sl_findings { /* all zeroes: empty */
    struct sl_finding list[SL_FINDINGS_MAX];
    uint32_t n;
};

void sl_findings_done(struct sl_findings *findings);

/* -ENOMEM if a text is not whole; otherwise 0. */
int sl_findings_error(const struct sl_findings *findings);

/* A new one, ok as yet. The list holds as many as all checks together can have. */
struct sl_finding *sl_finding_add(struct sl_findings *findings, const char *key,
                                  const char *title);

/* Append to its texts; state is raised, never lowered. */
void sl_finding_note(struct sl_finding *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void sl_finding_raise(struct sl_finding *f, enum sl_finding_state state, const char *costs,
                      ...) __attribute__((format(printf, 3, 4)));
void sl_finding_mend(struct sl_finding *f, const char *command, ...)
    __attribute__((format(printf, 2, 3)));
void sl_finding_advise(struct sl_finding *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* "ok", "unknown", "warn", "bad". */
const char *sl_finding_state_key(enum sl_finding_state state);

/* Append a name quoted for a shell, if it needs to be. */
void sl_finding_quote(struct sl_strbuf *buf, const char *name);
