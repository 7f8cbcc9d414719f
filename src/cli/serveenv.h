/* What the APIs of a server tell of its model, from the model's file. Main thread. */
#pragma once

#include "base/err.h"
#include "cli/options.h"
#include "server/api.h"

#define SL_SERVEENV_NAMES_MAX 16

struct sl_serveenv {
    struct sl_apienv env;
    /* owned, what env shows */
    char *model, *fingerprint, *digest, *chat_template, *bos, *eos, *model_info_json;
};

/*
 * Fill in all but slots, contexts and what is switched on. names: n_names of them, borrowed;
 * the first is the model's, without any the file's. text: opened with SLUICE_MODEL_TEXT,
 * borrowed. 0 or -ENOMEM; sl_serveenv_done is due in any case.
 */
int sl_serveenv_init(struct sl_serveenv *serveenv, const struct sluice_model *text,
                     const char *const *names, size_t n_names,
                     const struct sl_sampling_args *sampling);
void sl_serveenv_done(struct sl_serveenv *serveenv);
