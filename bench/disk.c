/*
 * What the disk under a file gives: random direct reads, as the expert cache makes them.
 *
 *     disk FILE [--read-bytes N] [--depth N] [--seconds S]
 *
 * One line of JSON on stdout. Caches need not be dropped: direct reads pass by them.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/diskspeed.h"

struct args {
    const char *path;
    uint32_t read_bytes, depth;
    double seconds;
};

static uint32_t parse_count(struct argp_state *state, const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value == 0 || value > UINT32_MAX)
        argp_error(state, "%s is no number from 1 to %u", text, UINT32_MAX);
    return (uint32_t)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    char *end;

    switch (key) {
    case 'b':
        args->read_bytes = parse_count(state, arg);
        return 0;
    case 'd':
        args->depth = parse_count(state, arg);
        return 0;
    case 's':
        args->seconds = strtod(arg, &end);
        if (end == arg || *end)
            argp_error(state, "%s is no number of seconds", arg);
        return 0;
    case ARGP_KEY_ARG:
        if (args->path)
            argp_usage(state);
        args->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!args->path)
            argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "read-bytes", 'b', "N", 0, "length of a read (1048576)", 0 },
        { "depth", 'd', "N", 0, "reads in flight (16)", 0 },
        { "seconds", 's', "S", 0, "how long (1)", 0 },
        { 0 }
    };
    static const struct argp argp = { options, parse_option, "FILE",
                                      "Measure random direct reads of a file.", NULL, NULL,
                                      NULL };
    struct args args = { .read_bytes = 1u << 20, .depth = 16, .seconds = 1 };
    struct sl_diag diag = { "" };
    double bytes_per_s = 0;
    struct stat st;
    int fd, r;

    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    fd = open(args.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fprintf(stderr, "disk: %s: %s\n", args.path, strerror(errno));
        return 1;
    }
    r = sl_diskspeed_measure(fd, (uint64_t)st.st_size, args.read_bytes, args.depth,
                             args.seconds, &bytes_per_s, &diag);
    (void)close(fd); /* read only */
    if (r < 0) {
        fprintf(stderr, "disk: %s: %s\n", args.path, diag.text);
        return 1;
    }
    printf("{\"read_bytes\": %u, \"depth\": %u, \"seconds\": %g, \"bytes_per_s\": %.0f}\n",
           args.read_bytes, args.depth, args.seconds, bytes_per_s);
    return 0;
}
