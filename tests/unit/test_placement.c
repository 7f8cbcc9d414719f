/*
 * Workers go where the topology says they should. The machines are synthetic: XML
 * from tests/golden/placement/machines.py, whose list is the first argument, and
 * descriptions in hwloc's own short form. Without hwloc, what needs them is skipped.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/pool.h"
#include "experts/placement.h"
#include "experts/quota.h"
#include "experts/topology.h"

#define THREADRIPPER "Package:1 NUMANode:4 L3Cache:2(size=33554432) Core:8 PU:2"
#define EPYC_2S "Package:2 NUMANode:4 L3Cache:2(size=33554432) Core:4 PU:2"
#define EPYC_NO_SMT "Package:1 NUMANode:4 L3Cache:3(size=33554432) Core:8 PU:1"
#define VIRTUAL "Package:1 PU:4"
#define ZEN3_LAPTOP "Package:1 NUMANode:1 L3Cache:1(size=16777216) Core:8 PU:2"

static const char *list; /* of XML machines */

struct machine {
    const char *name;    /* of an XML machine, or a description with a colon */
    const char *allowed; /* CPUs, or NULL for all */
    double quota;
    uint32_t n_threads;  /* asked for; 0: default */
    const char *want;    /* CPUs in order, as ranges with an optional /step */
};

static const struct machine machines[] = {
    { "9700x", NULL, 0, 0, "0-7" },
    { "9700x", NULL, 0, 16, "0-15" },
    { "3900x", NULL, 0, 0, "0-11" },       /* four domains of three */
    { "3900x", NULL, 0, 4, "0-3" },
    { "7950x-no-smt", NULL, 0, 0, "0-15" },
    { "7950x-no-smt", NULL, 0, 17, "17*-1" },
    { "x3d-second", NULL, 0, 8, "8-15" },  /* the domain with more L3 first */
    { "x3d-second", NULL, 0, 0, "8-15,0-7" },
    { "x3d-second", NULL, 0, 17, "8-15,0-7,24" },
    { "lunar-lake", NULL, 0, 0, "0-3" },
    { "lunar-lake", NULL, 0, 8, "0-7" },
    { EPYC_2S, NULL, 0, 0, "0-126/2" },
    { EPYC_2S, NULL, 0, 8, "0-14/2" },     /* one node */
    { EPYC_2S, "64-127", 0, 0, "64-126/2" }, /* the second package */
    { EPYC_NO_SMT, NULL, 0, 0, "0-95" },
    { VIRTUAL, NULL, 0, 0, "0-3" },        /* shows no cores: each CPU counts as one */
    { VIRTUAL, "1,3", 0, 0, "1,3" },
    { "7950x", NULL, 0, 0, "0-15" },
    { "7950x", NULL, 0, 8, "0-7" },        /* one L3 domain */
    { "7950x", NULL, 0, 9, "0-8" },
    { "7950x", NULL, 0, 20, "0-19" },      /* siblings 16-19 of cores 0-3 last */
    { "7950x", NULL, 0, 32, "0-31" },
    { "7950x", NULL, 0, 33, "33*-1" },     /* more than there are: not bound */
    { "9950x3d", NULL, 0, 0, "0-15" },
    { "9950x3d", NULL, 0, 12, "0-11" },
    { "strix-halo", NULL, 0, 0, "0-15" },
    { "strix-point", NULL, 0, 0, "0-11" }, /* Zen 5 first, Zen 5c after */
    { "strix-point", NULL, 0, 4, "0-3" },
    { "strix-point", NULL, 0, 14, "0-13" },
    { "strix-point", "4-11,16-23", 0, 0, "4-11" },
    { "hawk-point", NULL, 0, 0, "0-7" },
    { ZEN3_LAPTOP, NULL, 0, 0, "0-14/2" }, /* siblings numbered side by side */
    { ZEN3_LAPTOP, NULL, 0, 10, "0-14/2,1-3/2" },
    { THREADRIPPER, NULL, 0, 0, "0-126/2" },
    { THREADRIPPER, NULL, 0, 16, "0-30/2" }, /* one node */
    { THREADRIPPER, NULL, 0, 66, "0-126/2,1-3/2" },
    { "hybrid-laptop", NULL, 0, 0, "0-10/2" }, /* performance cores only */
    { "hybrid-laptop", NULL, 0, 8, "0-10/2,12-13" },
    { "hybrid-laptop", NULL, 0, 16, "0-10/2,12-21" },
    { "hybrid-laptop", NULL, 0, 17, "0-10/2,12-21,1" },
    { "hybrid-laptop", "12-21", 0, 0, "12-21" }, /* nothing but small cores */
    /* A container with a cpuset: six cores over both domains, one with its sibling. */
    { "7950x", "4-9,20", 0, 0, "4-9" },
    { "7950x", "4-9,20", 0, 7, "4-9,20" },
    { "7950x", "4-9,20", 0, 8, "8*-1" },
    { "7950x", "20", 0, 0, "20" }, /* a sibling alone counts as a core */
    /* A quota: no more workers than it feeds, and not bound, since others run too. */
    { "7950x", NULL, 1.5, 0, "2*-1" },
    { "7950x", NULL, 0.25, 0, "1*-1" },
    { "7950x", NULL, 1.5, 4, "4*-1" },  /* asked for is asked for */
    { "7950x", NULL, 16, 0, "16*-1" },
    { "7950x", "0-7", 4, 0, "4*-1" },   /* within a cpuset */
    { "7950x", "0-7", 8, 0, "0-7" },    /* which has no more */
    { "hybrid-laptop", NULL, 8, 0, "6*-1" },
    { "7950x", NULL, 32, 0, "0-15" },   /* no limit in effect */
    { "7950x", NULL, 400, 0, "0-15" },
};

/* Turn "0-14/2,20" or "3*-1" into numbers; returns how many. */
static uint32_t expand(const char *text, int32_t *cpus)
{
    uint32_t n = 0;
    int a, b, step, used;

    if (sscanf(text, "%d*-1%n", &a, &used) == 1 && strchr(text, '*')) {
        for (; n < (uint32_t)a; n++)
            cpus[n] = -1;
        return n;
    }
    for (;; text++) {
        step = 1;
        assert_int_equal(sscanf(text, "%d%n", &a, &used), 1);
        b = a;
        text += used;
        if (*text == '-') {
            assert_int_equal(sscanf(text, "-%d%n", &b, &used), 1);
            text += used;
        }
        if (*text == '/') {
            assert_int_equal(sscanf(text, "/%d%n", &step, &used), 1);
            text += used;
        }
        for (; a <= b; a += step)
            cpus[n++] = a;
        if (*text != ',')
            return n;
    }
}

/* The topology of a machine, or NULL without hwloc. */
static struct sl_topology *topology_of(const char *name, const char *allowed)
{
    struct sl_topology *topo = NULL;
    struct sl_diag diag = { "" };
    char path[2048];
    int r;

    snprintf(path, sizeof(path), "%.*s/%s.xml", (int)strlen(list) - 4, list, name);
    r = sl_topology_from_text(&topo, strchr(name, ':') ? name : path, allowed, &diag);
    if (r == -ENOTSUP) {
        print_message("skipped: %s\n", diag.text);
        return NULL;
    }
    if (r < 0)
        fail_msg("%s: %d: %s", name, r, diag.text);
    return topo;
}

static void workers_go_to_the_cores_in_order(void **state)
{
    int32_t want[SL_POOL_WORKERS_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        const struct machine *m = &machines[i];
        struct sl_topology *topo = topology_of(m->name, m->allowed);
        struct sl_placement plan;
        uint32_t n = expand(m->want, want);

        if (!topo)
            skip();
        topo->quota_cpus = m->quota;
        assert_int_equal(sl_placement_plan(&plan, topo, m->n_threads, NULL), 0);
        if (plan.n_threads != n)
            fail_msg("%s (%s, quota %g): %u workers, expected %u", m->name,
                     m->allowed ? m->allowed : "all", m->quota, plan.n_threads, n);
        for (uint32_t w = 0; w < n; w++)
            if (plan.cpus[w] != want[w])
                fail_msg("%s (%s): worker %u on CPU %d, expected %d", m->name,
                         m->allowed ? m->allowed : "all", w, plan.cpus[w], want[w]);
        sl_placement_done(&plan);
        sl_topology_close(topo);
    }
}

static void domains_nodes_and_kinds_are_seen(void **state)
{
    struct sl_topology *topo = topology_of(THREADRIPPER, NULL);
    struct sl_placement plan;

    (void)state;
    if (!topo)
        skip();
    assert_int_equal(topo->n_cores, 64);
    assert_int_equal(topo->n_cpus, 128);
    assert_int_equal(topo->n_l3, 8);
    assert_int_equal(topo->n_nodes, 4);
    assert_int_equal(topo->cores[63].l3, 7);
    assert_int_equal(topo->cores[16].node, 1);
    assert_int_equal(sl_placement_plan(&plan, topo, 0, NULL), 0);
    assert_int_equal(plan.nodes[15], 0);
    assert_int_equal(plan.nodes[48], 3);
    sl_placement_done(&plan);
    sl_topology_close(topo);

    topo = topology_of(EPYC_2S, NULL);
    assert_int_equal(topo->n_nodes, 8);
    assert_int_equal(topo->n_l3, 16);
    assert_int_equal(topo->cores[63].node, 7);
    sl_topology_close(topo);

    topo = topology_of("9950x3d", NULL);
    assert_int_equal(topo->cores[7].l3_bytes, 96 << 20);
    assert_int_equal(topo->cores[8].l3_bytes, 32 << 20);
    sl_topology_close(topo);

    topo = topology_of("hybrid-laptop", NULL);
    assert_int_equal(topo->n_kinds, 3);
    assert_true(topo->cores[0].kind == 2 && !topo->cores[0].is_small);
    assert_true(topo->cores[6].kind == 1 && topo->cores[6].is_small);
    assert_true(topo->cores[15].kind == 0 && topo->cores[15].is_small);
    assert_true(topo->cores[6].l3 == 0 && topo->cores[15].l3 == 1);
    assert_int_equal(topo->cores[15].l3_bytes, 0);
    sl_topology_close(topo);

    topo = topology_of("strix-point", "3-5"); /* no gaps in the numbers */
    assert_int_equal(topo->n_cores, 3);
    assert_int_equal(topo->n_l3, 2);
    assert_true(topo->cores[0].l3 == 0 && topo->cores[2].l3 == 1);
    assert_true(topo->cores[0].kind > topo->cores[1].kind && !topo->cores[1].is_small);
    sl_topology_close(topo);
}

static void memory_spreads_over_the_nodes_of_the_cores(void **state)
{
    static const struct {
        const char *name, *allowed;
        uint64_t want;
    } cases[] = {
        { THREADRIPPER, NULL, 0xF },
        { THREADRIPPER, "0-63", 0x3 },
        { THREADRIPPER, "32-40,127", 0xA }, /* nodes 1 and 3 */
        { THREADRIPPER, "96", 0x8 },
        { EPYC_2S, NULL, 0xFF },
        { EPYC_2S, "64-127", 0xF0 },
        { ZEN3_LAPTOP, NULL, 0x1 },
        { "7950x", NULL, 0x1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_topology *topo = topology_of(cases[i].name, cases[i].allowed);

        if (!topo)
            skip();
        assert_int_equal(topo->memory.bits[0], cases[i].want);
        assert_int_equal(topo->memory.n, __builtin_popcountll(cases[i].want));
        assert_int_equal(topo->memory.n, topo->n_nodes);
        sl_topology_close(topo);
    }
}

/* The policy of the mapping that begins at base, as the system tells it. */
static bool is_interleaved(const void *base)
{
    FILE *maps = fopen("/proc/self/numa_maps", "r");
    char line[512], want[32];
    bool r = false;

    snprintf(want, sizeof(want), "%lx interleave", (unsigned long)(uintptr_t)base);
    while (maps && fgets(line, sizeof(line), maps))
        r |= strncmp(line, want, strlen(want)) == 0;
    if (maps)
        fclose(maps);
    return r;
}

static void spreading_does_no_harm(void **state)
{
    size_t bytes = 4 << 20;
    struct sl_topology *topo;
    struct sl_diag diag = { "" };
    uint8_t *base;
    int r;

    (void)state;
    assert_int_equal(sl_topology_open(&topo, &diag), 0);
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    r = sl_topology_interleave(&topo->memory, base, bytes);
    assert_true(topo->memory.n >= 2 || r == 0);
    assert_true(topo->memory.n >= 2 || !is_interleaved(base));
    print_message("%u nodes: %d\n", topo->memory.n, r);
    /* as on a machine with two nodes, of which there may be one here */
    r = sl_topology_interleave(&(struct sl_topology_nodes){ .bits = { 3 }, .n = 2 }, base, bytes);
    assert_true(r == 0 || r == -ENOSYS || r == -EPERM || r == -EINVAL);
    if (access("/proc/self/numa_maps", R_OK) == 0)
        assert_int_equal(is_interleaved(base), r == 0);
    memset(base, 1, bytes);
    assert_int_equal(base[bytes - 1], 1);
    assert_int_equal(munmap(base, bytes), 0);
    sl_topology_close(topo);
}

/* The policy of the calling thread for new memory. */
static int own_policy(void)
{
    int mode = -1;

    assert_int_equal(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0), 0);
    return mode;
}

static void a_thread_spreads_until_it_is_told_otherwise(void **state)
{
    const struct sl_topology_nodes one = { .bits = { 1 }, .n = 1 };
    const struct sl_topology_nodes two = { .bits = { 3 }, .n = 2 };
    struct sl_topology_policy before;
    int r;

    (void)state;
    if (syscall(SYS_get_mempolicy, &r, NULL, 0, NULL, 0) < 0) {
        print_message("skipped: no memory policies here: %s\n", strerror(errno));
        skip();
    }
    assert_int_equal(own_policy(), MPOL_DEFAULT);
    assert_int_equal(sl_topology_spread(&one, &before), 0);
    assert_int_equal(own_policy(), MPOL_DEFAULT);
    sl_topology_unspread(&before);
    r = sl_topology_spread(&two, &before); /* of which there may be one here */
    assert_true(r == 0 || r == -ENOSYS || r == -EPERM || r == -EINVAL);
    assert_int_equal(own_policy(), r == 0 ? MPOL_INTERLEAVE : MPOL_DEFAULT);
    sl_topology_unspread(&before);
    assert_int_equal(own_policy(), MPOL_DEFAULT);
}

static void what_is_no_topology_is_refused(void **state)
{
    struct sl_topology *topo = NULL;
    struct sl_diag diag = { "" };
    int r = sl_topology_from_text(&topo, "nonsense", NULL, &diag);

    (void)state;
    if (r == -ENOTSUP)
        skip();
    assert_int_equal(r, -EBADMSG);
    assert_non_null(strstr(diag.text, "nonsense"));
    assert_int_equal(sl_topology_from_text(&topo, "/none/such.xml", NULL, &diag), -EBADMSG);
    assert_int_equal(sl_topology_from_text(&topo, "pu:4", "0-", &diag), 0); /* to the end */
    sl_topology_close(topo);
    topo = NULL;
    assert_int_equal(sl_topology_from_text(&topo, "pu:4", "4-7", &diag), -ERANGE);
    assert_int_equal(sl_topology_from_text(&topo, "pu:4", "1,x", &diag), -EBADMSG);
    assert_null(topo);
}

/* A topology of n single cores, without any help. */
static struct sl_topology flat(uint32_t n, struct sl_topology_core *cores)
{
    for (uint32_t i = 0; i < n; i++)
        cores[i] = (struct sl_topology_core){ .cpus = { (int32_t)i }, .n_cpus = 1 };
    return (struct sl_topology){ .cores = cores, .n_cores = n, .n_cpus = n, .n_l3 = 1,
                                 .n_nodes = 1, .n_kinds = 1 };
}

static void the_number_of_workers_has_a_limit(void **state)
{
    static struct sl_topology_core cores[SL_POOL_WORKERS_MAX + 44];
    struct sl_topology topo = flat(SL_POOL_WORKERS_MAX + 44, cores);
    struct sl_placement plan = { 0 };
    struct sl_diag diag = { "" };

    (void)state;
    assert_int_equal(sl_placement_plan(&plan, &topo, 0, &diag), 0);
    assert_int_equal(plan.n_threads, SL_POOL_WORKERS_MAX);
    sl_placement_done(&plan);
    assert_int_equal(sl_placement_plan(&plan, &topo, SL_POOL_WORKERS_MAX + 1, &diag), -ERANGE);
    assert_non_null(strstr(diag.text, "257 threads"));
    assert_null(plan.cpus);
    sl_placement_done(&plan);
}

static void this_machine_is_read_within_its_affinity(void **state)
{
    struct sl_topology *topo = NULL;
    struct sl_placement plan;
    struct sl_diag diag = { "" };
    cpu_set_t before, one;
    int cpu = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(sl_topology_open(&topo, &diag), 0);
    print_message("%s: %u cores, %u CPUs, %u L3, %u nodes, quota %g\n", topo->source,
                  topo->n_cores, topo->n_cpus, topo->n_l3, topo->n_nodes, topo->quota_cpus);
    assert_true(topo->n_cpus <= (uint32_t)CPU_COUNT(&before));
    assert_true(topo->n_cores >= 1 && topo->n_cores <= topo->n_cpus);
    for (uint32_t i = 0; i < topo->n_cores; i++)
        assert_true(CPU_ISSET(topo->cores[i].cpus[0], &before));
    sl_topology_close(topo);

    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    assert_int_equal(sl_topology_open(&topo, &diag), 0);
    assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
    assert_int_equal(topo->n_cpus, 1);
    topo->quota_cpus = 0;
    assert_int_equal(sl_placement_plan(&plan, topo, 0, &diag), 0);
    assert_int_equal(plan.n_threads, 1);
    assert_int_equal(plan.cpus[0], cpu);
    sl_placement_done(&plan);
    sl_topology_close(topo);
}

/* Write a file and the folders above it, below root. */
static void put(const char *root, const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(full, 0755) < 0)
            assert_int_equal(errno, EEXIST);
        *slash = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

struct recorded {
    double want;
    const char *cgroup, *mountinfo;
    const char *files[10]; /* path, text, path, text, ... */
};

#define V2_MOUNT "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define ROOT_MOUNT "24 1 254:1 / / rw,relatime - ext4 /dev/root rw\n"

static const struct recorded recorded[] = {
    { 0, NULL, NULL, { NULL } },
    { 0, "0::/\n", ROOT_MOUNT, { NULL } },
    /* v2: own, an ancestor's, none, and the root of the mount itself */
    { 1.5, "0::/app\n", ROOT_MOUNT V2_MOUNT,
      { "/sys/fs/cgroup/app/cpu.max", "150000 100000\n" } },
    { 0, "0::/app\n", V2_MOUNT, { "/sys/fs/cgroup/app/cpu.max", "max 100000\n" } },
    { 0.5, "0::/a/b/c\n", V2_MOUNT,
      { "/sys/fs/cgroup/a/b/c/cpu.max", "200000 100000\n",
        "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n",
        "/sys/fs/cgroup/a/cpu.max", "25000 50000\n" } },
    { 3, "0::/\n", V2_MOUNT, { "/sys/fs/cgroup/cpu.max", "300000 100000\n" } },
    /* v2 in a container whose path leads out of what is mounted */
    { 2, "0::/../../other\n", V2_MOUNT, { "/sys/fs/cgroup/cpu.max", "200000 100000\n" } },
    /* v1, with a mount that begins at the container's cgroup, and a space in its place */
    { 2.5, "4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n0::/docker/1f\n",
      "40 30 0:30 /docker/1f /sys/fs/cgroup/cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "41 30 0:31 /docker/1f /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
      { "/sys/fs/cgroup/cpu acct/cpu.cfs_quota_us", "250000\n",
        "/sys/fs/cgroup/cpu acct/cpu.cfs_period_us", "100000\n",
        "/sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "1\n",
        "/sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n" } },
    { 0, "4:cpu:/a\n", "40 30 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
      { "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n",
        "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n" } },
    /* nonsense is no limit */
    { 0, "0::/app\n:\n::\nx\n\n", "x\n - \n1 2 3 - cgroup2\n" V2_MOUNT,
      { "/sys/fs/cgroup/app/cpu.max", "100000 0\n" } },
    { 0, "0::/app\n", V2_MOUNT, { "/sys/fs/cgroup/app/cpu.max", "" } },
    { 0, "0::/app\n", V2_MOUNT, { "/sys/fs/cgroup/app/cpu.max", "-5 nan\n" } },
};

static void quotas_of_both_cgroup_versions_are_read(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
        const struct recorded *rec = &recorded[i];
        char root[128], command[160];
        double got;

        snprintf(root, sizeof(root), "%.100s/slquotaXXXXXX", tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(root));
        if (rec->cgroup)
            put(root, "/proc/self/cgroup", rec->cgroup);
        if (rec->mountinfo)
            put(root, "/proc/self/mountinfo", rec->mountinfo);
        for (int k = 0; k < 10 && rec->files[k]; k += 2)
            put(root, rec->files[k], rec->files[k + 1]);
        got = sl_quota_read(root);
        snprintf(command, sizeof(command), "rm -rf '%s'", root);
        assert_int_equal(system(command), 0);
        if (got != rec->want)
            fail_msg("system %zu: quota %g, expected %g", i, got, rec->want);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_go_to_the_cores_in_order),
        cmocka_unit_test(domains_nodes_and_kinds_are_seen),
        cmocka_unit_test(memory_spreads_over_the_nodes_of_the_cores),
        cmocka_unit_test(spreading_does_no_harm),
        cmocka_unit_test(a_thread_spreads_until_it_is_told_otherwise),
        cmocka_unit_test(what_is_no_topology_is_refused),
        cmocka_unit_test(the_number_of_workers_has_a_limit),
        cmocka_unit_test(this_machine_is_read_within_its_affinity),
        cmocka_unit_test(quotas_of_both_cgroup_versions_are_read),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: test_placement MACHINES.txt\n");
        return 2;
    }
    list = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
