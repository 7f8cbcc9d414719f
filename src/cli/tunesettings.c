/*
 * Cores are taken in the order in which the engine fills them. Domains are the L3 domains
 * of cores that are not small, in that order.
 *
 * Filling a domain first keeps what workers exchange in one cache; spreading over domains
 * gives each worker a larger share of what connects its chiplet to memory. Which is worth
 * more depends on the machine, so both are tried with the same numbers. Under a quota
 * nothing is bound, and only numbers differ.
 */
#include "cli/tunesettings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experts/placement.h"

struct list {
    struct sl_tune_setting *settings;
    uint32_t n;
    /* of the topology */
    const struct sl_topology *topo;
    uint32_t *order;      /* owned, [n_cores] */
    uint32_t n_big;       /* the first of these, or all, if all are small */
    uint32_t *domains;    /* owned, [n_domains] L3 domains of big cores */
    uint32_t n_domains;
};

static bool has(const int32_t *cpus, uint32_t n, int32_t cpu)
{
    for (uint32_t i = 0; i < n; i++)
        if (cpus[i] == cpu)
            return true;
    return false;
}

/* All of one are in the other, and as many. */
static bool is_same(const struct sl_tune_setting *a, const struct sl_tune_setting *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!has(b->cpus, b->n, a->cpus[i]))
            return false;
    return true;
}

/* The setting being made is the one behind the list's end; keep it if it is new. */
static struct sl_tune_setting *begin(struct list *list)
{
    struct sl_tune_setting *next = &list->settings[list->n];

    *next = (struct sl_tune_setting){.n = 0};
    return next;
}

static void keep(struct list *list)
{
    const struct sl_tune_setting *made = &list->settings[list->n];

    if (made->n == 0 || list->n + 1 == SL_TUNE_SETTINGS_MAX)
        return;
    for (uint32_t i = 0; i < list->n; i++)
        if (is_same(made, &list->settings[i]))
            return;
    list->n++;
}

static void add_cpu(struct sl_tune_setting *setting, int32_t cpu)
{
    if (setting->n < SL_POOL_WORKERS_MAX)
        setting->cpus[setting->n++] = cpu;
}

static const struct sl_topology_core *core_at(const struct list *list, uint32_t i)
{
    return &list->topo->cores[list->order[i]];
}

/* The first n cores, with their second and further CPUs up to n_rounds of each. */
static void add_cores(struct list *list, const char *name, uint32_t n, uint32_t n_rounds)
{
    struct sl_tune_setting *setting = begin(list);

    (void)snprintf(setting->name, sizeof(setting->name), "%s", name);
    for (uint32_t round = 0; round < n_rounds; round++)
        for (uint32_t i = 0; i < n; i++)
            if (round < core_at(list, i)->n_cpus)
                add_cpu(setting, core_at(list, i)->cpus[round]);
    keep(list);
}

static void add_unbound(struct list *list, const char *name, uint32_t n)
{
    struct sl_tune_setting *setting = begin(list);

    (void)snprintf(setting->name, sizeof(setting->name), "%s", name);
    for (uint32_t i = 0; i < n; i++)
        add_cpu(setting, -1);
    keep(list);
}

/* Big cores of a domain, at most `most`, in order. */
static uint32_t add_domain(const struct list *list, struct sl_tune_setting *setting,
                           uint32_t domain, uint32_t most)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->n_big && n < most; i++)
        if (core_at(list, i)->l3 == domain) {
            add_cpu(setting, core_at(list, i)->cpus[0]);
            n++;
        }
    return n;
}

static const struct sl_topology_core *first_core(const struct list *list, uint32_t domain)
{
    uint32_t i = 0;

    while (core_at(list, i)->l3 != domain)
        i++;
    return core_at(list, i);
}

static uint32_t count_cores(const struct list *list, uint32_t domain)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->n_big; i++)
        n += core_at(list, i)->l3 == domain;
    return n;
}

/* Domains that differ in nothing that can be seen need not be tried twice. */
static bool is_like_an_earlier_one(const struct list *list, uint32_t i_domain)
{
    const struct sl_topology_core *own = first_core(list, list->domains[i_domain]);

    for (uint32_t k = 0; k < i_domain; k++) {
        const struct sl_topology_core *other = first_core(list, list->domains[k]);

        if (own->l3_bytes == other->l3_bytes && own->kind == other->kind &&
            count_cores(list, own->l3) == count_cores(list, other->l3))
            return true;
    }
    return false;
}

static void add_domains(struct list *list)
{
    for (uint32_t i = 0; i < list->n_domains && list->n_domains > 1; i++) {
        struct sl_tune_setting *setting = begin(list);
        uint64_t bytes = first_core(list, list->domains[i])->l3_bytes;

        if (is_like_an_earlier_one(list, i))
            continue;
        (void)add_domain(list, setting, list->domains[i], UINT32_MAX);
        if (bytes)
            (void)snprintf(setting->name, sizeof(setting->name), "one L3 domain, %llu MiB",
                           (unsigned long long)(bytes >> 20));
        else
            (void)snprintf(setting->name, sizeof(setting->name), "one domain without L3");
        keep(list);
    }
    for (uint32_t n = 2; n < list->n_domains; n *= 2) {
        struct sl_tune_setting *setting = begin(list);

        (void)snprintf(setting->name, sizeof(setting->name), "%u L3 domains", n);
        for (uint32_t i = 0; i < n; i++)
            (void)add_domain(list, setting, list->domains[i], UINT32_MAX);
        keep(list);
    }
}

/* One part in `parts` of each domain's cores, at least one; of the only one too. */
static void add_part(struct list *list, const char *name, uint32_t parts)
{
    struct sl_tune_setting *setting = begin(list);

    (void)snprintf(setting->name, sizeof(setting->name), "%s", name);
    for (uint32_t i = 0; i < list->n_domains; i++) {
        uint32_t n = count_cores(list, list->domains[i]) / parts;

        (void)add_domain(list, setting, list->domains[i], n > 0 ? n : 1);
    }
    keep(list);
}

static void add_bound(struct list *list)
{
    const struct sl_topology *topo = list->topo;
    uint32_t n_rounds = SL_TOPOLOGY_CORE_CPUS_MAX;

    add_cores(list, list->n_big < topo->n_cores ? "one on each big core" : "one on each core",
              list->n_big, 1);
    add_cores(list, "one worker", 1, 1);
    add_domains(list);
    add_part(list, list->n_domains > 1 ? "half of each L3 domain" : "half of the cores", 2);
    add_part(list, list->n_domains > 1 ? "a quarter of each L3 domain" : "a quarter of the cores",
             4);
    add_cores(list, "all but one", list->n_big - 1, 1);
    add_cores(list, "small cores too", topo->n_cores, 1);
    add_cores(list, "SMT siblings too", list->n_big, n_rounds);
    add_cores(list, "every logical CPU", topo->n_cores, n_rounds);
    add_unbound(list, "not bound", list->settings[0].n);
}

/* Numbers alone, around what the quota feeds. */
static void add_shared(struct list *list, uint32_t n_usual)
{
    uint32_t fed = (uint32_t)list->topo->quota_cpus;
    char name[48];

    add_unbound(list, "as many as the quota feeds", n_usual);
    for (uint32_t n = 1; n < n_usual; n *= 2) {
        (void)snprintf(name, sizeof(name), "%u worker%s", n, n == 1 ? "" : "s");
        add_unbound(list, name, n);
    }
    add_unbound(list, "the quota rounded down", fed);
    if (2 * n_usual <= list->topo->n_cpus)
        add_unbound(list, "twice as many", 2 * n_usual);
    add_unbound(list, "one for each core", list->topo->n_cores);
}

static void find_domains(struct list *list)
{
    const struct sl_topology *topo = list->topo;

    for (uint32_t i = 0; i < topo->n_cores; i++)
        list->n_big += !topo->cores[i].is_small;
    if (list->n_big == 0)
        list->n_big = topo->n_cores;
    for (uint32_t i = 0; i < list->n_big; i++) {
        uint32_t k = 0;

        while (k < list->n_domains && list->domains[k] != core_at(list, i)->l3)
            k++;
        if (k == list->n_domains)
            list->domains[list->n_domains++] = core_at(list, i)->l3;
    }
}

int sl_tunesettings_list(struct sl_tune_setting settings[SL_TUNE_SETTINGS_MAX],
                         const struct sl_topology *topo)
{
    struct list list = {.settings = settings, .topo = topo};
    struct sl_placement usual = {0};
    int r = sl_placement_plan(&usual, topo, 0, NULL);

    list.order = sl_placement_order(topo);
    list.domains = calloc(topo->n_cores, sizeof(list.domains[0]));
    if (r == 0 && (!list.order || !list.domains))
        r = -ENOMEM;
    if (r == 0) {
        find_domains(&list);
        if (usual.cpus[0] < 0)
            add_shared(&list, usual.n_threads);
        else
            add_bound(&list);
    }
    free(list.order);
    free(list.domains);
    sl_placement_done(&usual);
    return r < 0 ? r : (int)list.n;
}
