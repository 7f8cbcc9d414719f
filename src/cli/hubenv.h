/* What the environment says of the hub that models come from. Main thread. */
#pragma once

#include "base/err.h"
#include "fetch/hub.h"

#define SL_HUBENV_TOKEN_BYTES 1024

struct sl_hubenv {
    char *root;          /* of the cache; owned */
    char *ca_file;       /* owned; NULL: the system's */
    char token[SL_HUBENV_TOKEN_BYTES]; /* "": none */
    const char *endpoint; /* borrowed */
};

/*
 * HF_ENDPOINT; HF_TOKEN, or the file that Hugging Face's tools keep it in; CURL_CA_BUNDLE or
 * SSL_CERT_FILE; the cache as sl_storeenv_hub_root says. -EINVAL: a variable says what cannot
 * be; -ENOENT: there is no place for the cache; -ENOMEM. sl_hubenv_done is due in any case.
 */
int sl_hubenv_read(struct sl_hubenv *env, struct sl_diag *diag);
void sl_hubenv_done(struct sl_hubenv *env);
