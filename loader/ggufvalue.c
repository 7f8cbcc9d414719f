/*
 * Reading values out of metadata entries. Entries were checked when the file was
 * opened; strings are checked once more against their entry's bounds as they are
 * read, because the file behind the mapping may have been written to since.
 */
#include <string.h>

#include "base/bytes.h"
#include "loader/gguf.h"

static uint64_t load(const uint8_t *ptr, uint32_t n_bytes)
{
    uint64_t x = 0;

    memcpy(&x, ptr, n_bytes); /* little-endian, asserted in base/bytes.h */
    return x;
}

/* An integer or bool as a 64-bit pattern; false for other types. */
static bool load_int(const struct sl_gguf_kv *kv, uint64_t i, uint64_t *ret_x, bool *ret_negative)
{
    uint64_t x;

    if (!kv || i >= kv->n_items)
        return false;
    switch (kv->item_type) {
    case SL_GGUF_BOOL:
    case SL_GGUF_U8: x = load(kv->data + i, 1); break;
    case SL_GGUF_I8: x = (uint64_t)(int8_t)load(kv->data + i, 1); break;
    case SL_GGUF_U16: x = load(kv->data + 2 * i, 2); break;
    case SL_GGUF_I16: x = (uint64_t)(int16_t)load(kv->data + 2 * i, 2); break;
    case SL_GGUF_U32: x = load(kv->data + 4 * i, 4); break;
    case SL_GGUF_I32: x = (uint64_t)(int32_t)load(kv->data + 4 * i, 4); break;
    case SL_GGUF_U64:
    case SL_GGUF_I64: x = load(kv->data + 8 * i, 8); break;
    default: return false;
    }
    *ret_negative = kv->item_type != SL_GGUF_U64 && (int64_t)x < 0;
    *ret_x = x;
    return true;
}

bool sl_gguf_kv_u64(const struct sl_gguf_kv *kv, uint64_t i, uint64_t *ret_value)
{
    uint64_t x;
    bool negative;

    if (!load_int(kv, i, &x, &negative) || negative)
        return false;
    *ret_value = x;
    return true;
}

bool sl_gguf_kv_f64(const struct sl_gguf_kv *kv, uint64_t i, double *ret_value)
{
    uint64_t x;
    bool negative;
    double d;

    if (!kv || i >= kv->n_items || kv->item_type == SL_GGUF_BOOL)
        return false;
    if (kv->item_type == SL_GGUF_F32) {
        *ret_value = (double)sl_f32_from_bits(sl_load_u32(kv->data + 4 * i));
        return true;
    }
    if (kv->item_type == SL_GGUF_F64) {
        x = sl_load_u64(kv->data + 8 * i);
        memcpy(ret_value, &x, sizeof(x));
        return true;
    }
    if (!load_int(kv, i, &x, &negative))
        return false;
    /* Beyond 2^53 not every integer is a double; 2^64 itself cannot be converted back. */
    d = negative ? (double)(int64_t)x : (double)x;
    if (d >= 0x1p64 || (negative ? (uint64_t)(int64_t)d : (uint64_t)d) != x)
        return false;
    *ret_value = d;
    return true;
}

bool sl_gguf_kv_str(const struct sl_gguf_kv *kv, uint64_t *cursor, struct sl_gguf_str *ret_str)
{
    uint64_t len;

    if (!kv || kv->item_type != SL_GGUF_STRING || *cursor > kv->bytes ||
        kv->bytes - *cursor < sizeof(len))
        return false;
    len = sl_load_u64(kv->data + *cursor);
    if (len > kv->bytes - *cursor - sizeof(len))
        return false;
    *ret_str = (struct sl_gguf_str){ .ptr = (const char *)kv->data + *cursor + sizeof(len),
                                     .len = len };
    *cursor += sizeof(len) + len;
    return true;
}

const char *sl_gguf_type_name(enum sl_gguf_type type)
{
    static const char *const names[] = {
        [SL_GGUF_U8] = "u8",         [SL_GGUF_I8] = "i8",       [SL_GGUF_U16] = "u16",
        [SL_GGUF_I16] = "i16",       [SL_GGUF_U32] = "u32",     [SL_GGUF_I32] = "i32",
        [SL_GGUF_F32] = "f32",       [SL_GGUF_BOOL] = "bool",   [SL_GGUF_STRING] = "string",
        [SL_GGUF_ARRAY] = "array",   [SL_GGUF_U64] = "u64",     [SL_GGUF_I64] = "i64",
        [SL_GGUF_F64] = "f64",
    };

    return (unsigned)type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}
