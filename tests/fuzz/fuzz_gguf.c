/*
 * Any bytes as a GGUF file: it opens or is refused; if it opens, everything that it
 * offers is read. The first byte is not special; HEADLESS is tried as well.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint64_t sink; /* so that no read is dropped */

static void read_values(const struct sl_gguf_kv *kv)
{
    struct sl_gguf_str str;
    uint64_t cursor = 0;
    uint64_t sum = 0;

    for (uint64_t i = 0; i < kv->bytes; i++)
        sum += kv->data[i];
    for (uint64_t i = 0; i < kv->n_items; i++) {
        uint64_t x = 0;
        double d = 0;

        if (sl_gguf_kv_u64(kv, i, &x))
            sum += x;
        if (sl_gguf_kv_f64(kv, i, &d))
            sum += d > 0;
        if (kv->item_type == SL_GGUF_STRING) {
            if (!sl_gguf_kv_str(kv, &cursor, &str))
                abort(); /* as many strings as were counted */
            for (uint64_t k = 0; k < str.len; k++)
                sum += (uint8_t)str.ptr[k];
        }
    }
    if (kv->item_type == SL_GGUF_STRING && cursor != kv->bytes)
        abort();
    sink += sum;
}

static void read_all(const struct sl_gguf *gguf)
{
    for (uint32_t i = 0; i < sl_gguf_n_kv(gguf); i++)
        read_values(sl_gguf_kv_at(gguf, i));
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        for (uint64_t k = 0; t->data && k < t->bytes; k++)
            sink += t->data[k];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[32];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || (n > 0 && write(fd, data, n) != (ssize_t)n))
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (uint32_t flags = 0; flags <= SL_GGUF_HEADLESS; flags++) {
        struct sl_gguf *gguf = NULL;
        struct sl_diag diag = { "" };
        int r = sl_gguf_open(&gguf, path, flags, &diag);

        if (r < 0 && (gguf || diag.text[0] == '\0'))
            abort();
        if (r >= 0)
            read_all(gguf);
        sl_gguf_close(gguf);
    }
    close(fd);
    return 0;
}
