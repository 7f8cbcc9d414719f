/*
 * Any bytes as an encoded matrix: the first byte is the encoding, three more its length,
 * the rest is stored. Decoded into memory of exactly that length, and in place; both must
 * agree where both succeed. And what was decoded, encoded and decoded again, is the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/zblock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void encode_again(struct sl_zblock_set *set, enum sl_zblock_kind kind, const uint8_t *want,
                         size_t bytes)
{
    struct sl_zblock_encoder *enc;
    uint8_t *stored = malloc(sl_zblock_bound(kind, bytes));
    uint8_t *out = malloc(bytes);
    int64_t stored_bytes;

    if (!stored || !out || sl_zblock_encoder_new(&enc, 1) < 0)
        abort();
    stored_bytes = sl_zblock_encode(enc, kind, want, bytes, stored);
    if (stored_bytes < 0 ||
        sl_zblock_decode(set, kind, stored, (uint64_t)stored_bytes, out, bytes) != 0 ||
        memcmp(out, want, bytes) != 0)
        abort();
    sl_zblock_encoder_free(enc);
    free(stored);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sl_zblock_set *set;
    enum sl_zblock_kind kind;
    uint8_t *out, *stored, *slot;
    size_t bytes, stored_bytes, slot_bytes;
    int r;

    if (n < 4)
        return 0;
    kind = (enum sl_zblock_kind)(data[0] % SL_ZBLOCK_KINDS);
    bytes = ((size_t)data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16) % 600000 + 1;
    stored_bytes = n - 4;
    slot_bytes = stored_bytes > bytes ? stored_bytes : bytes;
    stored = malloc(stored_bytes + 1);
    out = calloc(1, bytes);
    slot = calloc(1, slot_bytes);
    if (!stored || !out || !slot || sl_zblock_set_new(&set, 1) < 0)
        abort();
    memcpy(stored, data + 4, stored_bytes);
    memcpy(slot + slot_bytes - stored_bytes, data + 4, stored_bytes);
    r = sl_zblock_decode(set, kind, stored, stored_bytes, out, bytes);
    if (sl_zblock_decode(set, kind, slot + slot_bytes - stored_bytes, stored_bytes, slot,
                         bytes) == 0 && r == 0 && memcmp(slot, out, bytes) != 0)
        abort();
    if (r == 0 && kind != SL_ZBLOCK_PLAIN)
        encode_again(set, kind, out, bytes);
    sl_zblock_set_free(set);
    free(stored);
    free(out);
    free(slot);
    return 0;
}
