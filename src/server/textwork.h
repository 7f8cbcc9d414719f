/*
 * The text thread's work: request bodies parsed, chats rendered, texts tokenised, grammars
 * compiled, which may take as long as many steps of the engine; questions that need the
 * vocabulary answered; requests to generate made ready and passed on.
 */
#pragma once

#include "server/recall.h"
#include "server/servestate.h"
#include "server/textmodel.h"
#include "server/workqueue.h"

/* All borrowed. */
struct sl_textwork {
    struct sl_workqueue *queue;
    const struct sl_apienv *env;
    const struct sl_textmodel *text;
    struct sl_recall *recall;
    struct sl_servestate *state;
    bool has_slot_files; /* slots can be saved and restored */
};

/* Until the queue is closed. */
void sl_textwork_run(const struct sl_textwork *work);

/*
 * Answer a parsed call whose work is STATE, TEXT, SLOTS or METRICS; the loop may do so too,
 * but for TEXT. text NULL: not at hand.
 */
void sl_textwork_answer(struct sl_workitem *item, const struct sl_apienv *env,
                        struct sl_servestate *state, const struct sl_apitext *text);
