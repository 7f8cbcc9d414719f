/*
 * Grammars that were compiled of late, for clients send the same schema again and again. One
 * thread at a time, the text thread; the grammars may be used by any.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "sluice.h"

#define SL_GRAMMARCACHE_N 32u
#define SL_GRAMMARCACHE_BYTES ((size_t)16 << 20) /* of all that are kept, with their texts */

struct sl_grammarcache;

/* The model is borrowed, and must outlive all grammars. -ENOMEM. */
int sl_grammarcache_new(struct sl_grammarcache **ret_cache, const struct sluice_model *model);
void sl_grammarcache_free(struct sl_grammarcache *cache); /* NULL is allowed */

/* The grammar of a text of GBNF, which is copied: the caller gets a reference. Errors as of
 * sluice_grammar_new. */
int sl_grammarcache_get(struct sl_grammarcache *cache, const char *gbnf, size_t len,
                        struct sluice_grammar **ret_grammar, struct sl_diag *diag);
