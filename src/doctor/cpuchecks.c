/* CPU level, cores, L3 domains, SMT, clock. */
#include <inttypes.h>
#include <string.h>

#include "doctor/checks.h"

#define CPU_FILES "/sys/devices/system/cpu/cpu*/cpufreq/"

static void check_level(struct sl_findings *findings, const struct sl_facts_cpu *cpu)
{
    struct sl_finding *f = sl_finding_add(findings, "cpu_level", "CPU level");

    sl_finding_note(f, "%s", sl_cpu_level_name(cpu->level));
    if (cpu->name[0])
        sl_finding_note(f, "%s", cpu->name);
    if (cpu->level != SL_CPU_C)
        return;
    sl_finding_raise(f, SL_FINDING_BAD, "without AVX2, FMA, F16C and BMI2 the kernels are plain C, "
                                        "about twenty times slower");
    if (cpu->is_virtual) {
        sl_finding_mend(f, "virt-xml VM --edit --cpu host-passthrough");
        sl_finding_advise(f, "on the host (libvirt), or qm set VMID --cpu host (Proxmox), or "
                             "-cpu host (QEMU): the virtual machine hides what its host can; "
                             "start it anew afterwards");
    } else {
        sl_finding_advise(f, "it takes another machine: x86-64 CPUs have AVX2 since 2013 (Intel) "
                             "and 2015 (AMD)");
    }
}

/* Let a process have all CPUs again. */
static void mend_affinity(struct sl_finding *f, const struct sl_facts *facts)
{
    const char *runner = sl_checks_runner(facts);
    uint32_t last = facts->cpu.n_machine_cpus - 1;

    if (runner) {
        sl_finding_mend(f, "%s update --cpuset-cpus 0-%" PRIu32 " CONTAINER", runner, last);
        sl_finding_advise(f, "on the host");
    } else if (facts->system.container != SL_FACTS_NO_CONTAINER) {
        sl_finding_advise(f, "raise it where the container is configured");
    } else if (facts->system.unit[0]) {
        sl_finding_mend(f, "sudo systemctl set-property %s AllowedCPUs=",
                        facts->system.unit);
        sl_finding_advise(f, "and CPUAffinity= must not be in the unit");
    } else {
        sl_finding_mend(f, "taskset -pc 0-%" PRIu32 " $$", last);
        sl_finding_advise(f, "for this shell, unless its cgroup's cpuset forbids it");
    }
}

static void check_cores(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_cpu *cpu = &facts->cpu;
    struct sl_finding *f = sl_finding_add(findings, "cores", "cores");

    if (!cpu->is_known) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "the system does not tell");
        return;
    }
    sl_finding_note(f, "%" PRIu32 " core%s", cpu->n_cores, cpu->n_cores == 1 ? "" : "s");
    sl_finding_note(f, "%" PRIu32 " logical CPU%s", cpu->n_cpus, cpu->n_cpus == 1 ? "" : "s");
    if (cpu->n_nodes > 1)
        sl_finding_note(f, "%" PRIu32 " NUMA nodes", cpu->n_nodes);
    if (cpu->n_cpus < cpu->n_machine_cpus) {
        sl_finding_note(f, "of %" PRIu32 " that the machine has", cpu->n_machine_cpus);
        sl_finding_raise(f, SL_FINDING_WARN, "the others are forbidden to this process: prompts "
                         "are read that much slower, and few cores cannot use all of the "
                         "memory's bandwidth");
        mend_affinity(f, facts);
    } else if (cpu->n_cores == 1) {
        sl_finding_raise(f, SL_FINDING_WARN, "one core reads memory slower than memory can give");
        sl_finding_advise(f, cpu->is_virtual ? "give the virtual machine more of its host's cores"
                                             : "it takes another machine");
    }
}

static void check_l3(struct sl_findings *findings, const struct sl_facts_cpu *cpu)
{
    struct sl_finding *f = sl_finding_add(findings, "l3_domains", "L3 domains");

    if (!cpu->is_known) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "the system does not tell");
        return;
    }
    if (cpu->is_flat) {
        sl_finding_note(f, "not seen: built without hwloc");
        sl_finding_raise(f, SL_FINDING_WARN, "threads go to any CPUs: beside each other on one "
                         "core, and across L3 domains, which costs a sixth to a quarter on "
                         "desktop CPUs with two of them");
        sl_finding_mend(f, "sudo apt install libhwloc-dev");
        sl_finding_advise(f, "then build again (Fedora: hwloc-devel, Arch: hwloc); until then name "
                             "one CPU of each core with --cpus");
        return;
    }
    sl_finding_note(f, "%" PRIu32, cpu->n_l3);
    if (cpu->l3_bytes)
        sl_finding_note(f, "%" PRIu64 " MiB in all", cpu->l3_bytes >> 20);
    else if (cpu->is_virtual)
        sl_finding_note(f, "the virtual machine shows no cache");
    if (cpu->n_l3 > 1)
        sl_finding_note(f, "threads fill one after the other");
}

/* Both siblings of a core are allowed, while other cores are not: what happens to who takes the
 * first CPUs of a machine that numbers siblings one after the other. */
static void check_smt(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_cpu *cpu = &facts->cpu;
    struct sl_finding *f = sl_finding_add(findings, "smt", "SMT");
    uint32_t n_spread = cpu->n_cpus < cpu->n_machine_cores ? cpu->n_cpus : cpu->n_machine_cores;

    if (!cpu->is_known || cpu->is_flat) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "the system does not tell");
        return;
    }
    if (cpu->n_cpus > cpu->n_cores)
        sl_finding_note(f, "on, siblings are left free");
    else if (strcmp(cpu->smt, "on") == 0)
        sl_finding_note(f, "on, one CPU of each core is allowed");
    else
        sl_finding_note(f, "%s", strcmp(cpu->smt, "off") == 0 || strcmp(cpu->smt, "forceoff") == 0
                                     ? "off" : "none");
    if (cpu->n_cpus <= cpu->n_cores || n_spread <= cpu->n_cores)
        return;
    sl_finding_note(f, "the %" PRIu32 " CPUs that are allowed share %" PRIu32 " cores", cpu->n_cpus,
                    cpu->n_cores);
    sl_finding_raise(f, SL_FINDING_WARN, "as many CPUs of different cores would be %" PRIu32
                     " cores: siblings share one core's arithmetic", n_spread);
    if (sl_checks_runner(facts) && cpu->spread_cpus[0])
        sl_finding_mend(f, "%s update --cpuset-cpus %s CONTAINER", sl_checks_runner(facts),
                        cpu->spread_cpus);
    else if (cpu->spread_cpus[0])
        sl_finding_mend(f, "taskset -pc %s $$", cpu->spread_cpus);
    else
        sl_finding_advise(f, "allow one CPU of each core, as lscpu -e shows them");
}

/* How good a policy is, and what is wrong with it; NULL: nothing. */
static enum sl_finding_state judge_policy(const struct sl_facts_policy *p, const char **ret_why)
{
    bool is_hardware = strcmp(p->driver, "intel_pstate") == 0 ||
                       strcmp(p->driver, "amd-pstate-epp") == 0 ||
                       strcmp(p->driver, "amd_pstate_epp") == 0;

    *ret_why = NULL;
    if (strcmp(p->governor, "powersave") == 0 && !is_hardware) {
        *ret_why = "the clock stays at its lowest, whatever there is to do";
        return SL_FINDING_BAD;
    }
    if (strcmp(p->governor, "powersave") == 0 && (strcmp(p->preference, "power") == 0 ||
                                                  strcmp(p->preference, "balance_power") == 0)) {
        *ret_why = "the CPU prefers a low clock to speed";
        return SL_FINDING_WARN;
    }
    if (strcmp(p->governor, "conservative") == 0 || strcmp(p->governor, "userspace") == 0) {
        *ret_why = strcmp(p->governor, "userspace") == 0
                       ? "the clock stays where somebody has set it"
                       : "the clock rises slowly when there is work, token by token";
        return SL_FINDING_WARN;
    }
    return SL_FINDING_OK;
}

static void check_governor(struct sl_findings *findings, const struct sl_facts_cpu *cpu)
{
    struct sl_finding *f = sl_finding_add(findings, "governor", "governor");
    bool is_governor = false, is_preference = false;

    if (cpu->n_policies == 0) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, cpu->is_virtual ? "the clock is the host's affair, run sluice doctor "
                                             "there" : "the system shows none");
        return;
    }
    for (uint32_t i = 0; i < cpu->n_policies; i++) {
        const struct sl_facts_policy *p = &cpu->policies[i];
        const char *why;
        enum sl_finding_state state = judge_policy(p, &why);

        sl_finding_note(f, "%s%s%s%s%s%s", p->governor, p->driver[0] ? " (" : "", p->driver,
                        p->preference[0] ? " " : "", p->preference, p->driver[0] ? ")" : "");
        if (!why)
            continue;
        if (!is_governor && !is_preference)
            sl_finding_raise(f, state, "%s", why);
        else if (state > f->state)
            f->state = state;
        if (strcmp(p->governor, "powersave") == 0 && state == SL_FINDING_WARN)
            is_preference = true;
        else
            is_governor = true;
    }
    if (is_governor)
        sl_finding_mend(f, "echo performance | sudo tee " CPU_FILES "scaling_governor");
    if (is_preference)
        sl_finding_mend(f, "echo balance_performance | sudo tee " CPU_FILES
                           "energy_performance_preference");
    if (is_governor || is_preference)
        sl_finding_advise(f, "until the next start; power-profiles-daemon or tuned may set it "
                             "back: powerprofilesctl set performance then");
}

static void check_boost(struct sl_findings *findings, const struct sl_facts_cpu *cpu)
{
    struct sl_finding *f = sl_finding_add(findings, "boost", "boost");

    if (cpu->boost < 0) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, cpu->is_virtual ? "the clock is the host's affair"
                                           : "the system does not tell");
        return;
    }
    sl_finding_note(f, cpu->boost ? "on" : "off");
    if (cpu->boost)
        return;
    sl_finding_raise(f, SL_FINDING_WARN, "the clock stays at its nominal rate: long prompts, which "
                     "computing bounds, are read that much slower");
    if (cpu->is_boost_inverted)
        sl_finding_mend(f, "echo 0 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo");
    else
        sl_finding_mend(f, "echo 1 | sudo tee /sys/devices/system/cpu/cpufreq/boost");
    sl_finding_advise(f, "until the next start; if it is refused, the firmware has it switched "
                         "off");
}

void sl_cpuchecks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    check_level(findings, &facts->cpu);
    check_cores(findings, facts);
    check_l3(findings, &facts->cpu);
    check_smt(findings, facts);
    check_governor(findings, &facts->cpu);
    check_boost(findings, &facts->cpu);
}
