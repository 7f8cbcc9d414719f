#include "server/genreq.h"

#include <stdlib.h>

static void free_texts(char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(texts[i]);
    free(texts);
}

void sl_genreq_done(struct sl_genreq *req)
{
    for (size_t i = 0; i < req->n_parts; i++) {
        free(req->parts[i].text);
        free(req->parts[i].tokens);
    }
    for (size_t i = 0; i < req->n_biases; i++)
        free(req->biases[i].text);
    free_texts(req->stops, req->n_stops);
    free_texts(req->tool_names, req->n_tool_names);
    free(req->parts);
    free(req->biases);
    free(req->model);
    free(req->messages_json);
    free(req->tools_json);
    free(req->prefill);
    free(req->grammar);
    free(req->tool_name);
    free(req->cache_key);
    *req = (struct sl_genreq){0};
}
