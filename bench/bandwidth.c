/*
 * What memory gives: threads read a buffer of huge pages, and a file through its mapping.
 *
 *     bandwidth [--threads N] [--bytes N] [FILE]
 *
 * Each thread reads its own contiguous share and sums it, so that nothing is left out. One
 * pass is not timed (it faults the pages in); the best and the median of the others are
 * printed as one line of JSON, GB/s in powers of ten. Decoding reads weights the second
 * way, so its speed is compared with file_gb_per_s.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define N_THREADS_MAX 256
#define N_PASSES 5

struct share {
    const uint64_t *words;
    size_t n_words; /* a multiple of 8 */
    uint64_t sum;
    pthread_t thread;
};

struct args {
    const char *file;
    uint32_t n_threads;
    size_t n_bytes; /* at most so many of the file, and of the buffer */
};

static void *read_share(void *arg)
{
    struct share *share = arg;
    uint64_t sum[8] = {0};

    for (size_t i = 0; i < share->n_words; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sum[lane] += share->words[i + lane];
    for (size_t lane = 0; lane < 8; lane++)
        share->sum += sum[lane];
    return NULL;
}

/* Seconds of one pass, or negative. */
static double read_once(const void *bytes, size_t n_bytes, uint32_t n_threads, uint64_t *sum)
{
    struct share shares[N_THREADS_MAX];
    size_t n_words = n_bytes / sizeof(uint64_t) / n_threads / 8 * 8;
    uint64_t began = sl_clock_ns();
    uint32_t n_started = 0;

    for (; n_started < n_threads; n_started++) {
        struct share *share = &shares[n_started];
        *share = (struct share){.words = (const uint64_t *)bytes + n_started * n_words,
                                .n_words = n_words};
        if (pthread_create(&share->thread, NULL, read_share, share))
            break;
    }
    for (uint32_t i = 0; i < n_started; i++) {
        pthread_join(shares[i].thread, NULL);
        *sum += shares[i].sum;
    }
    if (n_started < n_threads)
        return -1;
    return (double)(sl_clock_ns() - began) * 1e-9;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(const char *name, const void *bytes, size_t n_bytes,
                    const struct args *args)
{
    double rates[N_PASSES];
    uint64_t sum = 0;

    (void)read_once(bytes, n_bytes, args->n_threads, &sum);
    for (int i = 0; i < N_PASSES; i++)
        rates[i] = (double)n_bytes / read_once(bytes, n_bytes, args->n_threads, &sum) * 1e-9;
    qsort(rates, N_PASSES, sizeof(rates[0]), compare_doubles);
    printf("\"%s_gb_per_s\": %.2f, \"%s_best_gb_per_s\": %.2f, \"%s_sum\": %llu", name,
           rates[N_PASSES / 2], name, rates[N_PASSES - 1], name, (unsigned long long)sum);
}

static int measure_buffer(const struct args *args)
{
    void *bytes = mmap(NULL, args->n_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (bytes == MAP_FAILED)
        return -errno;
    (void)madvise(bytes, args->n_bytes, MADV_HUGEPAGE); /* best effort */
    memset(bytes, 1, args->n_bytes);
    measure("buffer", bytes, args->n_bytes, args);
    munmap(bytes, args->n_bytes);
    return 0;
}

static int measure_file(const struct args *args)
{
    struct stat st;
    void *bytes;
    size_t n_bytes;
    int fd = open(args->file, O_RDONLY | O_CLOEXEC);
    int r = 0;

    if (fd < 0 || fstat(fd, &st) < 0)
        goto fail;
    n_bytes = (uint64_t)st.st_size < args->n_bytes ? (size_t)st.st_size : args->n_bytes;
    if (n_bytes == 0) {
        errno = EINVAL;
        goto fail;
    }
    bytes = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        goto fail;
    printf(", ");
    measure("file", bytes, n_bytes, args);
    munmap(bytes, n_bytes);
    close(fd);
    return r;

fail:
    r = -errno;
    if (fd >= 0)
        close(fd);
    return r;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;

    switch (key) {
    case 't':
        args->n_threads = (uint32_t)strtoul(arg, NULL, 10);
        if (args->n_threads < 1 || args->n_threads > N_THREADS_MAX)
            argp_error(state, "1 to %d threads", N_THREADS_MAX);
        return 0;
    case 'b':
        args->n_bytes = (size_t)strtoull(arg, NULL, 10) / 4096 * 4096;
        if (args->n_bytes == 0)
            argp_error(state, "at least 4096 bytes");
        return 0;
    case ARGP_KEY_ARG:
        args->file = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"threads", 't', "N", 0, "threads (2)", 0},
        {"bytes", 'b', "N", 0, "bytes read in a pass (1073741824)", 0},
        {0}};
    static const struct argp argp = {options, parse_option, "[FILE]",
                                     "Measure how fast memory is read.", NULL, NULL, NULL};
    struct args args = {.n_threads = 2, .n_bytes = (size_t)1 << 30};
    int r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    printf("{");
    r = measure_buffer(&args);
    if (r >= 0 && args.file)
        r = measure_file(&args);
    printf("}\n");
    if (r < 0)
        fprintf(stderr, "bandwidth: %s\n", strerror(-r));
    return r < 0;
}
