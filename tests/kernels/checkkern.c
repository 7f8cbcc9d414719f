/*
 * The frame of checkkern: options, levels, random numbers, guarded memory, crash
 * reports. Cases are in check_*.c.
 *
 *   checkkern [--isa=NAME] [--filter=TEXT] [--seed=N] [--list] [--bench]
 *
 * Without --isa every level of this CPU runs. The seed is printed, comes from
 * --seed or SL_SEED, and each case derives its own from it and its name, so that
 * --filter does not change what a case sees. Exit code 77: the CPU lacks the level.
 */
#include "checkkern.h"

#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define PAGE_BYTES 4096
#define EXIT_SKIP 77

static const struct ck_group *const groups[] = {
    &ck_group_attend,
    &ck_group_definition,
    &ck_group_float,
    &ck_group_matmul,
    &ck_group_quantize,
    &ck_group_vecops,
};

/* What runs just now, where the signal handler can find it. */
static char about_case[128];
static char about_call[256];
static uint64_t seed;

struct ck_buf {
    struct ck_buf *next;
    void *map;
    size_t map_bytes;
};

uint64_t ck_rand(struct ck *ck)
{
    uint64_t z = ck->rng += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t ck_rand_below(struct ck *ck, uint32_t n)
{
    return (uint32_t)((ck_rand(ck) >> 32) * n >> 32);
}

float ck_rand_float(struct ck *ck)
{
    return (float)(int32_t)(ck_rand(ck) >> 32) * 0x1p-31f;
}

float ck_rand_normal(struct ck *ck)
{
    float sum = 0;

    for (int i = 0; i < 6; i++)
        sum += ck_rand_float(ck);
    return sum * 0.7071f;
}

void ck_rand_bytes(struct ck *ck, void *buf, size_t len)
{
    char *at = buf;

    for (; len >= 8; len -= 8, at += 8) {
        uint64_t r = ck_rand(ck);

        memcpy(at, &r, 8);
    }
    for (; len > 0; len--, at++)
        *at = (char)ck_rand(ck);
}

void ck_poison(void *buf, size_t size)
{
    memset(buf, 0xa5, size);
}

/* `size` bytes between two inaccessible pages. */
static char *guarded(struct ck *ck, size_t size)
{
    size_t inner = (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    struct ck_buf *buf = malloc(sizeof(*buf));
    char *map;

    map = mmap(NULL, inner + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!buf || map == MAP_FAILED || mprotect(map + PAGE_BYTES, inner, PROT_READ | PROT_WRITE)) {
        fprintf(stderr, "checkkern: no memory\n");
        exit(EXIT_FAILURE);
    }
    *buf = (struct ck_buf){ .next = ck->bufs, .map = map, .map_bytes = inner + 2 * PAGE_BYTES };
    ck->bufs = buf;
    ck_poison(map + PAGE_BYTES, inner);
    return map + PAGE_BYTES;
}

void *ck_alloc_end(struct ck *ck, size_t size, size_t align)
{
    char *start = guarded(ck, size);
    size_t inner = (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

    return start + (inner - size) / align * align;
}

void *ck_alloc_start(struct ck *ck, size_t size, size_t offset)
{
    return guarded(ck, size + offset) + offset;
}

void ck_free_all(struct ck *ck)
{
    while (ck->bufs) {
        struct ck_buf *buf = ck->bufs;

        ck->bufs = buf->next;
        munmap(buf->map, buf->map_bytes);
        free(buf);
    }
}

void ck_about(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(about_call, sizeof(about_call), fmt, args);
    va_end(args);
}

void ck_fail(struct ck *ck, const char *fmt, ...)
{
    va_list args;

    if (!ck->failed) { /* the first difference of a case says it all */
        printf("FAIL %s: %s: ", about_case, about_call);
        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);
        printf(" (--seed=%llu)\n", (unsigned long long)seed);
    }
    ck->failed = true;
}

bool ck_equal(struct ck *ck, const void *want, const void *got, size_t size)
{
    const unsigned char *a = want, *b = got;

    ck->n_compared++;
    if (memcmp(a, b, size) == 0)
        return true;
    for (size_t i = 0; i < size; i++) {
        if (a[i] == b[i])
            continue;
        i -= i % 4;
        if (i + 4 <= size) {
            float x, y;

            memcpy(&x, a + i, 4);
            memcpy(&y, b + i, 4);
            ck_fail(ck, "differs at byte %zu of %zu: want %a, got %a", i, size, x, y);
        } else {
            ck_fail(ck, "differs at byte %zu of %zu", i, size);
        }
        break;
    }
    return false;
}

/* Time that this thread had a core: others may be at work on the machine. */
static uint64_t thread_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts); /* cannot fail for this clock */
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

double ck_time(void (*fn)(void *arg), void *arg)
{
    double best = INFINITY;
    uint64_t n = 1;

    for (int round = 0; round < 7; round++) {
        uint64_t t0 = thread_ns(), ns;
        double per_call;

        for (uint64_t i = 0; i < n; i++)
            fn(arg);
        ns = thread_ns() - t0;
        per_call = (double)ns / (double)n * 1e-9;
        if (per_call < best)
            best = per_call;
        n = (uint64_t)(0.05 / per_call) + 1;
    }
    return best;
}

static void on_crash(int signo)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "FAIL %s: %s: signal %d (--seed=%llu)\n", about_case,
                       about_call, signo, (unsigned long long)seed);

    /* snprintf is not async-signal-safe in general; a crash here is our own doing
     * inside a kernel, never inside libc. */
    if (write(STDOUT_FILENO, text, (size_t)len) < 0)
        _exit(2);
    _exit(1);
}

static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h;
}

struct options {
    int isa; /* -1: all */
    const char *filter;
    bool list, bench;
};

static bool run_case(const struct options *opts, const struct ck_group *group,
                     const struct ck_case *c, const struct sl_kernels *ref,
                     const struct sl_kernels *isa)
{
    struct ck ck = { .c = ref, .isa = isa, .isa_name = sl_cpu_level_name(isa->level) };

    snprintf(about_case, sizeof(about_case), "%s/%s %s", group->name, c->name, ck.isa_name);
    about_call[0] = '\0';
    if (opts->filter && !strstr(about_case, opts->filter))
        return true;
    if (opts->list) {
        printf("%s\n", about_case);
        return true;
    }
    ck.rng = seed ^ hash(group->name) ^ hash(c->name) * 31;
    if (opts->bench) {
        if (c->bench)
            c->bench(&ck, c->arg);
    } else {
        c->check(&ck, c->arg);
        if (!ck.failed && ck.n_compared > 0) /* none: the level has nothing of its own */
            printf("ok   %s: %u compared\n", about_case, ck.n_compared);
    }
    ck_free_all(&ck);
    fflush(stdout);
    return !ck.failed;
}

static int run_level(const struct options *opts, enum sl_cpu_level level)
{
    struct sl_kernels ref, isa;
    int n_failed = 0;

    sl_kernels_init(&ref, SL_CPU_C);
    sl_kernels_init(&isa, level);
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (size_t i = 0; i < groups[g]->n_cases; i++)
            if (!run_case(opts, groups[g], &groups[g]->cases[i], &ref, &isa))
                n_failed++;
    return n_failed;
}

static void usage(void)
{
    fprintf(stderr, "usage: checkkern [--isa=c|avx2|avx512] [--filter=TEXT] [--seed=N] "
                    "[--list] [--bench]\n");
    exit(2);
}

static struct options parse(int argc, char **argv)
{
    static const struct option longs[] = {
        { "isa", required_argument, NULL, 'i' },  { "filter", required_argument, NULL, 'f' },
        { "seed", required_argument, NULL, 's' }, { "list", no_argument, NULL, 'l' },
        { "bench", no_argument, NULL, 'b' },      { NULL, 0, NULL, 0 },
    };
    struct options opts = { .isa = -1 };
    const char *env = getenv("SL_SEED");
    int c;

    seed = env ? strtoull(env, NULL, 0) : sl_clock_ns() ^ (uint64_t)getpid() << 40;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'i' && (opts.isa = sl_cpu_level_from_name(optarg)) >= 0)
            continue;
        if (c == 'f')
            opts.filter = optarg;
        else if (c == 's')
            seed = strtoull(optarg, NULL, 0);
        else if (c == 'l')
            opts.list = true;
        else if (c == 'b')
            opts.bench = true;
        else
            usage();
    }
    if (optind != argc)
        usage();
    return opts;
}

int main(int argc, char **argv)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    struct options opts = parse(argc, argv);
    enum sl_cpu_level best = sl_cpu_best();
    int n_failed = 0;

    if (opts.isa > (int)best) {
        printf("skipped: this CPU has no %s\n", sl_cpu_level_name((enum sl_cpu_level)opts.isa));
        return EXIT_SKIP;
    }
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_crash);
    if (!opts.list)
        printf("seed %llu\n", (unsigned long long)seed);
    for (enum sl_cpu_level level = SL_CPU_C; level <= best; level++)
        if (opts.isa < 0 || opts.isa == (int)level)
            n_failed += run_level(&opts, level);
    if (n_failed > 0)
        printf("%d cases failed\n", n_failed);
    return n_failed > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
