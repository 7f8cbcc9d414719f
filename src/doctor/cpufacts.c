/*
 * Cores and L3 domains are the topology's (hwloc), which sees what this process may use; how
 * many the machine has, siblings, governors and boost are in /sys.
 *
 * A CPU is the first of its core if its list of siblings begins with its own number: those are
 * counted, and named for those who must choose one of each.
 */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/facts.h"
#include "doctor/sysfile.h"
#include "experts/topology.h"

#define CPU_FOLDER "/sys/devices/system/cpu"

static void read_topology(struct sl_facts_cpu *cpu)
{
    struct sl_topology *topo;
    uint32_t l3_seen = 0;

    if (sl_topology_open(&topo, NULL) < 0)
        return;
    cpu->is_known = true;
    cpu->is_flat = strcmp(topo->source, "flat") == 0;
    cpu->n_cores = topo->n_cores;
    cpu->n_cpus = topo->n_cpus;
    cpu->n_l3 = topo->n_l3;
    cpu->n_nodes = topo->n_nodes;
    for (uint32_t i = 0; i < topo->n_cores; i++)
        if (topo->cores[i].l3 >= l3_seen) { /* those of a domain lie together */
            cpu->l3_bytes += topo->cores[i].l3_bytes;
            l3_seen = topo->cores[i].l3 + 1;
        }
    sl_topology_close(topo);
}

/* Names of a folder that are a prefix and a number: the number, or -1. */
static long numbered(const char *name, const char *prefix)
{
    size_t len = strlen(prefix);
    char *end;
    long number;

    if (strncmp(name, prefix, len) != 0 || name[len] < '0' || name[len] > '9')
        return -1;
    number = strtol(name + len, &end, 10);
    return *end == '\0' && number < SL_TOPOLOGY_CPUS_MAX ? number : -1;
}

/* One CPU of each core, as a list; "" where it does not fit. */
static void list_cores(struct sl_facts_cpu *cpu, const struct sl_topology_cpus *firsts)
{
    size_t len = 0;

    for (int32_t i = 0; i < SL_TOPOLOGY_CPUS_MAX; i++) {
        if (!sl_topology_cpus_has(firsts, i))
            continue;
        len += (size_t)snprintf(cpu->spread_cpus + len, sizeof(cpu->spread_cpus) - len, "%s%d",
                                len ? "," : "", i);
        if (len >= sizeof(cpu->spread_cpus)) {
            cpu->spread_cpus[0] = '\0';
            return;
        }
    }
}

static void count_machine(struct sl_facts_cpu *cpu, const char *root)
{
    struct sl_topology_cpus firsts = {.n = 0};
    char path[PATH_MAX], list[64];
    struct dirent *entry;
    DIR *folder;

    if (snprintf(path, sizeof(path), "%s" CPU_FOLDER, root) >= (int)sizeof(path))
        return;
    folder = opendir(path);
    while (folder && (entry = readdir(folder)) != NULL) {
        long number = numbered(entry->d_name, "cpu");

        (void)snprintf(path, sizeof(path), CPU_FOLDER "/cpu%ld/topology/thread_siblings_list",
                       number);
        if (number < 0 || !sl_sysfile_line(root, path, list, sizeof(list)))
            continue; /* switched off: it has no topology */
        cpu->n_machine_cpus++;
        if (strtol(list, NULL, 10) != number || list[0] < '0' || list[0] > '9')
            continue;
        cpu->n_machine_cores++;
        sl_topology_cpus_add(&firsts, (int32_t)number);
    }
    if (folder)
        (void)closedir(folder);
    list_cores(cpu, &firsts);
}

static void add_policy(struct sl_facts_cpu *cpu, const struct sl_facts_policy *policy)
{
    uint32_t i = 0;

    while (i < cpu->n_policies && (strcmp(cpu->policies[i].governor, policy->governor) != 0 ||
                                   strcmp(cpu->policies[i].driver, policy->driver) != 0 ||
                                   strcmp(cpu->policies[i].preference, policy->preference) != 0))
        i++;
    if (i == SL_FACTS_POLICIES_MAX)
        return; /* more kinds than there are governors: made up */
    if (i == cpu->n_policies)
        cpu->policies[cpu->n_policies++] = *policy;
    cpu->policies[i].n++;
}

static void read_policies(struct sl_facts_cpu *cpu, const char *root)
{
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *folder;

    if (snprintf(path, sizeof(path), "%s" CPU_FOLDER "/cpufreq", root) >= (int)sizeof(path))
        return;
    folder = opendir(path);
    while (folder && (entry = readdir(folder)) != NULL) {
        struct sl_facts_policy policy = {.n = 0};
        long number = numbered(entry->d_name, "policy");
        int len = snprintf(path, sizeof(path), CPU_FOLDER "/cpufreq/policy%ld/", number);

        if (number < 0)
            continue;
        (void)snprintf(path + len, sizeof(path) - (size_t)len, "scaling_governor");
        if (!sl_sysfile_line(root, path, policy.governor, sizeof(policy.governor)) ||
            !policy.governor[0])
            continue;
        (void)snprintf(path + len, sizeof(path) - (size_t)len, "scaling_driver");
        (void)sl_sysfile_line(root, path, policy.driver, sizeof(policy.driver));
        (void)snprintf(path + len, sizeof(path) - (size_t)len, "energy_performance_preference");
        (void)sl_sysfile_line(root, path, policy.preference, sizeof(policy.preference));
        add_policy(cpu, &policy);
    }
    if (folder)
        (void)closedir(folder);
}

static void read_boost(struct sl_facts_cpu *cpu, const char *root)
{
    uint64_t value;

    cpu->boost = -1;
    if (sl_sysfile_number(root, CPU_FOLDER "/cpufreq/boost", &value)) {
        cpu->boost = value != 0;
    } else if (sl_sysfile_number(root, CPU_FOLDER "/intel_pstate/no_turbo", &value)) {
        cpu->boost = value == 0;
        cpu->is_boost_inverted = true;
    }
}

void sl_cpufacts_gather(struct sl_facts_cpu *ret, const char *root)
{
    char flags[4096], name[sizeof(ret->name)];

    *ret = (struct sl_facts_cpu){.level = sl_cpu_best()};
    (void)sl_sysfile_key(root, "/proc/cpuinfo", "model name", name, sizeof(name));
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name + strspn(name, ": "));
    if (sl_sysfile_key(root, "/proc/cpuinfo", "flags", flags, sizeof(flags)))
        ret->is_virtual = strstr(flags, " hypervisor") != NULL;
    (void)sl_sysfile_line(root, CPU_FOLDER "/smt/control", ret->smt, sizeof(ret->smt));
    read_topology(ret);
    count_machine(ret, root);
    read_policies(ret, root);
    read_boost(ret, root);
}
