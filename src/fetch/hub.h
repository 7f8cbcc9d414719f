/*
 * A hub of models, as Hugging Face's: what a repo holds, and where its files are. One thread.
 */
#pragma once

#include "base/err.h"
#include "fetch/hublist.h"
#include "fetch/hubname.h"
#include "fetch/retry.h"
#include "fetch/transfer.h"

#define SL_HUB_URL_BYTES 4096

struct sl_hub {
    struct sl_transfer *transfer; /* borrowed */
    char endpoint[1024];          /* "https://huggingface.co", no slash at the end */
    const char *token;            /* borrowed; NULL: none */
    struct sl_retry_opts retry;
    int (*stop)(void *arg);       /* several times a second; nonzero stops */
    void *arg;
};

/* An endpoint as the environment has it. -EINVAL: it is no http or https URL. */
int sl_hub_set_endpoint(struct sl_hub *hub, const char *url, struct sl_diag *diag);

/*
 * List a repo at a revision. Blocks; tries again where that may help. 0, -ECANCELED, -EACCES
 * (closed to us, or not there: hubs do not tell), -ENOENT, -EBADMSG, the network's errors.
 */
int sl_hub_list(struct sl_hub *hub, const struct sl_hubname *name, struct sl_hublist *ret,
                struct sl_diag *diag);

/* The URL of a file of a commit. -E2BIG: too long. */
int sl_hub_file_url(const struct sl_hub *hub, const char *repo, const char *commit,
                    const char *path, char ret_url[SL_HUB_URL_BYTES], struct sl_diag *diag);
