/*
 * What a struct sluice_model is made of, for src/model and the commands that look
 * inside (sluice info). Everything is set by sluice_model_open and read-only
 * afterwards, but for the workers (workers.h). Destroyed in the reverse order of the fields.
 */
#pragma once

#include "base/pool.h"
#include "experts/cache.h"
#include "experts/nodeplan.h"
#include "experts/placement.h"
#include "experts/topology.h"
#include "kernels/kernels.h"
#include "loader/gguf.h"
#include "loader/pack.h"
#include "model/hparams.h"
#include "model/nodecopy.h"
#include "model/stream.h"
#include "model/weights.h"
#include "sluice.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/tokentrie.h"
#include "text/vocab.h"

struct sluice_model {
    struct sl_gguf *gguf;
    struct sl_pack *pack; /* NULL for a GGUF file; otherwise gguf is its */
    const void **addresses; /* of experts in a plain pack's mapping, when resident; owned */
    struct sl_hparams hp;
    struct sl_weights weights;
    struct sl_kernels kernels;
    struct sl_vocab *vocab;
    struct sl_tokenizer *tokenizer;
    struct sl_tokentrie_share *trie; /* for grammars */
    struct sl_cache *cache; /* NULL for dense models */
    struct sl_topology *topology; /* owned */
    struct sl_placement placement;
    struct sl_pool *pool;           /* as placement says */
    struct sl_topology_nodes nodes; /* that memory is spread over; none: it is not */
    struct sl_nodeplan nodeplan;    /* which workers are on one of them */
    struct sl_nodecopies copies;    /* of the shared weights, for these */
    bool is_text_only; /* SLUICE_MODEL_TEXT */
    bool is_streaming;
    struct sl_stream stream;
    struct sl_plan plan;
    enum sl_chat_template chat_template;
    bool is_chat_template_known; /* false: the file has none, or one we do not know */
    char *path, *name;           /* owned, terminated */
    uint64_t file_bytes, weight_bytes;
    char io[128], notes[1024];   /* for struct sluice_model_info */
};

/* -EIO if a page of the file could not be read, with tensor and offset, or, streaming, if
 * the file was written to since the opening; 0 otherwise. */
int sl_engine_check_mappings(const struct sluice_model *model, struct sl_diag *diag);
