/* Memory and what it gives, huge pages, locking, address space, swap. */
#include <inttypes.h>
#include <string.h>

#include "doctor/checks.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* Bytes per second that one core can be expected to read, and one channel of memory to give
 * (DDR4-3200: 25.6e9 at best). Below both something is wrong. */
#define CORE_RATE 6e9
#define CHANNEL_RATE 20e9
#define LOCK_BYTES_DEFAULT (2 * GIB) /* what every token needs of the largest files */
#define SWAP_USED_BYTES (512 * MIB)

static void find_who_holds(struct sl_finding *f)
{
    sl_finding_mend(f, "ps -eo pid,rss,comm --sort=-rss | head");
    sl_finding_advise(f, "shows who holds memory: end what is not needed");
}

/* What the model needs, held against what there is. */
static void judge_model(struct sl_finding *f, const struct sl_facts *facts)
{
    const struct sl_facts_memory *m = &facts->memory;
    const struct sl_facts_model *model = &facts->model;

    if (model->is_too_big) {
        uint64_t needed = model->min_bytes ? model->min_bytes : model->resident_bytes;

        sl_finding_raise(f, SL_FINDING_BAD, "%s cannot run: it needs %.1f GiB%s", model->name,
                         SL_CHECKS_GIB(needed), model->min_bytes ? " even when it streams" : "");
        if (needed < m->total_bytes)
            find_who_holds(f);
        else
            sl_finding_advise(f, "take a file of fewer bits per weight, or a smaller model");
    } else if (model->is_streaming) {
        sl_finding_note(f, "%s streams its experts; from %.1f GiB on it would not", model->name,
                        SL_CHECKS_GIB(model->resident_bytes));
        if (model->resident_bytes < m->total_bytes &&
            facts->limits.memory_left_bytes > model->resident_bytes) {
            sl_finding_raise(f, SL_FINDING_WARN, "experts are read from disk because other "
                                                 "programs hold the memory");
            find_who_holds(f);
        }
    } else {
        sl_finding_note(f, "%s fits", model->name);
    }
}

static void check_memory(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_memory *m = &facts->memory;
    struct sl_finding *f = sl_finding_add(findings, "memory", "memory");

    if (m->total_bytes == 0 || m->usable_bytes == SL_FACTS_NONE) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "the system does not tell");
        return;
    }
    f->value = (double)m->usable_bytes;
    f->unit = "bytes_available";
    sl_finding_note(f, "%.1f GiB", SL_CHECKS_GIB(m->total_bytes));
    sl_finding_note(f, "%.1f GiB of it for this process", SL_CHECKS_GIB(m->usable_bytes));
    if (facts->model.is_known) {
        judge_model(f, facts);
    } else if (m->available_bytes < GIB) {
        sl_finding_raise(f, SL_FINDING_BAD, "less than any model of some use needs");
        find_who_holds(f);
    } else if (m->available_bytes < m->total_bytes / 4) {
        sl_finding_raise(f, SL_FINDING_WARN, "other programs hold three quarters: fewer experts "
                                             "stay in memory");
        find_who_holds(f);
    }
}

static void check_bandwidth(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_memory *m = &facts->memory;
    double expected = m->n_threads * CORE_RATE < CHANNEL_RATE ? m->n_threads * CORE_RATE
                                                              : CHANNEL_RATE;
    struct sl_finding *f = sl_finding_add(findings, "memory_bandwidth", "memory bandwidth");

    if (!(m->bytes_per_s > 0)) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "not measured%s", facts->is_quick ? " (--quick)"
                                                             : ": no memory or threads for it");
        return;
    }
    f->value = m->bytes_per_s;
    f->unit = "bytes_per_s";
    sl_finding_note(f, "%.1f GB/s read by %" PRIu32 " thread%s", m->bytes_per_s * 1e-9,
                    m->n_threads, m->n_threads == 1 ? "" : "s");
    if (m->bytes_per_s >= expected)
        return;
    sl_finding_raise(f, m->bytes_per_s < expected / 3 ? SL_FINDING_BAD : SL_FINDING_WARN,
                     "decoding is bound by it: a model that reads 1.5 GB for a token gets %.1f "
                     "tokens per second at best", m->bytes_per_s / 1.5e9);
    if (facts->limits.cpus > 0 && facts->limits.cpus < m->n_threads) {
        sl_finding_advise(f, "the threads do not get the processor time for more: see cgroup CPU "
                             "time");
        return;
    }
    if (facts->cpu.is_virtual) {
        sl_finding_advise(f, "other work on the machine, or on its host, may use it up: measure "
                             "again when it is idle, then on the host");
        return;
    }
    sl_finding_mend(f, "sudo dmidecode -t memory | grep -E 'Locator|Size|Speed'");
    sl_finding_advise(f, "shows the slots: fill one of each channel with modules alike, switch "
                         "on EXPO or XMP in the firmware; or other work uses it up: measure "
                         "again when the machine is idle");
}

static void check_huge(struct sl_findings *findings, const struct sl_facts_memory *m)
{
    struct sl_finding *f = sl_finding_add(findings, "huge_pages", "huge pages");
    bool is_never = strcmp(m->thp, "never") == 0;

    if (!m->thp[0])
        sl_finding_note(f, "the kernel has no transparent huge pages, or hides them");
    else
        sl_finding_note(f, "transparent: %s%s", m->thp, m->is_thp_off ? ", off for this process"
                                                                      : "");
    if (m->thp[0] && !is_never && !m->is_thp_off)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "weights and experts lie on pages of 4 KiB: every matrix "
                     "waits for more page-table walks, and reads from disk are cut into small "
                     "pieces");
    if (is_never) {
        sl_finding_mend(f, "echo madvise | sudo tee "
                           "/sys/kernel/mm/transparent_hugepage/enabled");
        sl_finding_advise(f, "until the next start; transparent_hugepage=madvise on the kernel's "
                             "command line for good");
    } else if (m->is_thp_off) {
        sl_finding_advise(f, "the program that started this one has switched them off "
                             "(PR_SET_THP_DISABLE): start sluice from another");
    } else {
        sl_finding_advise(f, "it takes a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
    }
}

static void check_reserved(struct sl_findings *findings, const struct sl_facts_memory *m)
{
    struct sl_finding *f = sl_finding_add(findings, "reserved_pages", "reserved pages");

    if (m->huge_bytes == 0) {
        sl_finding_note(f, "none");
        return;
    }
    sl_finding_note(f, "%.1f GiB set aside as huge pages", SL_CHECKS_GIB(m->huge_bytes));
    if (m->huge_bytes < m->total_bytes / 32)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "nobody else can have them, and Sluice takes transparent "
                     "ones: so much less for experts");
    sl_finding_mend(f, "sudo sysctl vm.nr_hugepages=0");
    sl_finding_advise(f, "if no other program needs them; those of 1 GiB are on the kernel's "
                         "command line");
}

static void mend_memlock(struct sl_finding *f, const struct sl_facts *facts)
{
    const char *unit = facts->system.unit, *runner = sl_checks_runner(facts);

    if (runner) {
        sl_finding_mend(f, "%s run --ulimit memlock=-1:-1 ...", runner);
        sl_finding_advise(f, "when the container is made anew; in a compose file ulimits: "
                             "memlock: -1");
    } else if (facts->system.container != SL_FACTS_NO_CONTAINER) {
        sl_finding_advise(f, "raise it (memlock) where the container is configured");
    } else if (unit[0]) {
        sl_finding_mend(f, "sudo mkdir -p /etc/systemd/system/%s.d", unit);
        sl_finding_mend(f, "printf '[Service]\\nLimitMEMLOCK=infinity\\n' | sudo tee "
                           "/etc/systemd/system/%s.d/memlock.conf", unit);
        sl_finding_mend(f, "sudo systemctl daemon-reload");
        sl_finding_mend(f, "sudo systemctl restart %s", unit);
    } else if (facts->memory.lock_max_bytes == SL_FACTS_NONE) {
        sl_finding_mend(f, "ulimit -l unlimited");
        sl_finding_advise(f, "in the shell that starts sluice");
    } else {
        sl_finding_mend(f, "sudo prlimit --pid $$ --memlock=unlimited");
        sl_finding_advise(f, "for this shell; for good: echo \"$USER - memlock unlimited\" | sudo "
                             "tee /etc/security/limits.d/90-memlock.conf, then log in anew");
    }
}

static void check_memlock(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_memory *m = &facts->memory;
    struct sl_finding *f = sl_finding_add(findings, "memlock", "memlock");
    uint64_t needed = facts->model.is_known ? facts->model.shared_bytes : LOCK_BYTES_DEFAULT;

    if (m->lock_bytes == SL_FACTS_NONE) {
        sl_finding_note(f, "unlimited");
        return;
    }
    f->value = (double)m->lock_bytes;
    f->unit = "bytes";
    sl_finding_note(f, "%" PRIu64 " KiB", m->lock_bytes / 1024);
    if (m->may_lock) {
        sl_finding_note(f, "which does not bind this process (CAP_IPC_LOCK)");
        return;
    }
    if (m->lock_bytes >= needed)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "what every token needs (%.1f GiB) is not locked: the "
                     "system may swap it out, tokens then wait for the disk; buffers are not "
                     "registered with io_uring, reads take a little more processor time",
                     SL_CHECKS_GIB(needed));
    mend_memlock(f, facts);
}

static void check_address_space(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_memory *m = &facts->memory;
    struct sl_finding *f = sl_finding_add(findings, "address_space", "address space");
    uint64_t needed = facts->model.is_known ? facts->model.weight_bytes : m->total_bytes;
    uint64_t left = m->commit_bytes > m->committed_bytes ? m->commit_bytes - m->committed_bytes
                                                         : 0;

    if (m->address_bytes == SL_FACTS_NONE)
        sl_finding_note(f, "unlimited");
    else
        sl_finding_note(f, "%.1f GiB", SL_CHECKS_GIB(m->address_bytes));
    if (m->address_bytes < needed + GIB) { /* files are mapped whole */
        sl_finding_raise(f, SL_FINDING_BAD, "files of models are mapped, and larger ones than "
                                            "this cannot be opened");
        sl_finding_mend(f, "ulimit -v unlimited");
        sl_finding_advise(f, "in the shell that starts sluice; LimitAS=infinity in a unit");
    }
    if (m->overcommit != 2)
        return;
    sl_finding_note(f, "overcommit is off, %.1f GiB may still be asked for", SL_CHECKS_GIB(left));
    if (left >= m->usable_bytes / 2)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "memory that is there cannot be had for experts");
    sl_finding_mend(f, "sudo sysctl vm.overcommit_memory=0");
    sl_finding_advise(f, "a file in /etc/sysctl.d with vm.overcommit_memory = 0 for good");
}

static void check_swap(struct sl_findings *findings, const struct sl_facts_memory *m)
{
    struct sl_finding *f = sl_finding_add(findings, "swap", "swap");

    if (m->swap_bytes == 0) {
        sl_finding_note(f, "none");
        return;
    }
    sl_finding_note(f, "%.1f GiB%s", SL_CHECKS_GIB(m->swap_bytes),
                    m->is_swap_in_memory ? " in compressed memory (zram)" : "");
    sl_finding_note(f, "%.1f GiB in use", SL_CHECKS_GIB(m->swap_used_bytes));
    if (m->swap_used_bytes < SWAP_USED_BYTES && m->swap_used_bytes < m->swap_bytes / 2)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "memory has been short: what was swapped out comes back "
                     "page by page when it is touched, and a model's weights may be among it");
    if (m->available_bytes > m->swap_used_bytes + GIB) {
        sl_finding_mend(f, "sudo swapoff -a");
        sl_finding_mend(f, "sudo swapon -a");
        sl_finding_advise(f, "brings it back, memory is free for it; then give sluice less with "
                             "--ram");
    } else {
        find_who_holds(f);
    }
}

void sl_memchecks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    check_memory(findings, facts);
    check_bandwidth(findings, facts);
    check_huge(findings, &facts->memory);
    check_reserved(findings, &facts->memory);
    check_memlock(findings, facts);
    check_address_space(findings, facts);
    check_swap(findings, &facts->memory);
}
