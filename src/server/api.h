/*
 * The APIs as pure translation: a request's method, path and body become a call; a call is
 * answered at once, or with the text functions of a model, or is a request to generate whose
 * events apiwriter.h writes. No sockets, no threads, no engine: all of it runs on byte
 * strings. Any thread; one at a time per call.
 *
 * Fields that a request may have but that are of no consequence here are ignored. One that
 * would change the reply and cannot be honoured is refused with its name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "server/apierror.h"
#include "server/genreq.h"
#include "server/httphead.h"
#include "sluice.h"

/*
 * What the APIs tell of this server and its model. Borrowed by everything here for as long
 * as a call lives; texts are never NULL but where it says so.
 */
struct sl_apienv {
    const char *model;          /* the name it is served under */
    const char *const *aliases; /* further names */
    size_t n_aliases;
    const char *version;     /* of Sluice: "0.1.0" */
    const char *fingerprint; /* of what computes replies: "b0.1.0-c9d3", begins with b */
    const char *path;    /* the model's file */
    const char *digest;  /* "sha256:...", of the file or of its path; any stable text */
    const char *architecture; /* "lfm2moe" */
    const char *quantization; /* "Q4_K_M" */
    const char *chat_template;      /* Jinja text; "" if the file has none */
    const char *bos, *eos;          /* texts of these tokens, "" if none */
    const char *model_info_json;    /* the file's metadata as an object, for /api/show */
    bool has_tools;                 /* the template can list tools ... */
    bool has_calls;                 /* ... and renders past calls */
    bool has_thinking;              /* the model thinks */
    bool has_metrics, has_slots, has_page; /* these endpoints are switched on */
    uint32_t n_slots;
    uint32_t n_ctx_tok, n_ctx_train_tok; /* of one slot; of the file */
    uint32_t n_vocab, n_embd;
    uint64_t n_params;
    uint64_t file_bytes;
    int64_t started_s, modified_s; /* Unix time: of the server; of the file */
    struct sluice_sampler_opts sampling; /* where a request says nothing */
    int64_t n_predict_max;               /* likewise; -1 */
};

/* What changes while serving. */
struct sl_apistate {
    bool is_loading; /* every endpoint but the static ones answers 503 */
    bool is_sleeping;
    uint64_t resident_bytes;
    int64_t now_s;     /* Unix time */
    int64_t expires_s; /* when idle memory will be given back; 0: never */
};

/* What a model can do with text. arg is passed on. Called on the thread of sl_api_answer. */
struct sl_apitext {
    void *arg;
    /* As sluice_tokenize, sluice_token_piece with special tokens, sluice_chat_render. */
    int64_t (*tokenize)(void *arg, const char *text, size_t len, uint32_t flags, int32_t *ids,
                        size_t cap);
    int (*piece)(void *arg, int32_t id, const char **ret_piece);
    int (*render)(void *arg, const char *messages_json, const char *tools_json,
                  bool add_generation_prompt, char **ret_text, struct sl_diag *diag);
};

enum sl_apiwork {
    SL_APIWORK_STATE = 0, /* sl_api_answer, at once */
    SL_APIWORK_TEXT,      /* sl_api_answer, with struct sl_apitext: may take long */
    SL_APIWORK_GENERATE,  /* gen, to be answered by a writer */
    SL_APIWORK_SLOTS,     /* this and the following: the scheduler's; apislots.h */
    SL_APIWORK_SLOT_SAVE, /* of slot, to or from filename */
    SL_APIWORK_SLOT_RESTORE,
    SL_APIWORK_SLOT_ERASE,
    SL_APIWORK_METRICS,
    SL_APIWORK_EXPERTS, /* apiexperts.h */
};

struct sl_apiendpoint; /* a row of the table of endpoints */

/* A parsed request. */
struct sl_apicall {
    const struct sl_apiendpoint *endpoint;
    enum sl_apiwork work;
    struct sl_genreq gen; /* of GENERATE; of TEXT its input */
    char *echo_json;      /* what a reply repeats of its request: an object; or NULL */
    int32_t *tokens;      /* to be made text */
    size_t n_tokens;
    uint32_t flags; /* the endpoint's own */
    uint32_t slot;  /* of SLOT_... */
    char *filename; /* of SLOT_SAVE and SLOT_RESTORE: without a folder */
    char *name;     /* of a model; or NULL */
    bool releases;  /* of STATE: memory that is held for the next request may go now */
};

/* Endpoints, for the routes of http.h. */
struct sl_apiroute {
    enum sl_http_method method;
    const char *pattern; /* as in route.h */
    bool is_public;      /* asks for no key */
};

size_t sl_api_n_routes(void);
struct sl_apiroute sl_api_route(size_t i);

/*
 * Parse a request; path and query without "?", as they came. 0, and ret_call is the
 * caller's; or a negative errno, and error is filled in.
 */
int sl_api_parse(struct sl_apicall **ret_call, const struct sl_apienv *env,
                 enum sl_http_method method, const char *path, const char *query,
                 const char *body, size_t len, struct sl_apierror *error);
void sl_apicall_free(struct sl_apicall *call); /* NULL is allowed */

/* The form of a call's errors, and of those of requests to a path, known or not. */
enum sl_apiform sl_apicall_form(const struct sl_apicall *call);
enum sl_apiform sl_api_form(const char *path);

struct sl_apireply {
    int status;
    const char *type; /* Content-Type, constant */
};

/*
 * Answer a call whose work is STATE or TEXT: append the body to out. text may be NULL for
 * STATE. 0, or a negative errno, and error is filled in.
 */
int sl_api_answer(const struct sl_apicall *call, const struct sl_apienv *env,
                  const struct sl_apistate *state, const struct sl_apitext *text,
                  struct sl_strbuf *out, struct sl_apireply *ret_reply,
                  struct sl_apierror *error);
