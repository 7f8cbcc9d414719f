/* What cgroups leave of memory, processor time and disk. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor/checks.h"

#define GIB ((uint64_t)1 << 30)
#define MOUNT "/sys/fs/cgroup"
#define DISK_RATE_WARN 1.5e9
#define DISK_RATE_BAD 0.3e9

/* How a limit of a cgroup is taken away. */
struct mending {
    const char *file;     /* that holds it */
    const char *value;    /* that lifts it there */
    const char *property; /* of systemd's unit: "MemoryMax=infinity" */
    const char *update;   /* options of docker update */
};

static bool has_suffix(const char *text, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);

    return len > n && strncmp(text + len - n, suffix, n) == 0;
}

/* The unit that a cgroup is of: the name of its folder, if it ends as those do. */
static bool find_unit(const char *file, char *ret_name, size_t cap)
{
    const char *end = strrchr(file, '/'), *begin = end;
    size_t len;

    if (!end || strncmp(file, MOUNT, strlen(MOUNT)) != 0)
        return false;
    while (begin > file && begin[-1] != '/')
        begin--;
    len = (size_t)(end - begin);
    if (len >= cap || (!has_suffix(begin, len, ".service") && !has_suffix(begin, len, ".slice") &&
                       !has_suffix(begin, len, ".scope")))
        return false;
    (void)snprintf(ret_name, cap, "%.*s", (int)len, begin);
    return true;
}

static void mend(struct sl_finding *f, const struct sl_facts *facts, const struct mending *how)
{
    const char *runner = sl_checks_runner(facts);
    struct sl_strbuf name = {0};
    char unit[256];

    if (runner) {
        if (how->update) {
            sl_finding_mend(f, "%s update %s CONTAINER", runner, how->update);
            sl_finding_advise(f, "on the host");
        } else {
            sl_finding_advise(f, "%s run without --device-read-bps, when it is made anew", runner);
        }
    } else if (facts->system.container == SL_FACTS_KUBERNETES) {
        sl_finding_advise(f, "raise resources.limits of the pod");
    } else if (facts->system.container != SL_FACTS_NO_CONTAINER) {
        sl_finding_advise(f, "raise it where the container is configured");
    } else if (find_unit(how->file, unit, sizeof(unit))) {
        bool is_user = strstr(how->file, "/user@") != NULL && strncmp(unit, "user@", 5) != 0;

        sl_finding_quote(&name, unit);
        sl_finding_mend(f, "%s set-property %s %s", is_user ? "systemctl --user" : "sudo systemctl",
                        name.ptr ? name.ptr : "", how->property);
    } else {
        sl_finding_quote(&name, how->file);
        sl_finding_mend(f, "echo %s | sudo tee %s", how->value, name.ptr ? name.ptr : "");
        sl_finding_advise(f, "until whoever made the cgroup sets it again");
    }
    f->found.error = f->found.error ? f->found.error : name.error;
    sl_strbuf_done(&name);
}

static void mend_memory(struct sl_finding *f, const struct sl_facts *facts)
{
    const struct sl_facts_limits *limits = &facts->limits;
    bool is_high = has_suffix(limits->memory_file, strlen(limits->memory_file), "/memory.high");
    bool is_v2 = is_high || has_suffix(limits->memory_file, strlen(limits->memory_file), ".max");
    char update[96];

    (void)snprintf(update, sizeof(update), "--memory %" PRIu64 "g --memory-swap %" PRIu64 "g",
                   facts->memory.total_bytes / GIB, facts->memory.total_bytes / GIB);
    mend(f, facts, &(struct mending){
        .file = limits->memory_file,
        .value = is_v2 ? "max" : "-1",
        .property = is_high ? "MemoryHigh=infinity" : "MemoryMax=infinity",
        .update = update,
    });
}

static void check_memory(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_limits *limits = &facts->limits;
    const struct sl_facts_model *model = &facts->model;
    struct sl_finding *f = sl_finding_add(findings, "cgroup_memory", "cgroup memory");

    if (limits->memory_bytes == SL_FACTS_NONE ||
        limits->memory_bytes >= facts->memory.total_bytes) {
        sl_finding_note(f, "no limit");
        return;
    }
    f->value = (double)limits->memory_bytes;
    f->unit = "bytes";
    f->place = limits->memory_file;
    sl_finding_note(f, "limit of %.2f GiB", SL_CHECKS_GIB(limits->memory_bytes));
    sl_finding_note(f, "%.2f GiB of it left", SL_CHECKS_GIB(limits->memory_left_bytes));
    if (model->is_known && !model->is_streaming && !model->is_too_big)
        return;
    if (model->is_known ? model->is_too_big : limits->memory_left_bytes < GIB)
        sl_finding_raise(f, SL_FINDING_BAD, "%s does not fit into it",
                         model->is_known ? model->name : "hardly any model");
    else
        sl_finding_raise(f, SL_FINDING_WARN, "the machine has %.1f GiB: within the limit fewer "
                         "experts stay in memory, more are read from disk",
                         SL_CHECKS_GIB(facts->memory.total_bytes));
    mend_memory(f, facts);
}

static void check_cpu(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_limits *limits = &facts->limits;
    struct sl_finding *f = sl_finding_add(findings, "cgroup_cpu", "cgroup CPU time");
    uint32_t n_cores = facts->cpu.n_cores;
    char file[PATH_MAX + 32], update[32];

    if (!(limits->cpus > 0) || (facts->cpu.n_machine_cpus &&
                                limits->cpus >= facts->cpu.n_machine_cpus)) {
        sl_finding_note(f, "no limit");
        return;
    }
    f->value = limits->cpus;
    f->unit = "cpus";
    f->place = limits->cpu_folder;
    sl_finding_note(f, "the time of %.2g CPUs", limits->cpus);
    if (limits->cpus >= n_cores && n_cores)
        return;
    sl_finding_raise(f, limits->cpus < 1 ? SL_FINDING_BAD : SL_FINDING_WARN,
                     "of %" PRIu32 " cores: fewer threads are started, they are not bound to "
                     "cores, and when the time is used up all of them stand still", n_cores);
    (void)snprintf(file, sizeof(file), "%s/%s", limits->cpu_folder,
                   limits->is_cpu_v2 ? "cpu.max" : "cpu.cfs_quota_us");
    (void)snprintf(update, sizeof(update), "--cpus %" PRIu32, facts->cpu.n_machine_cpus);
    mend(f, facts, &(struct mending){
        .file = file,
        .value = limits->is_cpu_v2 ? "max" : "-1",
        .property = "CPUQuota=",
        .update = update,
    });
}

static void check_disk(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_limits *limits = &facts->limits;
    struct sl_finding *f = sl_finding_add(findings, "cgroup_disk", "cgroup disk");
    double rate = (double)limits->read_bytes_per_s;
    char value[64];
    bool is_v2;

    if (limits->read_bytes_per_s == SL_FACTS_NONE) {
        sl_finding_note(f, "no limit");
        return;
    }
    f->value = rate;
    f->unit = "bytes_per_s";
    f->place = limits->read_file;
    sl_finding_note(f, "%.3g GB/s from device %s", rate * 1e-9, limits->read_device);
    if (rate >= DISK_RATE_WARN)
        return;
    sl_finding_raise(f, rate < DISK_RATE_BAD ? SL_FINDING_BAD : SL_FINDING_WARN,
                     "experts that are not in memory take %.3g s per GB", 1e9 / rate);
    is_v2 = has_suffix(limits->read_file, strlen(limits->read_file), "/io.max");
    (void)snprintf(value, sizeof(value), is_v2 ? "'%s rbps=max'" : "'%s 0'", limits->read_device);
    mend(f, facts, &(struct mending){
        .file = limits->read_file,
        .value = value,
        .property = "IOReadBandwidthMax=",
    });
}

void sl_limitchecks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    check_memory(findings, facts);
    check_cpu(findings, facts);
    check_disk(findings, facts);
}
