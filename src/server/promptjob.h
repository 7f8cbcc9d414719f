/*
 * From a parsed request to one that is ready for the scheduler: the chat rendered, texts
 * tokenised, the grammar compiled, what is random drawn. Text thread.
 */
#pragma once

#include "server/apierror.h"
#include "server/genchat.h"
#include "server/genjob.h"
#include "server/textmodel.h"

/*
 * req is borrowed for as long as the job lives; recall may be NULL. 0, and the job is the
 * caller's; or a negative errno, and error is filled in.
 */
int sl_promptjob_make(struct sl_genjob **ret_job, const struct sl_genreq *req,
                      const struct sl_apienv *env, const struct sl_textmodel *text,
                      const struct sl_genchat_recall *recall, struct sl_apierror *error);
void sl_promptjob_free(struct sl_genjob *job); /* NULL is allowed */
