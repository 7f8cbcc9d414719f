/*
 * What a page says that no table can give: doc/man/NAME.mdoc, sections of mdoc that begin with
 * .Sh lines. Text before the first of them belongs to DESCRIPTION. Pure but for reading.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct doc_part {
    char *text; /* owned; "" if there is no such file */
    size_t len;
};

struct doc_section {
    const char *title, *body; /* within the part */
    size_t title_len, body_len;
};

/* Read FOLDER/NAME.mdoc, which may be absent. doc_part_done is due in any case. */
int doc_part_read(struct doc_part *part, const char *folder, const char *name,
                  struct sl_diag *diag);
void doc_part_done(struct doc_part *part);

/* The i-th section, 0 being what comes before the first title; false: there is none. */
bool doc_part_at(const struct doc_part *part, size_t i, struct doc_section *ret_section);

/* By title; false: there is none. */
bool doc_part_find(const struct doc_part *part, const char *title,
                   struct doc_section *ret_section);
