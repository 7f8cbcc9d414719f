/*
 * Any bytes as a pack: it opens or is refused; if it opens, all that it offers is read,
 * checked and decoded. As the checksums would stop nearly every change, they are made
 * right first, in a second attempt.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/check.h"
#include "loader/packlayout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile uint64_t sink; /* so that no read is dropped */

static void read_all(struct sl_pack *pack)
{
    const struct sl_gguf *gguf = sl_pack_gguf(pack);
    const uint8_t *data = sl_mapping_data(sl_pack_mapping(pack));
    uint64_t sum = 0;

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, i);

        for (uint64_t k = 0; t->data && k < t->bytes; k++)
            sum += t->data[k];
    }
    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, i);

        if (sl_pack_layer_find(pack, layer->layer) != layer)
            abort();
        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
            const struct sl_pack_part *p = &layer->parts[k];
            uint32_t bytes = layer->mat_bytes[k % SL_PACK_PARTS];
            uint8_t *out = malloc(bytes);

            if (!out)
                abort();
            sum += sl_pack_check_part(pack, layer->layer, k / SL_PACK_PARTS, k % SL_PACK_PARTS,
                                      data + p->off, out) == 0;
            free(out);
        }
    }
    sink += sum;
}

static void try_all(const char *path)
{
    for (uint32_t flags = 0; flags <= SL_PACK_HEADLESS; flags++) {
        struct sl_diag diag = { "" };
        struct sl_pack *pack = NULL;
        int r = sl_pack_open(&pack, path, flags, &diag);

        if (r < 0 && (pack || diag.text[0] == '\0'))
            abort();
        if (r < 0)
            continue;
        if (!flags) {
            read_all(pack);
            (void)sl_pack_verify(pack, 3, NULL, NULL, NULL, NULL);
            if (sl_pack_load_bytes(pack, 3) < 1 << 26)
                (void)sl_pack_load(pack, 3, NULL, NULL, NULL, NULL);
            read_all(pack);
        }
        sl_pack_close(pack);
    }
}

/* Make the checksums of header and metadata right. */
static void repair(int fd, const uint8_t *data, size_t n)
{
    uint8_t head[SL_PACK_HEADER_BYTES];
    uint64_t meta_bytes, hash;

    if (n < sizeof(head))
        return;
    memcpy(head, data, sizeof(head));
    meta_bytes = sl_load_u64(head + SL_PACK_AT_META_BYTES);
    if (meta_bytes >= sizeof(head) && meta_bytes <= n) {
        hash = sl_check_hash(data + sizeof(head), meta_bytes - sizeof(head));
        memcpy(head + SL_PACK_AT_META_HASH, &hash, sizeof(hash));
    }
    hash = sl_check_hash(head, SL_PACK_AT_HASH);
    memcpy(head + SL_PACK_AT_HASH, &hash, sizeof(hash));
    if (pwrite(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[32];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || (n > 0 && write(fd, data, n) != (ssize_t)n))
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    (void)sl_pack_detect(path);
    try_all(path);
    repair(fd, data, n);
    try_all(path);
    close(fd);
    return 0;
}
