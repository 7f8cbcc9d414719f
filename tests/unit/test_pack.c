/*
 * Packs give back every byte of the models they are made from, plain and compressed,
 * whichever way they are read; damage anywhere is noticed. SL_SHARED: the folder with
 * the models.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/pool.h"
#include "loader/check.h"
#include "loader/packlayout.h"
#include "loader/packwrite.h"

static const char *shared_folder;

static const char *const models[] = {
    "random-moe-f32", "random-dense-f32", "tiny-bf16", "tiny-q4_k_m", "tiny-q8_0",
    "types/types-bf16", "types/types-f16", "types/types-iq4_nl", "types/types-iq4_xs",
    "types/types-q2_k", "types/types-q3_k_m", "types/types-q4_0", "types/types-q4_1",
    "types/types-q4_k_m", "types/types-q5_0", "types/types-q5_1", "types/types-q5_k_m",
    "types/types-q6_k", "types/types-q8_0",
};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

/* A file in memory with a name. */
struct file {
    int fd;
    char path[32];
};

static struct file new_file(void)
{
    struct file f = { .fd = memfd_create("pack", MFD_CLOEXEC) };

    assert_true(f.fd >= 0);
    snprintf(f.path, sizeof(f.path), "/proc/self/fd/%d", f.fd);
    return f;
}

static struct sl_gguf *open_model(const char *name)
{
    struct sl_diag diag = { "" };
    struct sl_gguf *gguf;
    char path[2048];

    snprintf(path, sizeof(path), "%s/models/%s.gguf", shared_folder, name);
    if (sl_gguf_open(&gguf, path, 0, &diag) < 0) {
        print_message("%s\n", diag.text);
        skip();
    }
    return gguf;
}

static struct sl_pool *new_pool(uint32_t n)
{
    struct sl_pool_opts opts = { .n_workers = n };
    struct sl_pool *pool;

    assert_int_equal(sl_pool_new(&pool, &opts), 0);
    return pool;
}

static struct file write_pack(const struct sl_gguf *gguf, int level, struct sl_pool *pool,
                              uint64_t *ret_need)
{
    struct sl_packwrite_opts opts = { .level = level, .pool = pool };
    struct sl_diag diag = { "" };
    struct file f = new_file();
    struct sl_packwrite *pw;

    if (sl_packwrite_new(&pw, gguf, &opts, &diag) < 0 ||
        sl_packwrite_run(pw, f.fd, &diag) < 0)
        fail_msg("%s", diag.text);
    if (ret_need)
        *ret_need = sl_packwrite_need_bytes(pw);
    sl_packwrite_free(pw);
    return f;
}

static struct sl_pack *open_pack(const struct file *f)
{
    struct sl_diag diag = { "" };
    struct sl_pack *pack;

    if (sl_pack_open(&pack, f->path, 0, &diag) < 0)
        fail_msg("%s", diag.text);
    return pack;
}

static uint64_t file_bytes(const struct file *f)
{
    off_t n = lseek(f->fd, 0, SEEK_END);

    assert_true(n > 0);
    return (uint64_t)n;
}

static void expect_equal(const struct sl_gguf *gguf, struct sl_pack *pack, struct sl_pool *pool)
{
    struct sl_packwrite_opts opts = { .pool = pool };
    struct sl_diag diag = { "" };

    if (sl_packwrite_compare(gguf, pack, &opts, &diag) < 0)
        fail_msg("%s", diag.text);
}

/* After loading, tensor by tensor, as the engine sees it. */
static void expect_loaded(const struct sl_gguf *gguf, const struct sl_pack *pack)
{
    const struct sl_gguf *other = sl_pack_gguf(pack);

    assert_int_equal(sl_gguf_n_tensors(gguf), sl_gguf_n_tensors(other));
    for (uint32_t i = 0; i < sl_gguf_n_tensors(gguf); i++) {
        const struct sl_gguf_tensor *a = sl_gguf_tensor_at(gguf, i);
        const struct sl_gguf_tensor *b = sl_gguf_tensor_at(other, i);

        assert_non_null(b->data);
        assert_int_equal((uintptr_t)b->data % 32, 0);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
}

static void all_models_come_back(void **state)
{
    struct sl_pool *pool = new_pool(2);

    for (size_t i = 0; i < N_MODELS; i++) {
        struct sl_gguf *gguf = open_model(models[i]);

        for (int level = 0; level <= 1; level++) {
            uint64_t need;
            struct file f = write_pack(gguf, level, pool, &need);
            struct sl_pack *pack = open_pack(&f);

            if (level == 0)
                assert_int_equal(need, file_bytes(&f));
            else
                assert_in_range(need * 100, file_bytes(&f) * 98, file_bytes(&f) * 115);
            if (level == 0)
                assert_false(sl_pack_has_encoded_experts(pack));
            assert_true(sl_pack_detect(f.path));
            expect_equal(gguf, pack, pool);
            assert_int_equal(sl_pack_load(pack, SL_PACK_LOAD_SHARED | SL_PACK_LOAD_EXPERTS, pool,
                                          NULL, NULL, NULL), 0);
            assert_int_equal(sl_pack_load_bytes(pack, 3), 0);
            expect_loaded(gguf, pack);
            sl_pack_close(pack);
            close(f.fd);
        }
        sl_gguf_close(gguf);
    }
    sl_pool_free(pool);
}

static void bf16_shrinks_to_what_was_promised(void **state)
{
    struct sl_gguf *gguf = open_model("tiny-bf16");
    struct file f = write_pack(gguf, 3, NULL, NULL);
    uint64_t source = sl_mapping_bytes(sl_gguf_mapping(gguf, 0));

    print_message("tiny-bf16: %.4f\n", (double)file_bytes(&f) / (double)source);
    assert_in_range(file_bytes(&f) * 1000, 1, source * 700);
    close(f.fd);
    sl_gguf_close(gguf);
}

static void the_file_does_not_depend_on_the_threads(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-f16");
    uint64_t hashes[3];

    for (uint32_t n = 0; n < 3; n++) {
        struct sl_pool *pool = n > 0 ? new_pool(n * 2) : NULL;
        struct file f = write_pack(gguf, 2, pool, NULL);
        uint64_t bytes = file_bytes(&f);
        void *data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, f.fd, 0);

        assert_ptr_not_equal(data, MAP_FAILED);
        hashes[n] = sl_check_hash(data, bytes);
        munmap(data, bytes);
        close(f.fd);
        sl_pool_free(pool);
    }
    assert_int_equal(hashes[0], hashes[1]);
    assert_int_equal(hashes[0], hashes[2]);
    sl_gguf_close(gguf);
}

/* As the streaming cache does it: a direct read's whole pages to the end of a slot. */
static void parts_decode_in_place(void **state)
{
    struct sl_gguf *gguf = open_model("tiny-bf16");
    struct file f = write_pack(gguf, 1, NULL, NULL);
    struct sl_pack *pack = open_pack(&f);
    const struct sl_pack_layer *layer = sl_pack_layer_at(pack, 1);

    assert_true(sl_pack_has_encoded_experts(pack));
    assert_int_equal(sl_pack_prepare(pack, 3), 0);
    for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
        const struct sl_pack_part *p = &layer->parts[k];
        uint32_t part = k % SL_PACK_PARTS, expert = k / SL_PACK_PARTS;
        uint64_t bytes = layer->mat_bytes[part];
        uint64_t read_bytes = sl_align_up(p->bytes, SL_PACK_ALIGN);
        uint64_t slot_bytes = sl_align_up(bytes, SL_PACK_ALIGN) + SL_PACK_ALIGN;
        const struct sl_gguf_tensor *t = sl_gguf_tensor_at(gguf, layer->tensors[part]);
        uint8_t *slot = aligned_alloc(SL_PACK_ALIGN, slot_bytes);
        uint8_t *stored = slot + slot_bytes - read_bytes;

        assert_non_null(slot);
        assert_int_equal(p->off % SL_PACK_ALIGN, 0);
        while (stored - SL_PACK_ALIGN + p->bytes >= slot + bytes)
            stored -= SL_PACK_ALIGN; /* as early as it may be */
        assert_int_equal(pread(f.fd, stored, read_bytes, (off_t)p->off), read_bytes);
        for (uint64_t i = p->bytes; i < read_bytes; i++)
            assert_int_equal(stored[i], 0); /* padding */
        assert_int_equal(sl_pack_check_part(pack, layer->layer, expert, part, stored, slot), 0);
        assert_memory_equal(slot, t->data + bytes * expert, bytes);
        free(slot);
    }
    sl_pack_close(pack);
    close(f.fd);
    sl_gguf_close(gguf);
}

static void plain_parts_are_views(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-q4_k_m");
    struct file f = write_pack(gguf, 0, NULL, NULL);
    struct sl_pack *pack = open_pack(&f);

    assert_true(sl_pack_n_layers(pack) > 0);
    assert_null(sl_pack_layer_find(pack, 4095));
    for (uint32_t i = 0; i < sl_pack_n_layers(pack); i++) {
        const struct sl_pack_layer *layer = sl_pack_layer_at(pack, i);

        assert_ptr_equal(sl_pack_layer_find(pack, layer->layer), layer);
        for (uint32_t k = 0; k < layer->n_experts * SL_PACK_PARTS; k++) {
            uint32_t part = k % SL_PACK_PARTS, expert = k / SL_PACK_PARTS;
            const uint8_t *data = sl_pack_part_data(pack, layer, expert, part);
            uint64_t bytes = layer->mat_bytes[part];

            assert_memory_equal(data, sl_gguf_tensor_at(gguf, layer->tensors[part])->data +
                                          bytes * expert, bytes);
            assert_int_equal(sl_pack_check_part(pack, layer->layer, expert, part, data,
                                                (uint8_t *)data), 0);
        }
    }
    sl_pack_close(pack);
    close(f.fd);
    sl_gguf_close(gguf);
}

static int stop_at_once(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    assert_true(done <= total);
    return 1;
}

static void stopping_is_an_error(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-bf16");
    struct sl_packwrite_opts opts = { .level = 1, .progress = stop_at_once };
    struct file f = new_file(), whole;
    struct sl_packwrite *pw;
    struct sl_pack *pack;

    assert_int_equal(sl_packwrite_new(&pw, gguf, &opts, NULL), 0);
    assert_int_equal(sl_packwrite_run(pw, f.fd, NULL), -ECANCELED);
    assert_false(sl_pack_detect(f.path)); /* the header comes last */
    sl_packwrite_free(pw);
    close(f.fd);
    whole = write_pack(gguf, 1, NULL, NULL);
    pack = open_pack(&whole);
    assert_int_equal(sl_pack_load(pack, SL_PACK_LOAD_SHARED, NULL, stop_at_once, NULL, NULL),
                     -ECANCELED);
    assert_int_equal(sl_pack_verify(pack, 3, NULL, stop_at_once, NULL, NULL), -ECANCELED);
    assert_int_equal(sl_packwrite_compare(gguf, pack, &opts, NULL), -ECANCELED);
    assert_int_equal(sl_pack_load(pack, SL_PACK_LOAD_SHARED, NULL, NULL, NULL, NULL), 0);
    sl_pack_close(pack);
    close(whole.fd);
    sl_gguf_close(gguf);
}

static void flip(const struct file *f, uint64_t off)
{
    uint8_t byte;

    assert_int_equal(pread(f->fd, &byte, 1, (off_t)off), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(f->fd, &byte, 1, (off_t)off), 1);
}

/* One bit anywhere in header, index and metadata, and one in each stored extent. */
static void every_flipped_bit_is_noticed(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-f16");
    struct file f = write_pack(gguf, 1, NULL, NULL);
    struct sl_pack *pack = open_pack(&f);
    uint64_t meta_bytes = sl_pack_meta_bytes(pack);
    const struct sl_pack_layer *layer = sl_pack_layer_at(pack, 0);
    struct sl_diag diag = { "" };
    uint64_t off;

    for (off = 0; off < meta_bytes; off += off < 4096 ? 1 : 977) {
        struct sl_pack *bad = NULL;

        flip(&f, off);
        assert_in_range(-sl_pack_open(&bad, f.path, 0, &diag), 1, 200);
        assert_null(bad);
        assert_true(diag.text[0] != '\0');
        flip(&f, off);
    }
    off = layer->parts[4].off + layer->parts[4].bytes - 1;
    flip(&f, off);
    assert_int_equal(sl_pack_verify(pack, SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL, &diag), -EBADMSG);
    assert_non_null(strstr(diag.text, "expert 1, up"));
    assert_int_equal(sl_pack_load(pack, SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL, &diag), -EBADMSG);
    assert_int_equal(sl_pack_verify(pack, SL_PACK_LOAD_SHARED, NULL, NULL, NULL, &diag), 0);
    flip(&f, off);
    flip(&f, sl_pack_tensor_at(pack, 0)->off);
    assert_int_equal(sl_pack_verify(pack, SL_PACK_LOAD_SHARED, NULL, NULL, NULL, &diag), -EBADMSG);
    assert_non_null(strstr(diag.text, "tensor"));
    assert_int_equal(sl_pack_verify(pack, SL_PACK_LOAD_EXPERTS, NULL, NULL, NULL, &diag), 0);
    sl_pack_close(pack);
    close(f.fd);
    sl_gguf_close(gguf);
}

/* Change n bytes of the index and make both checksums right again. */
static void forge(const struct file *f, uint64_t off, const void *bytes, size_t n)
{
    uint8_t head[SL_PACK_HEADER_BYTES];
    uint64_t meta_bytes, hash;
    uint8_t *meta;

    assert_int_equal(pwrite(f->fd, bytes, n, (off_t)off), n);
    assert_int_equal(pread(f->fd, head, sizeof(head), 0), sizeof(head));
    meta_bytes = sl_load_u64(head + SL_PACK_AT_META_BYTES);
    if (meta_bytes <= file_bytes(f) && meta_bytes > sizeof(head)) {
        meta = malloc(meta_bytes);
        assert_non_null(meta);
        assert_int_equal(pread(f->fd, meta, meta_bytes, 0), meta_bytes);
        hash = sl_check_hash(meta + sizeof(head), meta_bytes - sizeof(head));
        memcpy(head + SL_PACK_AT_META_HASH, &hash, 8);
        free(meta);
    }
    hash = sl_check_hash(head, SL_PACK_AT_HASH);
    memcpy(head + SL_PACK_AT_HASH, &hash, 8);
    assert_int_equal(pwrite(f->fd, head, sizeof(head), 0), sizeof(head));
}

static void expect_refused(const struct file *f, uint64_t off, uint64_t value, size_t n, int code)
{
    struct sl_pack *pack = NULL;
    struct sl_diag diag = { "" };
    uint64_t was = 0;
    int r;

    assert_int_equal(pread(f->fd, &was, n, (off_t)off), n);
    forge(f, off, &value, n);
    r = sl_pack_open(&pack, f->path, 0, &diag);
    if (r != code)
        fail_msg("byte %llu set to %llx: expected %d, got %d: %s", (unsigned long long)off,
                 (unsigned long long)value, code, r, diag.text);
    forge(f, off, &was, n);
}

static void packs_that_lie_are_refused(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-f16");
    struct file f = write_pack(gguf, 1, NULL, NULL);
    struct sl_pack *pack = open_pack(&f);
    uint32_t n_tensors = sl_gguf_n_tensors(gguf), n_layers = sl_pack_n_layers(pack);
    uint64_t heads = SL_PACK_HEADER_BYTES, tensors = heads + SL_PACK_HEAD_BYTES;
    uint64_t layers = tensors + (uint64_t)n_tensors * SL_PACK_TENSOR_BYTES;
    uint64_t parts = layers + (uint64_t)n_layers * SL_PACK_LAYER_BYTES;
    uint64_t part_off = sl_pack_layer_at(pack, 0)->parts[0].off;
    uint64_t tensor_off = sl_pack_tensor_at(pack, 1)->off;
    uint64_t end = file_bytes(&f);

    sl_pack_close(pack);
    expect_refused(&f, SL_PACK_AT_VERSION, 2, 4, -ENOTSUP);
    expect_refused(&f, SL_PACK_AT_HEADER_BYTES, 64, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_FILE_BYTES, end + 4096, 8, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_META_BYTES, 200, 8, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_META_BYTES, UINT64_MAX, 8, -E2BIG);
    expect_refused(&f, SL_PACK_AT_META_BYTES, end + 1, 8, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_HEADS, 0, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_HEADS, 2, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_HEADS, UINT32_MAX, 4, -E2BIG);
    expect_refused(&f, SL_PACK_AT_N_TENSORS, n_tensors - 1, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_TENSORS, UINT32_MAX, 4, -E2BIG);
    expect_refused(&f, SL_PACK_AT_N_LAYERS, n_layers - 1, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_PARTS, 3, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_N_PARTS, SL_PACK_PARTS_MAX, 4, -EBADMSG);
    expect_refused(&f, SL_PACK_AT_ZEROES + 9, 1, 1, -ENOTSUP);
    expect_refused(&f, heads, 0, 8, -EBADMSG);
    expect_refused(&f, heads, UINT64_MAX - 7, 8, -EBADMSG);
    expect_refused(&f, heads + 8, UINT64_MAX, 8, -EBADMSG);
    expect_refused(&f, heads + 8, 100, 8, -EBADMSG);
    expect_refused(&f, heads + 8, sl_gguf_head_bytes(gguf, 0) - 1, 8, -EBADMSG);
    expect_refused(&f, tensors + SL_PACK_TENSOR_BYTES, 0, 8, -EBADMSG);
    expect_refused(&f, tensors + SL_PACK_TENSOR_BYTES, tensor_off + 1, 8, -EBADMSG);
    expect_refused(&f, tensors + SL_PACK_TENSOR_BYTES, tensor_off - 64, 8, -EBADMSG);
    expect_refused(&f, tensors + SL_PACK_TENSOR_BYTES, UINT64_MAX - 63, 8, -EBADMSG);
    expect_refused(&f, tensors + 8, 0, 8, -EBADMSG);          /* stored bytes */
    expect_refused(&f, tensors + 8, UINT64_MAX, 8, -EBADMSG);
    expect_refused(&f, tensors + 24, 0, 4, -EBADMSG);         /* kind: was encoded */
    expect_refused(&f, tensors + 24, SL_ZBLOCK_KINDS, 4, -ENOTSUP);
    expect_refused(&f, tensors + 28, 1, 4, -EBADMSG);         /* is_stack */
    expect_refused(&f, tensors + 28, 2, 4, -EBADMSG);
    expect_refused(&f, layers, 4096, 4, -EBADMSG);
    expect_refused(&f, layers + 4, 0, 4, -EBADMSG);
    expect_refused(&f, layers + 4, UINT32_MAX, 4, -EBADMSG);
    expect_refused(&f, layers + 8, n_tensors, 4, -EBADMSG);
    expect_refused(&f, layers + 8, 0, 4, -EBADMSG);
    expect_refused(&f, layers + 20, 3, 4, -EBADMSG);
    expect_refused(&f, layers + 24, 1, 8, -EBADMSG);
    expect_refused(&f, parts, part_off + 512, 8, -EBADMSG);
    expect_refused(&f, parts, part_off - 4096, 8, -EBADMSG);
    expect_refused(&f, parts + SL_PACK_PART_BYTES, part_off, 8, -EBADMSG); /* overlap */
    expect_refused(&f, parts, end, 8, -EBADMSG);
    expect_refused(&f, parts + 16, 0, 4, -EBADMSG);
    expect_refused(&f, parts + 16, UINT32_MAX, 4, -EBADMSG);
    expect_refused(&f, parts + 20, 99, 4, -ENOTSUP);
    pack = open_pack(&f); /* all is as it was */
    expect_equal(gguf, pack, NULL);
    sl_pack_close(pack);
    close(f.fd);
    sl_gguf_close(gguf);
}

static void a_cut_pack_is_refused_or_opens_headless(void **state)
{
    struct sl_gguf *gguf = open_model("types/types-q4_0");
    struct file f = write_pack(gguf, 0, NULL, NULL);
    struct sl_pack *pack = open_pack(&f);
    uint64_t meta_bytes = sl_pack_meta_bytes(pack);
    uint64_t cuts[] = { file_bytes(&f) - 1, meta_bytes + 1, meta_bytes, meta_bytes - 1, 129,
                        128, 127, 8, 1 };

    sl_pack_close(pack);
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        struct sl_diag diag = { "" };
        int r;

        assert_int_equal(ftruncate(f.fd, (off_t)cuts[i]), 0);
        assert_int_equal(sl_pack_open(&pack, f.path, 0, &diag), -EBADMSG);
        r = sl_pack_open(&pack, f.path, SL_PACK_HEADLESS, &diag);
        assert_int_equal(r, cuts[i] >= meta_bytes ? 0 : -EBADMSG);
        if (r < 0)
            continue;
        assert_int_equal(sl_gguf_n_tensors(sl_pack_gguf(pack)), sl_gguf_n_tensors(gguf));
        assert_null(sl_gguf_tensor_at(sl_pack_gguf(pack), 0)->data);
        assert_null(sl_pack_part_data(pack, sl_pack_layer_at(pack, 0), 0, 0));
        assert_int_equal(sl_pack_load(pack, 1, NULL, NULL, NULL, NULL), -EINVAL);
        sl_pack_close(pack);
    }
    close(f.fd);
    sl_gguf_close(gguf);
}

static void other_files_are_not_packs(void **state)
{
    struct file f = new_file();
    struct sl_pack *pack = NULL;

    assert_false(sl_pack_detect("/nonexistent"));
    assert_false(sl_pack_detect("/"));
    assert_false(sl_pack_detect(f.path));
    assert_int_equal(sl_pack_open(&pack, "/nonexistent", 0, NULL), -ENOENT);
    assert_int_equal(sl_pack_open(&pack, f.path, 2, NULL), -EINVAL);
    assert_int_equal(write(f.fd, SL_PACK_MAGIC, 8), 8);
    assert_true(sl_pack_detect(f.path));
    assert_int_equal(sl_pack_open(&pack, f.path, 0, NULL), -EBADMSG);
    close(f.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_models_come_back),
        cmocka_unit_test(bf16_shrinks_to_what_was_promised),
        cmocka_unit_test(the_file_does_not_depend_on_the_threads),
        cmocka_unit_test(parts_decode_in_place),
        cmocka_unit_test(plain_parts_are_views),
        cmocka_unit_test(stopping_is_an_error),
        cmocka_unit_test(every_flipped_bit_is_noticed),
        cmocka_unit_test(packs_that_lie_are_refused),
        cmocka_unit_test(a_cut_pack_is_refused_or_opens_headless),
        cmocka_unit_test(other_files_are_not_packs),
    };

    shared_folder = getenv("SL_SHARED") ? getenv("SL_SHARED") : SHARED_DEFAULT;
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
