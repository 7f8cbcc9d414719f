/*
 * Decoding is measured on parts of all layers, as many as come to SAMPLE_BYTES, read once
 * before so that the disk is not in it; the fastest of a few rounds counts.
 */
#include "cli/packreport.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define SAMPLE_BYTES (UINT64_C(16) << 20)
#define N_ROUNDS 4

static void count(struct sl_packreport *report, enum sl_zblock_kind kind, uint64_t stored_bytes,
                  uint64_t bytes)
{
    report->n[kind]++;
    report->stored_bytes[kind] += stored_bytes;
    report->bytes[kind] += bytes;
}

/* Decode encoded parts once. Returns the decoded bytes, 0 when none or one is damaged. */
static uint64_t decode_sample(struct sl_pack *pack, uint32_t stride, uint8_t *buf,
                              uint64_t *ret_stored)
{
    const uint8_t *data = sl_mapping_data(sl_pack_mapping(pack));
    uint64_t bytes = 0, stored = 0;
    uint32_t i = 0;

    for (uint32_t l = 0; l < sl_pack_n_layers(pack); l++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, l);

        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
            const struct sl_pack_part *p = &layer->parts[k];

            if (p->kind == SL_ZBLOCK_PLAIN || i++ % stride || bytes >= SAMPLE_BYTES)
                continue;
            if (sl_pack_check_part(pack, layer->layer, k / SL_PACK_PARTS, k % SL_PACK_PARTS,
                                   data + p->off, buf) < 0)
                return 0;
            bytes += layer->mat_bytes[k % SL_PACK_PARTS];
            stored += p->bytes;
        }
    }
    *ret_stored = stored;
    return bytes;
}

static void measure(struct sl_packreport *report, struct sl_pack *pack)
{
    uint64_t largest = 0, n = 0, total = 0, stored = 0, best_ns = UINT64_MAX, bytes = 0;
    uint8_t *buf;

    for (uint32_t l = 0; l < sl_pack_n_layers(pack); l++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, l);

        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
            uint64_t mat_bytes = layer->mat_bytes[k % SL_PACK_PARTS];

            if (layer->parts[k].kind == SL_ZBLOCK_PLAIN)
                continue;
            n++;
            total += mat_bytes;
            largest = mat_bytes > largest ? mat_bytes : largest;
        }
    }
    if (n == 0)
        return;
    buf = malloc(largest);
    if (!buf)
        return;
    for (int i = 0; i <= N_ROUNDS; i++) { /* the first one reads */
        uint64_t start = sl_clock_ns();

        bytes = decode_sample(pack, (uint32_t)(total / SAMPLE_BYTES) + 1, buf, &stored);
        start = sl_clock_ns() - start;
        if (i > 0 && start < best_ns)
            best_ns = start;
    }
    free(buf);
    if (bytes == 0 || best_ns == 0)
        return;
    report->decode_bytes_per_s = (double)bytes * 1e9 / (double)best_ns;
    report->break_even_bytes_per_s = (1.0 - (double)stored / (double)bytes) *
                                     report->decode_bytes_per_s;
}

void sl_packreport_make(struct sl_packreport *ret_report, struct sl_pack *pack)
{
    const struct sl_gguf *gguf = sl_pack_gguf(pack);
    struct sl_packreport report = {
        .file_bytes = sl_mapping_bytes(sl_pack_mapping(pack)),
        .meta_bytes = sl_pack_meta_bytes(pack),
    };

    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_pack_tensor *t = sl_pack_tensor_at(pack, i);

        if (!t->is_stack)
            count(&report, t->kind, t->bytes, sl_gguf_tensor_at(gguf, i)->bytes);
    }
    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, i);

        report.n_records += layer->n_experts;
        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++)
            count(&report, layer->parts[k].kind, layer->parts[k].bytes,
                  layer->mat_bytes[k % SL_PACK_PARTS]);
    }
    measure(&report, pack);
    *ret_report = report;
}

void sl_packreport_print(const struct sl_packreport *report)
{
    if (report->n_records)
        printf("records       %" PRIu32 " experts\n", report->n_records);
    for (int kind = 0; kind < SL_ZBLOCK_KINDS; kind++)
        if (report->n[kind])
            printf("%-13s %" PRIu64 " matrices and vectors, %.1f MB of %.1f MB (%.3f)\n",
                   sl_zblock_kind_name((enum sl_zblock_kind)kind), report->n[kind],
                   (double)report->stored_bytes[kind] * 1e-6, (double)report->bytes[kind] * 1e-6,
                   (double)report->stored_bytes[kind] / (double)report->bytes[kind]);
    if (report->decode_bytes_per_s > 0)
        printf("decoding      %.2f GB/s per thread here; saves time on disks slower than %.2f GB/s "
               "for each\n              thread that decodes\n",
               report->decode_bytes_per_s * 1e-9, report->break_even_bytes_per_s * 1e-9);
}

void sl_packreport_write(struct sl_jsonwriter *w, const struct sl_packreport *report)
{
    sl_jsonwriter_member_u64(w, "file_bytes", report->file_bytes);
    if (report->source_bytes) {
        sl_jsonwriter_member_u64(w, "source_bytes", report->source_bytes);
        sl_jsonwriter_member_f64(w, "ratio",
                                 (double)report->file_bytes / (double)report->source_bytes);
    }
    sl_jsonwriter_member_u64(w, "metadata_bytes", report->meta_bytes);
    sl_jsonwriter_member_u64(w, "records", report->n_records);
    sl_jsonwriter_member_object(w, "encodings");
    for (int kind = 0; kind < SL_ZBLOCK_KINDS; kind++) {
        if (!report->n[kind])
            continue;
        sl_jsonwriter_key(w, sl_zblock_kind_name((enum sl_zblock_kind)kind));
        sl_jsonwriter_begin_object(w);
        sl_jsonwriter_member_u64(w, "number", report->n[kind]);
        sl_jsonwriter_member_u64(w, "stored_bytes", report->stored_bytes[kind]);
        sl_jsonwriter_member_u64(w, "bytes", report->bytes[kind]);
        sl_jsonwriter_end_object(w);
    }
    sl_jsonwriter_end_object(w);
    if (report->decode_bytes_per_s > 0) {
        sl_jsonwriter_member_f64(w, "decode_bytes_per_s", report->decode_bytes_per_s);
        sl_jsonwriter_member_f64(w, "break_even_bytes_per_s", report->break_even_bytes_per_s);
    }
}
