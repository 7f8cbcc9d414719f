/*
 * Packs (.slpack): a model in one file made for streaming, written by loader/packwrite.c
 * and specified in doc/pack-format.md. The header of the GGUF file it was made from is
 * inside, whole, so that everything about the model is read and checked as ever; what
 * differs is where the weights lie: shared tensors one by one, experts as one record per
 * (layer, expert) with gate, up and down, each part at a multiple of 4096 bytes, with a
 * checksum, and plain or compressed.
 *
 * Called by src/model/engine.c and the command line. Opening, loading and closing: one
 * thread; everything else: any.
 *
 * How the engine uses it:
 *
 *   if (sl_pack_detect(path)) {
 *       sl_pack_open(&m->pack, path, flags, diag);
 *       m->gguf = sl_pack_gguf(m->pack);          belongs to the pack: do not close it
 *   } else {
 *       sl_gguf_open(&m->gguf, ...);
 *   }
 *   sl_pack_load(m->pack, SL_PACK_LOAD_SHARED, ...)   before sl_weights_init: then all
 *       shared tensors have data, plain ones in the mapping (as from a GGUF file, with
 *       file_off and bytes to read them directly), decoded ones in memory of the pack
 *       (file_off UINT64_MAX; nothing need be read, mlock is the engine's). Plain packs:
 *       does nothing. Stacks of experts have data NULL.
 *
 *   Streaming, for each layer with experts:
 *       layer = sl_pack_layer_find(pack, i);      NULL or other n_experts: -EBADMSG
 *       layer->parts[expert * 3 + part]           {off, bytes} to struct sl_part_at, file 0
 *       the reader's one file: sl_mapping_fd(sl_pack_mapping(pack))
 *       sl_pack_prepare(pack, n_workers)          once, as soon as their number is known
 *       sl_part_check = { sl_pack_check_part, pack }   it has that signature
 *   Parts are checked whether or not they are encoded. Encoded parts are smaller than
 *   their matrix and must be read to the end of its slot: sl_pack_check_part wants
 *   stored >= ret_matrix and stored + part.bytes >= ret_matrix + mat_bytes, or the same
 *   address for plain ones. Where off % alignment of the reader is 0 (up to 4096 it always
 *   is), a slot of mat_bytes rounded up to 4096, plus 4096, is always enough.
 *
 *   Resident, either of:
 *       sl_pack_load(pack, SL_PACK_LOAD_EXPERTS, pool, ...): stacks of encoded layers are
 *           decoded (plain ones copied) into memory of the pack, contiguous as in a GGUF
 *           file; tensor->data is set, before sl_weights_init. Simple; not shared
 *           with the page cache.
 *       sl_pack_part_data(): pointers into the mapping, if !sl_pack_has_encoded_experts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "loader/gguf.h"
#include "loader/mapping.h"
#include "loader/zblock.h"

/* Every limit on what a pack may say beyond those of GGUF, in one place. */
#define SL_PACK_LAYERS_MAX 4096u
#define SL_PACK_PARTS_MAX (1u << 20)
#define SL_PACK_PART_BYTES_MAX (1u << 30) /* of a matrix */
#define SL_PACK_META_BYTES_MAX (1u << 30) /* header, index and GGUF headers */

#define SL_PACK_ALIGN 4096u       /* of parts */
#define SL_PACK_SHARED_ALIGN 64u  /* of shared tensors */
#define SL_PACK_PARTS 3u          /* per expert: gate, up, down */

struct sl_pack_part {
    uint64_t off;   /* in the file, a multiple of SL_PACK_ALIGN */
    uint64_t hash;  /* XXH3 of the stored bytes */
    uint32_t bytes; /* stored, at most those of the matrix */
    enum sl_zblock_kind kind;
};

struct sl_pack_layer {
    uint32_t layer;
    uint32_t n_experts;
    uint32_t mat_bytes[SL_PACK_PARTS];  /* of a matrix, decoded */
    uint32_t tensors[SL_PACK_PARTS];    /* index of the stack in sl_pack_gguf */
    const struct sl_pack_part *parts;   /* [n_experts][SL_PACK_PARTS] */
};

struct sl_pack_tensor {
    uint64_t off;   /* in the file, a multiple of SL_PACK_SHARED_ALIGN */
    uint64_t bytes; /* stored */
    uint64_t hash;
    enum sl_zblock_kind kind;
    bool is_stack;  /* of experts, in records: off, bytes, hash are 0 */
};

struct sl_pack;

/* Whether path begins as a pack does; false also when it cannot be read (then let
 * sl_gguf_open say why). */
bool sl_pack_detect(const char *path);

enum {
    SL_PACK_HEADLESS = 1, /* weights may lie beyond the end of the file (sluice plan) */
};

/*
 * Map path and check everything but the weights' checksums. -EBADMSG: malformed or cut
 * short; -ENOTSUP: version or encoding; -E2BIG; or the errors of mapping and GGUF. flags:
 * SL_PACK_*.
 */
int sl_pack_open(struct sl_pack **ret_pack, const char *path, uint32_t flags,
                 struct sl_diag *diag);
void sl_pack_close(struct sl_pack *pack); /* NULL is allowed */

/* Metadata and tensors; lives as long as the pack. One split, whatever the model was. */
struct sl_gguf *sl_pack_gguf(const struct sl_pack *pack);
struct sl_mapping *sl_pack_mapping(const struct sl_pack *pack); /* borrowed */

/* Bytes from the start of the file that hold header, index and metadata. */
uint64_t sl_pack_meta_bytes(const struct sl_pack *pack);

bool sl_pack_has_encoded_experts(const struct sl_pack *pack);
/* Bytes of memory that sl_pack_load takes; what: SL_PACK_LOAD_*. */
uint64_t sl_pack_load_bytes(const struct sl_pack *pack, uint32_t what);

uint32_t sl_pack_n_layers(const struct sl_pack *pack); /* that have records */
const struct sl_pack_layer *sl_pack_layer_at(const struct sl_pack *pack, uint32_t i);
const struct sl_pack_layer *sl_pack_layer_find(const struct sl_pack *pack, uint32_t layer);

/* Of tensor i of sl_pack_gguf. */
const struct sl_pack_tensor *sl_pack_tensor_at(const struct sl_pack *pack, uint32_t i);

/* A plain part in the mapping, unchecked; NULL if it is encoded, or headless. Arguments
 * in range. */
const uint8_t *sl_pack_part_data(const struct sl_pack *pack, const struct sl_pack_layer *layer,
                                 uint32_t expert, uint32_t part);

/* Memory for n_workers threads that check at once (1 at first; more of them wait for
 * each other). Never fewer than before. No check may be running. Plain packs: nothing.
 * -ENOMEM. */
int sl_pack_prepare(struct sl_pack *pack, uint32_t n_workers);

/*
 * Check stored bytes of a part that was read, and decode them: see the top. pack is a
 * struct sl_pack. part: 0 gate, 1 up, 2 down. If plain and ret_matrix is not stored,
 * copies. 0 or -EBADMSG.
 */
int sl_pack_check_part(void *pack, uint32_t layer, uint32_t expert, uint32_t part,
                       const uint8_t *stored, uint8_t *ret_matrix);

/* The same for shared tensor i: ret_data has room for the tensor's bytes. */
int sl_pack_check_tensor(struct sl_pack *pack, uint32_t i, const uint8_t *stored,
                         uint8_t *ret_data);

enum {
    SL_PACK_LOAD_SHARED = 1,  /* shared tensors (to load: those that are encoded) */
    SL_PACK_LOAD_EXPERTS = 2, /* all stacks of experts */
};

/*
 * Check and decode into memory of the pack; afterwards these tensors have data. What is
 * loaded already is left alone. Uses the pool's workers (NULL: the caller alone). Pages
 * of the file that were read for it are given back to the system as it goes. progress as
 * in sl_mapping_warm, NULL is allowed. -EBADMSG names the tensor, or layer and expert;
 * -ENOMEM; -ECANCELED; -EIO.
 */
int sl_pack_load(struct sl_pack *pack, uint32_t what, struct sl_pool *pool,
                 int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                 struct sl_diag *diag);

/* Check the checksums of what is stored of these tensors, plain or not, without decoding.
 * Parameters and errors as above. */
int sl_pack_verify(struct sl_pack *pack, uint32_t what, struct sl_pool *pool,
                   int (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                   struct sl_diag *diag);
