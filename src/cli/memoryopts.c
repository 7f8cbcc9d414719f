/*
 * Options on memory and on reading experts. What streaming learns of a model is kept in a
 * file of the state folder, named after the file's name, size and first megabyte: the same
 * model at another place is the same model.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/choices.h"
#include "cli/options.h"
#include "cli/statedir.h"

enum {
    KEY_RAM = 768,
    KEY_RESIDENCY,
    KEY_IO,
    KEY_PREDICT,
    KEY_POLICY,
    KEY_TRACE,
    KEY_NO_PROFILE,
};

#define RAM_MIN_BYTES ((uint64_t)1 << 20) /* less is a forgotten unit */
#define HASHED_BYTES ((size_t)1 << 20)
#define NAME_BYTES 48

bool sl_options_parse_size(const char *text, size_t len, uint64_t *ret_bytes)
{
    static const char units[] = "KMGT";
    char number[32];
    size_t n_digits = strspn(text, "0123456789");
    size_t n = n_digits;
    const char *unit;
    double value;

    if (text[n] == '.')
        n += 1 + strspn(text + n + 1, "0123456789");
    if (n > len || n >= sizeof(number) || n_digits == 0 || text[n - 1] == '.')
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    value = strtod(number, NULL);
    if (n < len) {
        unit = strchr(units, text[n] >= 'a' ? text[n] - 'a' + 'A' : text[n]);
        if (!unit || n + 1 != len)
            return false;
        for (int i = 0; i <= unit - units; i++)
            value *= 1024.0;
    }
    if (value > 0x1p60)
        return false;
    *ret_bytes = (uint64_t)value;
    return true;
}

static uint64_t parse_ram(const char *arg, struct argp_state *state)
{
    uint64_t bytes = 0;

    if (!strcmp(arg, "auto"))
        return 0;
    if (!strcmp(arg, "min"))
        return SLUICE_RAM_MIN;
    if (!sl_options_parse_size(arg, strlen(arg), &bytes))
        argp_error(state, "--ram: a size as 8G, 7.5G or 900M, auto or min expected, found \"%s\"",
                   arg);
    if (bytes < RAM_MIN_BYTES)
        argp_error(state, "--ram: %s is %" PRIu64 " bytes; with a unit, as 8G?", arg, bytes);
    return bytes;
}

static void parse_predict(struct sluice_model_opts *opts, const char *arg,
                          struct argp_state *state)
{
    if (!strncmp(arg, "replay:", 7) && arg[7]) {
        opts->predict = SLUICE_PREDICT_ON;
        opts->replay_path = arg + 7;
        return;
    }
    opts->predict = (enum sluice_predict)sl_choices_parse(state, "predict", arg);
    opts->replay_path = NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct sl_model_args *args = state->input;
    struct sluice_model_opts *o = &args->opts;

    switch (key) {
    case KEY_RAM: o->ram_bytes = parse_ram(arg, state); break;
    case KEY_RESIDENCY:
        o->residency = (enum sluice_residency)sl_choices_parse(state, "residency", arg);
        break;
    case KEY_IO: o->io = (enum sluice_io)sl_choices_parse(state, "io", arg); break;
    case KEY_PREDICT: parse_predict(o, arg, state); break;
    case KEY_POLICY:
        o->policy = (enum sluice_policy)sl_choices_parse(state, "policy", arg);
        break;
    case KEY_TRACE: o->trace_path = arg; break;
    case KEY_NO_PROFILE: args->no_profile = true; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_option memory_options[] = {
    {"ram", KEY_RAM, "SIZE", 0,
     "Bound for the whole process: 8G, 7.5G, 900M; min: the smallest that works; auto: what the "
     "system can give (the default)", 0},
    {"residency", KEY_RESIDENCY, "KIND", 0,
     "Experts: resident in memory, or stream from the file; auto: resident if they fit", 0},
    {"io", KEY_IO, "KIND", 0,
     "Read with uring, pread or buffered; auto: the first of them that works", 0},
    {"predict", KEY_PREDICT, "KIND", 0,
     "Read experts ahead that routers will choose: on, off, or replay:FILE, a trace's", 0},
    {"policy", KEY_POLICY, "KIND", 0, "Which experts are given up: default, lru or lfu", 0},
    {"trace", KEY_TRACE, "FILE", 0, "Write down what was chosen and read, for tracesim", 0},
    {"no-profile", KEY_NO_PROFILE, NULL, 0,
     "Do not use or keep counts of which experts are used", 0},
    {0},
};
const struct argp sl_options_memory = {.options = memory_options, .parser = parse};

/* FNV-1a, 64 bits. */
static uint64_t hash_bytes(const unsigned char *bytes, size_t n)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

static size_t read_head(int fd, unsigned char *bytes, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = pread(fd, bytes + done, n - done, (off_t)done);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        done += (size_t)r;
    }
    return done;
}

/* A file's name without folders and ".gguf", in characters that need no quotes. */
static void plain_name(char *out, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *from = slash ? slash + 1 : path;
    const char *dot = strrchr(from, '.');
    size_t n = 0;

    for (; *from && from != dot && n < NAME_BYTES - 1; from++) {
        bool is_plain = (*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z') ||
                        (*from >= '0' && *from <= '9') || *from == '-' || *from == '_' ||
                        (*from == '.' && n > 0);

        out[n++] = is_plain ? *from : '_';
    }
    out[n] = '\0';
}

char *sl_options_profile_path(const char *model_path)
{
    char name[NAME_BYTES], file[NAME_BYTES + 64];
    unsigned char *head = NULL;
    char *path = NULL;
    struct stat st;
    int fd = open(model_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        head = malloc(HASHED_BYTES);
    if (head) {
        size_t n = read_head(fd, head, HASHED_BYTES);

        plain_name(name, model_path);
        (void)snprintf(file, sizeof(file), "%s-%" PRIx64 "-%016" PRIx64 ".profile", name,
                       (uint64_t)st.st_size, hash_bytes(head, n)); /* it fits */
        path = sl_statedir_path(file);
    }
    free(head);
    if (fd >= 0)
        close(fd);
    return path;
}
