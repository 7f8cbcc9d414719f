/* See readcheck.h. */
#include "readcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

#define POISON 0xA5

_Noreturn void readcheck_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

/* splitmix64 */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t readcheck_random(struct readcheck *rc, uint64_t below)
{
    return next(&rc->rng) % below;
}

static void make_file(struct readcheck *rc, uint32_t i, uint64_t bytes)
{
    FILE *f;

    rc->bytes[i] = bytes;
    rc->data[i] = malloc(bytes + 8);
    READCHECK(rc->data[i]);
    for (uint64_t k = 0; k < bytes; k += 8) {
        uint64_t x = next(&rc->rng);

        memcpy(rc->data[i] + k, &x, 8);
    }
    f = fopen(rc->paths[i], "wb");
    READCHECK(f);
    READCHECK(fwrite(rc->data[i], 1, bytes, f) == bytes);
    READCHECK(fclose(f) == 0);
    rc->fds[i] = open(rc->paths[i], O_RDONLY | O_CLOEXEC);
    READCHECK(rc->fds[i] >= 0);
}

void readcheck_open(struct readcheck *rc)
{
    const char *seed = getenv("SL_SEED");
    const char *tmp = getenv("TMPDIR");
    char dir[sizeof(rc->dir)];

    *rc = (struct readcheck){ .seed = seed ? strtoull(seed, NULL, 0) : sl_clock_ns(),
                              .read_max = READCHECK_READ_MAX };
    rc->rng = rc->seed;
    printf("SL_SEED=%llu\n", (unsigned long long)rc->seed);
    (void)fflush(stdout); /* children must not print it again */
    snprintf(dir, sizeof(dir), "%.40s/sl_reader_XXXXXX", tmp ? tmp : "/tmp");
    READCHECK(mkdtemp(dir));
    memcpy(rc->dir, dir, sizeof(dir));
    for (uint32_t i = 0; i < READCHECK_FILES; i++)
        snprintf(rc->paths[i], sizeof(rc->paths[i]), "%s/%u", dir, i);
    make_file(rc, 0, (6u << 20) + 4096 + 1808);
    make_file(rc, 1, (3u << 20) + 3 * 4096);
    rc->arena = mmap(NULL, READCHECK_ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    READCHECK(rc->arena != MAP_FAILED);
}

void readcheck_close(struct readcheck *rc)
{
    for (uint32_t i = 0; i < READCHECK_FILES; i++) {
        (void)close(rc->fds[i]);
        (void)unlink(rc->paths[i]);
        free(rc->data[i]);
    }
    (void)rmdir(rc->dir);
    (void)munmap(rc->arena, READCHECK_ARENA_BYTES);
}

struct sl_reader *readcheck_reader(struct readcheck *rc, const struct sl_reader_opts *opts)
{
    struct sl_reader *reader = NULL;
    struct sl_diag diag = { "" };
    int r = sl_reader_open(&reader, rc->fds, READCHECK_FILES, opts, &diag);

    if (r < 0)
        fprintf(stderr, "sl_reader_open: %d: %s\n", r, diag.text);
    READCHECK(r == 0);
    return reader;
}

struct sl_read readcheck_make(struct readcheck *rc, uint32_t slot, uint32_t region)
{
    uint32_t file = (uint32_t)readcheck_random(rc, READCHECK_FILES);
    uint32_t unit = SL_READER_ALIGN;
    uint64_t n_units = (rc->bytes[file] + unit - 1) / unit;
    char *base = rc->arena + (size_t)slot * READCHECK_SLOT_BYTES;

    memset(base, POISON, READCHECK_SLOT_BYTES);
    return (struct sl_read){
        .off = readcheck_random(rc, n_units) * unit,
        .buf = base + READCHECK_GUARD,
        .tag = slot,
        .bytes = (uint32_t)(1 + readcheck_random(rc, rc->read_max / unit)) * unit,
        .file = file,
        .region = region,
    };
}

static bool is_poisoned(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] != POISON)
            return false;
    return true;
}

void readcheck_compare(const struct readcheck *rc, const struct sl_read *read)
{
    const char *buf = read->buf;
    uint64_t left = rc->bytes[read->file] - read->off;
    uint64_t want = left < read->bytes ? left : read->bytes;

    READCHECK(memcmp(buf, rc->data[read->file] + read->off, want) == 0);
    READCHECK(is_poisoned(buf - READCHECK_GUARD, READCHECK_GUARD));
    READCHECK(is_poisoned(buf + read->bytes, READCHECK_READ_MAX - read->bytes + READCHECK_GUARD));
}

struct readcheck_tally readcheck_run(struct readcheck *rc, struct sl_reader *reader,
                                     uint32_t n, uint32_t region)
{
    struct readcheck_tally tally = { 0, 0 };
    struct sl_read reads[READCHECK_SLOTS];
    bool busy[READCHECK_SLOTS] = { false };

    for (uint32_t n_made = 0; n_made < n || sl_reader_n_flying(reader) > 0;) {
        struct sl_read batch[READCHECK_SLOTS];
        struct sl_read_done done[READCHECK_SLOTS];
        uint32_t most = (uint32_t)readcheck_random(rc, 5);
        uint32_t n_batch = 0;
        uint32_t n_done;

        for (uint32_t s = 0; s < READCHECK_SLOTS && n_made < n && n_batch < most &&
                             n_batch < sl_reader_room(reader); s++) {
            if (busy[s])
                continue;
            reads[s] = readcheck_make(rc, s, readcheck_random(rc, 2) ? region
                                                                     : SL_READER_NO_REGION);
            batch[n_batch++] = reads[s];
            busy[s] = true;
            n_made++;
        }
        sl_reader_submit(reader, batch, n_batch);
        n_done = sl_reader_reap(reader, readcheck_random(rc, 3) == 0, done,
                                (uint32_t)(1 + readcheck_random(rc, READCHECK_SLOTS)));
        for (uint32_t i = 0; i < n_done; i++) {
            READCHECK(done[i].tag < READCHECK_SLOTS && busy[done[i].tag]);
            busy[done[i].tag] = false;
            READCHECK(done[i].error == 0 || done[i].error == -EIO);
            tally.n_failed += done[i].error != 0;
            tally.n_good += done[i].error == 0;
            if (done[i].error == 0)
                readcheck_compare(rc, &reads[done[i].tag]);
        }
    }
    READCHECK(tally.n_good + tally.n_failed == n);
    return tally;
}
