/*
 * A machine without fault gets no complaint, and each check has at least one made-up machine on
 * which it must complain: with the right state, what it found, a cost, and the command (or, where
 * none can be, advice) that mends it. Commands must be such that a shell takes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor/checks.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A desktop of eight cores with nothing wrong. */
static void make_good(struct sl_facts *facts)
{
    *facts = (struct sl_facts){
        .cpu = {.name = "AMD Ryzen 7 9700X", .level = SL_CPU_AVX512, .is_known = true,
                .n_cores = 8, .n_cpus = 16, .n_l3 = 1, .n_nodes = 1, .l3_bytes = 32 * MIB,
                .n_machine_cores = 8, .n_machine_cpus = 16, .spread_cpus = "0,1,2,3,4,5,6,7",
                .smt = "on", .n_policies = 1, .boost = 1,
                .policies = {{.governor = "powersave", .driver = "amd-pstate-epp",
                              .preference = "balance_performance", .n = 16}}},
        .memory = {.total_bytes = 32 * GIB, .available_bytes = 28 * GIB,
                   .usable_bytes = 28 * GIB, .bytes_per_s = 62e9, .n_threads = 8,
                   .thp = "madvise", .lock_bytes = SL_FACTS_NONE,
                   .lock_max_bytes = SL_FACTS_NONE, .address_bytes = SL_FACTS_NONE,
                   .swap_bytes = 8 * GIB},
        .limits = {.memory_bytes = SL_FACTS_NONE, .memory_left_bytes = SL_FACTS_NONE,
                   .read_bytes_per_s = SL_FACTS_NONE},
        .system = {.kernel = "6.12.8-amd64"},
        .places = {{.path = "/home/a/models/lfm2.gguf", .file_bytes = 14 * GIB, .type = "ext4",
                    .device = "nvme0n1p2", .source = "/dev/nvme0n1p2", .is_direct = true,
                    .bytes_per_s = 6.2e9}},
        .n_places = 1,
    };
}

/* A model of 14 GB that streams, fits or does not. */
static void add_model(struct sl_facts *facts)
{
    facts->model = (struct sl_facts_model){
        .is_known = true, .name = "lfm2:24b", .weight_bytes = 13 * GIB, .shared_bytes = 600 * MIB,
        .min_bytes = 2 * GIB, .resident_bytes = 15 * GIB};
}

static void no_avx(struct sl_facts *f) { f->cpu.level = SL_CPU_C; }
static void no_avx_virtual(struct sl_facts *f)
{
    f->cpu.level = SL_CPU_C;
    f->cpu.is_virtual = true;
}
static void few_cpus(struct sl_facts *f)
{
    f->cpu.n_cores = 4;
    f->cpu.n_cpus = 4;
}
static void few_cpus_docker(struct sl_facts *f)
{
    few_cpus(f);
    f->system.container = SL_FACTS_DOCKER;
}
static void few_cpus_unit(struct sl_facts *f)
{
    few_cpus(f);
    strcpy(f->system.unit, "sluice.service");
}
static void one_core(struct sl_facts *f)
{
    f->cpu.n_cores = f->cpu.n_cpus = f->cpu.n_machine_cores = f->cpu.n_machine_cpus = 1;
}
static void no_hwloc(struct sl_facts *f) { f->cpu.is_flat = true; }
static void siblings(struct sl_facts *f) /* CPUs 0-7 of a machine that numbers siblings in turn */
{
    f->cpu.n_cores = 4;
    f->cpu.n_cpus = 8;
    strcpy(f->cpu.spread_cpus, "0,2,4,6,8,10,12,14");
}
static void siblings_podman(struct sl_facts *f)
{
    siblings(f);
    f->system.container = SL_FACTS_PODMAN;
}
static void siblings_many(struct sl_facts *f)
{
    siblings(f);
    f->cpu.spread_cpus[0] = '\0';
}

static void set_policy(struct sl_facts *f, const char *governor, const char *driver,
                       const char *preference)
{
    struct sl_facts_policy *p = &f->cpu.policies[0];

    (void)snprintf(p->governor, sizeof(p->governor), "%s", governor);
    (void)snprintf(p->driver, sizeof(p->driver), "%s", driver);
    (void)snprintf(p->preference, sizeof(p->preference), "%s", preference);
}
static void lowest_clock(struct sl_facts *f) { set_policy(f, "powersave", "acpi-cpufreq", ""); }
static void passive_driver(struct sl_facts *f) { set_policy(f, "powersave", "intel_cpufreq", ""); }
static void sparing(struct sl_facts *f) { set_policy(f, "powersave", "intel_pstate", "power"); }
static void slow_rise(struct sl_facts *f) { set_policy(f, "conservative", "acpi-cpufreq", ""); }
static void set_clock(struct sl_facts *f) { set_policy(f, "userspace", "acpi-cpufreq", ""); }
static void some_lowest(struct sl_facts *f) /* two kinds: the worse counts */
{
    f->cpu.policies[1] = f->cpu.policies[0];
    set_policy(f, "powersave", "acpi-cpufreq", "");
    f->cpu.n_policies = 2;
}
static void no_boost(struct sl_facts *f) { f->cpu.boost = 0; }
static void no_turbo(struct sl_facts *f)
{
    f->cpu.boost = 0;
    f->cpu.is_boost_inverted = true;
}

static void memory_taken(struct sl_facts *f)
{
    f->memory.available_bytes = f->memory.usable_bytes = 7 * GIB;
}
static void memory_gone(struct sl_facts *f)
{
    f->memory.available_bytes = f->memory.usable_bytes = 900 * MIB;
}
static void model_too_big(struct sl_facts *f)
{
    memory_gone(f);
    add_model(f);
    f->model.is_too_big = true;
}
static void model_far_too_big(struct sl_facts *f)
{
    add_model(f);
    f->model.is_too_big = true;
    f->model.min_bytes = 40 * GIB;
}
static void model_streams_beside_others(struct sl_facts *f)
{
    memory_taken(f);
    add_model(f);
    f->model.is_streaming = true;
}
static void slow_memory(struct sl_facts *f) { f->memory.bytes_per_s = 14e9; }
static void broken_memory(struct sl_facts *f) { f->memory.bytes_per_s = 3e9; }
static void slow_memory_virtual(struct sl_facts *f)
{
    slow_memory(f);
    f->cpu.is_virtual = true;
}
static void slow_memory_quota(struct sl_facts *f)
{
    slow_memory(f);
    f->limits.cpus = 2;
}
static void thp_never(struct sl_facts *f) { strcpy(f->memory.thp, "never"); }
static void thp_missing(struct sl_facts *f) { f->memory.thp[0] = '\0'; }
static void thp_off(struct sl_facts *f) { f->memory.is_thp_off = true; }
static void pages_reserved(struct sl_facts *f) { f->memory.huge_bytes = 8 * GIB; }
static void lock_8m(struct sl_facts *f)
{
    f->memory.lock_bytes = f->memory.lock_max_bytes = 8 * MIB;
}
static void lock_soft(struct sl_facts *f) { f->memory.lock_bytes = 8 * MIB; }
static void lock_docker(struct sl_facts *f)
{
    lock_8m(f);
    f->system.container = SL_FACTS_DOCKER;
}
static void lock_lxc(struct sl_facts *f)
{
    lock_8m(f);
    f->system.container = SL_FACTS_LXC;
}
static void lock_unit(struct sl_facts *f)
{
    lock_8m(f);
    strcpy(f->system.unit, "sluice.service");
}
static void lock_below_model(struct sl_facts *f)
{
    add_model(f);
    f->memory.lock_bytes = f->memory.lock_max_bytes = 512 * MIB;
}
static void address_limit(struct sl_facts *f) { f->memory.address_bytes = 8 * GIB; }
static void no_overcommit(struct sl_facts *f)
{
    f->memory.overcommit = 2;
    f->memory.commit_bytes = 20 * GIB;
    f->memory.committed_bytes = 18 * GIB;
}
static void swapping(struct sl_facts *f) { f->memory.swap_used_bytes = 3 * GIB; }
static void swapping_full(struct sl_facts *f)
{
    swapping(f);
    f->memory.available_bytes = 2 * GIB;
}

static void set_memory_limit(struct sl_facts *f, const char *file, uint64_t bytes)
{
    f->limits.memory_bytes = bytes;
    f->limits.memory_left_bytes = f->memory.usable_bytes = bytes - bytes / 8;
    (void)snprintf(f->limits.memory_file, sizeof(f->limits.memory_file), "%s", file);
}
static void unit_memory(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/system.slice/sluice.service/memory.max", 4 * GIB);
}
static void unit_high(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/user.slice/user-1000.slice/memory.high", 4 * GIB);
}
static void user_unit(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/"
                        "a b.scope/memory.max", 4 * GIB);
}
static void plain_v1(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/memory/mine/memory.limit_in_bytes", 4 * GIB);
}
static void plain_tiny(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/mine/memory.max", 512 * MIB);
}
static void docker_memory(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/memory.max", 4 * GIB);
    f->system.container = SL_FACTS_DOCKER;
}
static void pod_memory(struct sl_facts *f)
{
    set_memory_limit(f, "/sys/fs/cgroup/memory.max", 4 * GIB);
    f->system.container = SL_FACTS_KUBERNETES;
}
static void model_over_limit(struct sl_facts *f)
{
    unit_memory(f);
    add_model(f);
    f->model.is_too_big = true;
}
static void quota(struct sl_facts *f)
{
    f->limits.cpus = 2.5;
    f->limits.is_cpu_v2 = true;
    strcpy(f->limits.cpu_folder, "/sys/fs/cgroup/mine");
}
static void quota_unit(struct sl_facts *f)
{
    quota(f);
    strcpy(f->limits.cpu_folder, "/sys/fs/cgroup/system.slice/x.service");
}
static void quota_small(struct sl_facts *f)
{
    quota(f);
    f->limits.cpus = 0.5;
    f->limits.is_cpu_v2 = false;
}
static void quota_docker(struct sl_facts *f)
{
    quota(f);
    f->system.container = SL_FACTS_DOCKER;
}
static void throttled(struct sl_facts *f)
{
    f->limits.read_bytes_per_s = 1000000000;
    strcpy(f->limits.read_file, "/sys/fs/cgroup/mine/io.max");
    strcpy(f->limits.read_device, "259:0");
}
static void throttled_v1(struct sl_facts *f)
{
    throttled(f);
    f->limits.read_bytes_per_s = 50000000;
    strcpy(f->limits.read_file, "/sys/fs/cgroup/blkio/mine/blkio.throttle.read_bps_device");
}

static void set_uring(struct sl_facts *f, int error, int disabled, int seccomp)
{
    f->system.uring_error = error;
    f->system.uring_disabled = disabled;
    f->system.seccomp = seccomp;
}
static void uring_sysctl(struct sl_facts *f) { set_uring(f, -EPERM, 2, 0); }
static void uring_group(struct sl_facts *f) { set_uring(f, -EPERM, 1, 0); }
static void uring_seccomp(struct sl_facts *f) { set_uring(f, -EPERM, 0, 2); }
static void uring_docker(struct sl_facts *f)
{
    set_uring(f, -EPERM, 0, 2);
    f->system.container = SL_FACTS_DOCKER;
}
static void uring_docker_sysctl(struct sl_facts *f)
{
    set_uring(f, -EPERM, 2, 2);
    f->system.container = SL_FACTS_DOCKER;
}
static void uring_pod(struct sl_facts *f)
{
    set_uring(f, -EPERM, 0, 2);
    f->system.container = SL_FACTS_KUBERNETES;
}
static void uring_unit(struct sl_facts *f)
{
    set_uring(f, -EPERM, 0, 2);
    strcpy(f->system.unit, "sluice.service");
}
static void uring_module(struct sl_facts *f) { set_uring(f, -EACCES, -1, 0); }
static void uring_absent(struct sl_facts *f) { set_uring(f, -ENOSYS, -1, 0); }
static void uring_hidden(struct sl_facts *f) { set_uring(f, -ENOSYS, -1, 2); }
static void uring_locked(struct sl_facts *f)
{
    set_uring(f, -ENOMEM, -1, 0);
    strcpy(f->system.kernel, "5.10.0-30-amd64");
}
static void uring_not_built(struct sl_facts *f) { set_uring(f, -ENOTSUP, 0, 0); }
static void old_kernel(struct sl_facts *f) { strcpy(f->system.kernel, "5.15.0-100-generic"); }
static void gvisor(struct sl_facts *f) { f->system.container = SL_FACTS_GVISOR; }
static void wsl1(struct sl_facts *f) { f->system.container = SL_FACTS_WSL1; }
static void unbound(struct sl_facts *f)
{
    f->system.container = SL_FACTS_PODMAN;
    f->cpu.n_nodes = 2;
}

static void unreadable(struct sl_facts *f)
{
    f->places[0] = (struct sl_facts_place){.path = "/usr/share/ollama/it's.gguf",
                                           .why = "Permission denied"};
}
static void set_type(struct sl_facts *f, const char *type)
{
    (void)snprintf(f->places[0].type, sizeof(f->places[0].type), "%s", type);
}
static void on_tmpfs(struct sl_facts *f) { set_type(f, "tmpfs"); }
static void on_nfs(struct sl_facts *f) { set_type(f, "nfs4"); }
static void on_9p(struct sl_facts *f) { set_type(f, "9p"); }
static void compressed(struct sl_facts *f)
{
    set_type(f, "btrfs");
    f->places[0].is_encoded = true;
}
static void compressed_f2fs(struct sl_facts *f)
{
    set_type(f, "f2fs");
    f->places[0].is_encoded = true;
}
static void not_direct(struct sl_facts *f)
{
    f->places[0].is_direct = false;
    f->places[0].bytes_per_s = 0;
    strcpy(f->places[0].why, "the file system refuses it (Invalid argument)");
}
static void on_zfs(struct sl_facts *f)
{
    not_direct(f);
    set_type(f, "zfs");
    strcpy(f->places[0].source, "tank/my models");
}
static void on_overlay(struct sl_facts *f)
{
    not_direct(f);
    set_type(f, "overlay");
    f->system.container = SL_FACTS_DOCKER;
}
static void slow_disk(struct sl_facts *f) { f->places[0].bytes_per_s = 0.55e9; }
static void hard_disk(struct sl_facts *f)
{
    f->places[0].bytes_per_s = 0.12e9;
    f->places[0].is_rotational = true;
}
static void hard_disk_resident(struct sl_facts *f)
{
    hard_disk(f);
    add_model(f);
}
static void slow_luks(struct sl_facts *f)
{
    slow_disk(f);
    strcpy(f->places[0].crypt, "luks-1234");
}
static void slow_virtual(struct sl_facts *f)
{
    slow_disk(f);
    f->cpu.is_virtual = true;
}
static void blob(struct sl_facts *f) /* of another program's store, without a suffix */
{
    on_tmpfs(f);
    strcpy(f->places[0].path, "/tmp/blobs/sha256-00 ff");
}

#define HINT NULL /* there is no command, but advice */

static const struct simulation {
    void (*make_bad)(struct sl_facts *facts);
    const char *key;
    enum sl_finding_state state;
    const char *found;   /* part of it */
    const char *command; /* part of it, or HINT */
} simulations[] = {
    {no_avx, "cpu_level", SL_FINDING_BAD, "c, AMD", HINT},
    {no_avx_virtual, "cpu_level", SL_FINDING_BAD, "c", "--cpu host-passthrough"},
    {few_cpus, "cores", SL_FINDING_WARN, "4 logical CPUs, of 16", "taskset -pc 0-15 $$"},
    {few_cpus_docker, "cores", SL_FINDING_WARN, "of 16", "docker update --cpuset-cpus 0-15 "},
    {few_cpus_unit, "cores", SL_FINDING_WARN, "of 16", "set-property sluice.service AllowedCPUs="},
    {one_core, "cores", SL_FINDING_WARN, "1 core, 1 logical CPU", HINT},
    {no_hwloc, "l3_domains", SL_FINDING_WARN, "without hwloc", "apt install libhwloc-dev"},
    {siblings, "smt", SL_FINDING_WARN, "8 CPUs that are allowed share 4 cores",
     "taskset -pc 0,2,4,6,8,10,12,14 $$"},
    {siblings_podman, "smt", SL_FINDING_WARN, "share 4", "podman update --cpuset-cpus 0,2,4,6,"},
    {siblings_many, "smt", SL_FINDING_WARN, "share 4", HINT},
    {lowest_clock, "governor", SL_FINDING_BAD, "powersave (acpi-cpufreq)",
     "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"},
    {passive_driver, "governor", SL_FINDING_BAD, "intel_cpufreq", "scaling_governor"},
    {sparing, "governor", SL_FINDING_WARN, "powersave (intel_pstate power)",
     "echo balance_performance | sudo tee "
     "/sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference"},
    {slow_rise, "governor", SL_FINDING_WARN, "conservative", "scaling_governor"},
    {set_clock, "governor", SL_FINDING_WARN, "userspace", "scaling_governor"},
    {some_lowest, "governor", SL_FINDING_BAD, "powersave (acpi-cpufreq), powersave (amd-pstate",
     "scaling_governor"},
    {no_boost, "boost", SL_FINDING_WARN, "off", "echo 1 | sudo tee "
     "/sys/devices/system/cpu/cpufreq/boost"},
    {no_turbo, "boost", SL_FINDING_WARN, "off", "echo 0 | sudo tee "
     "/sys/devices/system/cpu/intel_pstate/no_turbo"},
    {memory_taken, "memory", SL_FINDING_WARN, "32.0 GiB, 7.0 GiB", "ps -eo pid,rss,comm"},
    {memory_gone, "memory", SL_FINDING_BAD, "0.9 GiB", "ps -eo pid,rss,comm"},
    {model_too_big, "memory", SL_FINDING_BAD, "0.9 GiB", "ps -eo"},
    {model_far_too_big, "memory", SL_FINDING_BAD, "28.0 GiB", HINT},
    {model_streams_beside_others, "memory", SL_FINDING_WARN,
     "lfm2:24b streams its experts; from 15.0 GiB on", "ps -eo"},
    {slow_memory, "memory_bandwidth", SL_FINDING_WARN, "14.0 GB/s read by 8 threads",
     "sudo dmidecode -t memory"},
    {broken_memory, "memory_bandwidth", SL_FINDING_BAD, "3.0 GB/s", "sudo dmidecode"},
    {slow_memory_virtual, "memory_bandwidth", SL_FINDING_WARN, "14.0", HINT},
    {slow_memory_quota, "memory_bandwidth", SL_FINDING_WARN, "14.0", HINT},
    {thp_never, "huge_pages", SL_FINDING_WARN, "never",
     "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"},
    {thp_missing, "huge_pages", SL_FINDING_WARN, "the kernel has no", HINT},
    {thp_off, "huge_pages", SL_FINDING_WARN, "off for this process", HINT},
    {pages_reserved, "reserved_pages", SL_FINDING_WARN, "8.0 GiB",
     "sudo sysctl vm.nr_hugepages=0"},
    {lock_8m, "memlock", SL_FINDING_WARN, "8192 KiB",
     "sudo prlimit --pid $$ --memlock=unlimited"},
    {lock_soft, "memlock", SL_FINDING_WARN, "8192 KiB", "ulimit -l unlimited"},
    {lock_docker, "memlock", SL_FINDING_WARN, "8192", "docker run --ulimit memlock=-1:-1 ..."},
    {lock_lxc, "memlock", SL_FINDING_WARN, "8192", HINT},
    {lock_unit, "memlock", SL_FINDING_WARN, "8192", "printf '[Service]\\nLimitMEMLOCK=infinity\\n'"
     " | sudo tee /etc/systemd/system/sluice.service.d/memlock.conf && sudo systemctl"},
    {lock_below_model, "memlock", SL_FINDING_WARN, "524288 KiB", "--memlock=unlimited"},
    {address_limit, "address_space", SL_FINDING_BAD, "8.0 GiB", "ulimit -v unlimited"},
    {no_overcommit, "address_space", SL_FINDING_WARN, "overcommit is off, 2.0 GiB",
     "sudo sysctl vm.overcommit_memory=0"},
    {swapping, "swap", SL_FINDING_WARN, "8.0 GiB, 3.0 GiB in use",
     "sudo swapoff -a && sudo swapon -a"},
    {swapping_full, "swap", SL_FINDING_WARN, "3.0 GiB in use", "ps -eo"},
    {unit_memory, "cgroup_memory", SL_FINDING_WARN, "4.00 GiB, 3.50 GiB of it left",
     "sudo systemctl set-property sluice.service MemoryMax=infinity"},
    {unit_high, "cgroup_memory", SL_FINDING_WARN, "4.00 GiB",
     "sudo systemctl set-property user-1000.slice MemoryHigh=infinity"},
    {user_unit, "cgroup_memory", SL_FINDING_WARN, "4.00",
     "systemctl --user set-property 'a b.scope' MemoryMax=infinity"},
    {plain_v1, "cgroup_memory", SL_FINDING_WARN, "4.00",
     "echo -1 | sudo tee /sys/fs/cgroup/memory/mine/memory.limit_in_bytes"},
    {plain_tiny, "cgroup_memory", SL_FINDING_BAD, "0.50",
     "echo max | sudo tee /sys/fs/cgroup/mine/memory.max"},
    {docker_memory, "cgroup_memory", SL_FINDING_WARN, "4.00",
     "docker update --memory 32g --memory-swap 32g CONTAINER"},
    {pod_memory, "cgroup_memory", SL_FINDING_WARN, "4.00", HINT},
    {model_over_limit, "cgroup_memory", SL_FINDING_BAD, "4.00", "MemoryMax=infinity"},
    {quota, "cgroup_cpu", SL_FINDING_WARN, "2.5 CPUs",
     "echo max | sudo tee /sys/fs/cgroup/mine/cpu.max"},
    {quota_unit, "cgroup_cpu", SL_FINDING_WARN, "2.5",
     "sudo systemctl set-property x.service CPUQuota="},
    {quota_small, "cgroup_cpu", SL_FINDING_BAD, "0.5",
     "echo -1 | sudo tee /sys/fs/cgroup/mine/cpu.cfs_quota_us"},
    {quota_docker, "cgroup_cpu", SL_FINDING_WARN, "2.5", "docker update --cpus 16 CONTAINER"},
    {throttled, "cgroup_disk", SL_FINDING_WARN, "1 GB/s from device 259:0",
     "echo '259:0 rbps=max' | sudo tee /sys/fs/cgroup/mine/io.max"},
    {throttled_v1, "cgroup_disk", SL_FINDING_BAD, "0.05 GB/s",
     "echo '259:0 0' | sudo tee /sys/fs/cgroup/blkio/mine/blkio.throttle.read_bps_device"},
    {uring_sysctl, "io_uring", SL_FINDING_WARN, "forbidden by kernel.io_uring_disabled = 2",
     "sudo sysctl kernel.io_uring_disabled=0"},
    {uring_group, "io_uring", SL_FINDING_WARN, "= 1 (to all but root", "io_uring_disabled=0"},
    {uring_seccomp, "io_uring", SL_FINDING_WARN, "a seccomp filter (Operation not permitted)",
     HINT},
    {uring_docker, "io_uring", SL_FINDING_WARN, "seccomp",
     "docker run --security-opt seccomp=unconfined"},
    {uring_docker_sysctl, "io_uring", SL_FINDING_WARN, "= 2", "sysctl kernel.io_uring_disabled=0"},
    {uring_pod, "io_uring", SL_FINDING_WARN, "seccomp", HINT},
    {uring_unit, "io_uring", SL_FINDING_WARN, "seccomp",
     "SystemCallFilter=io_uring_setup io_uring_enter io_uring_register\\n' | sudo tee "
     "/etc/systemd/system/sluice.service.d/io-uring.conf && "},
    {uring_module, "io_uring", SL_FINDING_WARN, "security module", HINT},
    {uring_absent, "io_uring", SL_FINDING_WARN, "the kernel does not have it", HINT},
    {uring_hidden, "io_uring", SL_FINDING_WARN, "hidden by a seccomp filter", HINT},
    {uring_locked, "io_uring", SL_FINDING_WARN, "Cannot allocate memory",
     "prlimit --pid $$ --memlock=unlimited"},
    {uring_not_built, "io_uring", SL_FINDING_WARN, "built without liburing",
     "apt install liburing-dev"},
    {old_kernel, "io_uring", SL_FINDING_WARN, "allowed, Linux 5.15", HINT},
    {gvisor, "container", SL_FINDING_BAD, "gVisor", "--runtime=runc"},
    {wsl1, "container", SL_FINDING_BAD, "WSL 1", "wsl.exe --set-version \"$WSL_DISTRO_NAME\" 2"},
    {unbound, "container", SL_FINDING_WARN, "Podman", "podman run --cap-add SYS_NICE"},
    {unreadable, "file_system", SL_FINDING_WARN, "cannot be read: Permission denied",
     "ls -l '/usr/share/ollama/it'\\''s.gguf'"},
    {on_tmpfs, "file_system", SL_FINDING_WARN, "tmpfs", "mkdir -p ~/.local/share/sluice/models && "
     "cp /home/a/models/lfm2.gguf ~/.local/share/sluice/models/lfm2.gguf"},
    {blob, "file_system", SL_FINDING_WARN, "tmpfs", "cp '/tmp/blobs/sha256-00 ff' "
     "~/.local/share/sluice/models/'sha256-00 ff'.gguf"},
    {on_nfs, "file_system", SL_FINDING_WARN, "nfs4", "cp /home/a/models/lfm2.gguf "},
    {on_9p, "file_system", SL_FINDING_WARN, "9p", "cp "},
    {compressed, "file_system", SL_FINDING_WARN, "btrfs",
     "btrfs property set /home/a/models compression none && cp --reflink=never "
     "/home/a/models/lfm2.gguf /home/a/models/lfm2.gguf.new && mv /home/a/models/lfm2.gguf.new "
     "/home/a/models/lfm2.gguf"},
    {compressed_f2fs, "file_system", SL_FINDING_WARN, "f2fs", "cp "},
    {not_direct, "file_system", SL_FINDING_WARN, "no direct reads: the file system refuses", "cp "},
    {on_zfs, "file_system", SL_FINDING_WARN, "zfs", "sudo zfs set direct=always 'tank/my models'"},
    {on_overlay, "file_system", SL_FINDING_WARN, "overlay", "docker run -v FOLDER:/models:ro"},
    {slow_disk, "disk_bandwidth", SL_FINDING_WARN, "0.55 GB/s", "cp "},
    {hard_disk, "disk_bandwidth", SL_FINDING_BAD, "0.12 GB/s", "cp "},
    {hard_disk_resident, "disk_bandwidth", SL_FINDING_WARN, "0.12 GB/s", "cp "},
    {slow_luks, "disk_bandwidth", SL_FINDING_WARN, "0.55 GB/s", "sudo cryptsetup refresh "
     "--perf-no_read_workqueue --perf-no_write_workqueue --persistent luks-1234"},
    {slow_virtual, "disk_bandwidth", SL_FINDING_WARN, "0.55", HINT},
};
#define N_SIMULATIONS (sizeof(simulations) / sizeof(simulations[0]))

static struct sl_facts facts;

static const struct sl_finding *find(const struct sl_findings *findings, const char *key)
{
    for (uint32_t i = 0; i < findings->n; i++)
        if (strcmp(findings->list[i].key, key) == 0)
            return &findings->list[i];
    fail_msg("no check %s", key);
    return NULL;
}

static void a_machine_without_fault_gets_no_complaint(void **state)
{
    struct sl_findings findings = {.n = 0};

    (void)state;
    make_good(&facts);
    sl_checks_run(&findings, &facts);
    assert_int_equal(sl_findings_error(&findings), 0);
    assert_int_equal(findings.n, 20);
    for (uint32_t i = 0; i < findings.n; i++) {
        const struct sl_finding *f = &findings.list[i];

        if (f->state != SL_FINDING_OK || f->costs.len || f->command.len || f->advice.len)
            fail_msg("%s: %s, %s", f->key, sl_finding_state_key(f->state), f->found.ptr);
        assert_true(f->found.len > 0);
    }
    sl_findings_done(&findings);
}

static void each_fault_is_told_with_cost_and_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SIMULATIONS; i++) {
        const struct simulation *s = &simulations[i];
        struct sl_findings findings = {.n = 0};
        const struct sl_finding *f;

        make_good(&facts);
        s->make_bad(&facts);
        sl_checks_run(&findings, &facts);
        f = find(&findings, s->key);
        if (f->state != s->state || !strstr(f->found.ptr, s->found) || !f->costs.len)
            fail_msg("simulation %zu, %s: %s, \"%s\", costs \"%s\"", i, s->key,
                     sl_finding_state_key(f->state), f->found.ptr, f->costs.ptr);
        if (s->command ? !f->command.len || !strstr(f->command.ptr, s->command)
                       : f->command.len || !f->advice.len)
            fail_msg("simulation %zu, %s: command \"%s\", advice \"%s\"", i, s->key,
                     f->command.ptr, f->advice.ptr);
        sl_findings_done(&findings);
    }
}

static void each_check_has_a_simulation(void **state)
{
    struct sl_findings findings = {.n = 0};

    (void)state;
    make_good(&facts);
    sl_checks_run(&findings, &facts);
    for (uint32_t i = 0; i < findings.n; i++) {
        size_t k = 0;

        while (k < N_SIMULATIONS && strcmp(simulations[k].key, findings.list[i].key) != 0)
            k++;
        if (k == N_SIMULATIONS)
            fail_msg("%s has no simulated bad answer", findings.list[i].key);
    }
    sl_findings_done(&findings);
}

static void a_shell_takes_every_command(void **state)
{
    char path[] = "/tmp/sldoctor-XXXXXX", command[64];
    int fd = mkstemp(path), r;
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    (void)state;
    assert_non_null(f);
    for (size_t i = 0; i < N_SIMULATIONS; i++) {
        struct sl_findings findings = {.n = 0};

        make_good(&facts);
        simulations[i].make_bad(&facts);
        sl_checks_run(&findings, &facts);
        for (uint32_t k = 0; k < findings.n; k++)
            if (findings.list[k].command.len)
                assert_true(fprintf(f, "%s\n", findings.list[k].command.ptr) > 0);
        sl_findings_done(&findings);
    }
    assert_int_equal(fclose(f), 0);
    (void)snprintf(command, sizeof(command), "sh -n %s", path);
    r = system(command);
    (void)unlink(path);
    assert_int_equal(r, 0);
}

/* All zeroes: nothing could be found out. */
static void what_is_not_known_is_no_fault(void **state)
{
    static const char *const unknown[] = {"cores", "l3_domains", "smt", "governor", "memory",
                                          "memory_bandwidth", "file_system", "disk_bandwidth"};
    struct sl_findings findings = {.n = 0};

    (void)state;
    make_good(&facts);
    memset(&facts.cpu, 0, sizeof(facts.cpu));
    memset(&facts.memory, 0, sizeof(facts.memory));
    facts.cpu.boost = -1;
    facts.cpu.level = SL_CPU_AVX2;
    facts.memory.usable_bytes = facts.memory.lock_bytes = facts.memory.address_bytes =
        SL_FACTS_NONE;
    facts.n_places = 0;
    sl_checks_run(&findings, &facts);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(find(&findings, unknown[i])->state, SL_FINDING_UNKNOWN);
    for (uint32_t i = 0; i < findings.n; i++)
        assert_true(findings.list[i].state != SL_FINDING_BAD);
    sl_findings_done(&findings);
}

static void good_variants_are_no_faults(void **state)
{
    struct sl_findings findings = {.n = 0};

    (void)state;
    make_good(&facts);
    set_policy(&facts, "schedutil", "amd-pstate", "");
    facts.memory.lock_bytes = 8 * MIB; /* root's, which does not bind it */
    facts.memory.may_lock = true;
    facts.limits.cpus = 8; /* as many as there are cores */
    facts.limits.memory_bytes = 64 * GIB;
    facts.limits.read_bytes_per_s = 5000000000u;
    facts.system.container = SL_FACTS_DOCKER;
    facts.places[0].is_encoded = false;
    add_model(&facts);
    sl_checks_run(&findings, &facts);
    for (uint32_t i = 0; i < findings.n; i++)
        if (findings.list[i].state != SL_FINDING_OK)
            fail_msg("%s: %s", findings.list[i].key, findings.list[i].found.ptr);
    sl_findings_done(&findings);
}

static void the_list_holds_all_that_checks_can_find(void **state)
{
    struct sl_findings findings = {.n = 0};

    (void)state;
    make_good(&facts);
    facts.n_places = SL_FACTS_PLACES_MAX;
    for (uint32_t i = 1; i < SL_FACTS_PLACES_MAX; i++)
        facts.places[i] = facts.places[0];
    facts.n_places_left_out = 3;
    sl_checks_run(&findings, &facts);
    assert_int_equal(findings.n, 20 + 2 * (SL_FACTS_PLACES_MAX - 1) + 1);
    assert_true(findings.n <= SL_FINDINGS_MAX);
    sl_findings_done(&findings);
}

static void names_are_quoted_for_a_shell(void **state)
{
    static const char *const cases[][2] = {
        {"/a/b-1.0_x", "/a/b-1.0_x"}, {"", "''"}, {"a b", "'a b'"}, {"it's", "'it'\\''s'"},
        {"$(x)", "'$(x)'"}, {"'", "''\\'''"}, {"a\nb", "'a\nb'"}, {"~", "'~'"}, {"a;b", "'a;b'"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sl_strbuf buf = {0};

        sl_finding_quote(&buf, cases[i][0]);
        assert_string_equal(buf.ptr, cases[i][1]);
        sl_strbuf_done(&buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_without_fault_gets_no_complaint),
        cmocka_unit_test(each_fault_is_told_with_cost_and_command),
        cmocka_unit_test(each_check_has_a_simulation),
        cmocka_unit_test(a_shell_takes_every_command),
        cmocka_unit_test(what_is_not_known_is_no_fault),
        cmocka_unit_test(good_variants_are_no_faults),
        cmocka_unit_test(the_list_holds_all_that_checks_can_find),
        cmocka_unit_test(names_are_quoted_for_a_shell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
