/*
 * What is known of a machine is read from the right files, and files that hold anything else, or
 * are not there, leave it unknown. Machines are made up here, below a root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor/facts.h"
#include "doctor/sysfile.h"
#include "madetree.h"

#define CPU "/sys/devices/system/cpu"
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct sl_facts_cpu cpu;
static struct sl_facts_memory memory;
static struct sl_facts_limits limits;
static struct sl_facts_system sys;
static struct sl_facts_place place;

static void the_processor_is_read(void **state)
{
    char path[PATH_MAX], text[16];

    (void)state;
    madetree_put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD Ryzen 7 9700X\n"
                                  "flags\t\t: fpu vme avx2 hypervisor rdpid\n");
    madetree_put(CPU "/smt/control", "on\n");
    for (int i = 0; i < 8; i++) { /* 4 cores, siblings in turn */
        (void)snprintf(path, sizeof(path), CPU "/cpu%d/topology/thread_siblings_list", i);
        (void)snprintf(text, sizeof(text), "%d-%d\n", i / 2 * 2, i / 2 * 2 + 1);
        madetree_put(path, text);
    }
    madetree_put(CPU "/cpu8/online", "0\n"); /* switched off */
    madetree_put(CPU "/cpuidle/current_driver", "none\n");
    madetree_put(CPU "/cpufreq/policy0/scaling_governor", "powersave\n");
    madetree_put(CPU "/cpufreq/policy0/scaling_driver", "amd-pstate-epp\n");
    madetree_put(CPU "/cpufreq/policy0/energy_performance_preference", "power\n");
    madetree_put(CPU "/cpufreq/policy2/scaling_governor", "powersave\n");
    madetree_put(CPU "/cpufreq/policy2/scaling_driver", "amd-pstate-epp\n");
    madetree_put(CPU "/cpufreq/policy2/energy_performance_preference", "power\n");
    madetree_put(CPU "/cpufreq/policy4/scaling_governor", "performance\n");
    madetree_put(CPU "/cpufreq/boost", "0\n");
    sl_cpufacts_gather(&cpu, madetree_root());
    assert_string_equal(cpu.name, "AMD Ryzen 7 9700X");
    assert_true(cpu.is_virtual);
    assert_string_equal(cpu.smt, "on");
    assert_int_equal(cpu.n_machine_cpus, 8);
    assert_int_equal(cpu.n_machine_cores, 4);
    assert_string_equal(cpu.spread_cpus, "0,2,4,6");
    assert_int_equal(cpu.n_policies, 2);
    for (int i = 0; i < 2; i++) {
        const struct sl_facts_policy *p = &cpu.policies[i];
        bool is_sparing = strcmp(p->governor, "powersave") == 0;

        assert_int_equal(p->n, is_sparing ? 2 : 1);
        assert_string_equal(p->preference, is_sparing ? "power" : "");
    }
    assert_int_equal(cpu.boost, 0);
    assert_false(cpu.is_boost_inverted);
}

static void turbo_of_the_other_maker_is_the_other_way_round(void **state)
{
    (void)state;
    madetree_put(CPU "/intel_pstate/no_turbo", "1\n");
    sl_cpufacts_gather(&cpu, madetree_root());
    assert_int_equal(cpu.boost, 0);
    assert_true(cpu.is_boost_inverted);
    madetree_put(CPU "/intel_pstate/no_turbo", "0\n");
    sl_cpufacts_gather(&cpu, madetree_root());
    assert_int_equal(cpu.boost, 1);
}

static void memory_is_read(void **state)
{
    (void)state;
    madetree_put("/proc/meminfo",
                 "MemTotal:       32000000 kB\nMemAvailable:   20000000 kB\n"
                 "CommitLimit:     9000000 kB\nCommitted_AS:    8000000 kB\n"
                 "Hugetlb:         4194304 kB\n");
    madetree_put("/proc/self/status", "Name:\tx\nTHP_enabled:\t0\nCapEff:\t0000000000004000\n"
                                      "Seccomp:\t2\n");
    madetree_put("/proc/self/limits",
                 "Limit                     Soft Limit           Hard Limit           Units     \n"
                 "Max address space         17179869184          unlimited            bytes     \n"
                 "Max locked memory         8388608              67108864             bytes    \n");
    madetree_put("/proc/swaps",
                 "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                 "/swap.img                               file\t\t8388604\t\t1048576\t\t-2\n"
                 "/dev/zram0                              partition\t1048576\t\t0\t\t100\n");
    madetree_put("/proc/sys/vm/overcommit_memory", "2\n");
    madetree_put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    sl_memfacts_gather(&memory, madetree_root());
    assert_int_equal(memory.total_bytes, 32000000ull * 1024);
    assert_int_equal(memory.available_bytes, 20000000ull * 1024);
    assert_int_equal(memory.usable_bytes, 20000000ull * 1024);
    assert_string_equal(memory.thp, "madvise");
    assert_true(memory.is_thp_off);
    assert_true(memory.may_lock);
    assert_int_equal(memory.huge_bytes, 4 * GIB);
    assert_int_equal(memory.lock_bytes, 8 * MIB);
    assert_int_equal(memory.lock_max_bytes, 64 * MIB);
    assert_int_equal(memory.address_bytes, 16 * GIB);
    assert_int_equal(memory.overcommit, 2);
    assert_int_equal(memory.commit_bytes - memory.committed_bytes, 1000000ull * 1024);
    assert_int_equal(memory.swap_bytes, (8388604ull + 1048576) * 1024);
    assert_int_equal(memory.swap_used_bytes, GIB);
    assert_false(memory.is_swap_in_memory);
}

static void swap_in_memory_is_told_apart(void **state)
{
    (void)state;
    madetree_put("/proc/swaps", "Filename Type Size Used Priority\n"
                                "/dev/zram0 partition 1048576 5 100\n");
    sl_memfacts_gather(&memory, madetree_root());
    assert_int_equal(memory.swap_bytes, GIB);
    assert_true(memory.is_swap_in_memory);
}

static void limits_of_the_second_version_are_read(void **state)
{
    (void)state;
    madetree_put("/proc/self/cgroup", "0::/system.slice/sluice.service\n");
    madetree_put("/proc/self/mountinfo",
                 "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    madetree_put("/sys/fs/cgroup/system.slice/sluice.service/memory.max", "1073741824\n");
    madetree_put("/sys/fs/cgroup/system.slice/sluice.service/memory.current", "73741824\n");
    madetree_put("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
    madetree_put("/sys/fs/cgroup/system.slice/io.max",
                 "259:1 rbps=max wbps=1048576 riops=max wiops=max\n"
                 "259:0 rbps=5000000 wbps=max riops=max wiops=max\n8:0 rbps=9000000\n");
    sl_limitfacts_gather(&limits, madetree_root());
    assert_int_equal(limits.memory_bytes, GIB);
    assert_int_equal(limits.memory_left_bytes, 1000000000);
    assert_string_equal(limits.memory_file,
                        "/sys/fs/cgroup/system.slice/sluice.service/memory.max");
    assert_true(limits.cpus == 1.5 && limits.is_cpu_v2);
    assert_string_equal(limits.cpu_folder, "/sys/fs/cgroup/system.slice");
    assert_int_equal(limits.read_bytes_per_s, 5000000);
    assert_string_equal(limits.read_device, "259:0");
    assert_string_equal(limits.read_file, "/sys/fs/cgroup/system.slice/io.max");
}

static void limits_of_the_first_version_are_read(void **state)
{
    (void)state;
    madetree_put("/proc/self/cgroup", "7:blkio:/a\n4:memory:/a\n1:cpu,cpuacct:/a\n0::/\n");
    madetree_put("/proc/self/mountinfo",
                 "31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                 "32 24 0:28 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n");
    madetree_put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
    madetree_put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    madetree_put("/sys/fs/cgroup/blkio/a/blkio.throttle.read_bps_device", "259:0 1048576\n");
    sl_limitfacts_gather(&limits, madetree_root());
    assert_int_equal(limits.memory_bytes, SL_FACTS_NONE);
    assert_true(limits.cpus == 0.5 && !limits.is_cpu_v2);
    assert_string_equal(limits.cpu_folder, "/sys/fs/cgroup/cpu/a");
    assert_int_equal(limits.read_bytes_per_s, 1048576);
    assert_string_equal(limits.read_file,
                        "/sys/fs/cgroup/blkio/a/blkio.throttle.read_bps_device");
}

static void the_system_is_read(void **state)
{
    (void)state;
    madetree_put("/proc/sys/kernel/osrelease", "6.12.8-amd64\n");
    madetree_put("/proc/sys/kernel/io_uring_disabled", "2\n");
    madetree_put("/proc/self/status", "CapEff:\t0000000000800000\nSeccomp:\t2\n"
                                      "Seccomp_filters:\t1\n");
    madetree_put("/proc/self/cgroup", "0::/system.slice/sluice@big.service\n");
    sl_sysfacts_gather(&sys, madetree_root());
    assert_string_equal(sys.kernel, "6.12.8-amd64");
    assert_int_equal(sys.uring_disabled, 2);
    assert_int_equal(sys.seccomp, 2);
    assert_true(sys.may_bind);
    assert_string_equal(sys.unit, "sluice@big.service");
    assert_int_equal(sys.container, SL_FACTS_NO_CONTAINER);
}

static void what_is_no_service_of_the_system_is_no_unit(void **state)
{
    static const char *const groups[] = {
        "0::/user.slice/user-1000.slice/session-1.scope\n",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
        "0::/.service\n", "0::/\n", "4:memory:/a.service\n", "0::/$(reboot).service\n", "x\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        madetree_put("/proc/self/cgroup", groups[i]);
        sl_sysfacts_gather(&sys, madetree_root());
        assert_string_equal(sys.unit, "");
    }
}

static void containers_are_told_by_their_marks(void **state)
{
    static const struct {
        const char *path, *text;
        enum sl_facts_container container;
    } marks[] = {
        {"/.dockerenv", "", SL_FACTS_DOCKER},
        {"/run/.containerenv", "engine=\"podman-4.3.1\"\n", SL_FACTS_PODMAN},
        {"/run/secrets/kubernetes.io/serviceaccount/token", "x", SL_FACTS_KUBERNETES},
        {"/run/systemd/container", "lxc\n", SL_FACTS_LXC},
        {"/run/systemd/container", "systemd-nspawn\n", SL_FACTS_NSPAWN},
        {"/run/systemd/container", "rkt\n", SL_FACTS_OTHER_CONTAINER},
        {"/proc/1/cgroup", "12:pids:/docker/1f00\n", SL_FACTS_DOCKER},
        {"/proc/1/cgroup", "0::/lxc.payload.web/init.scope\n", SL_FACTS_LXC},
        {"/proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice/cri\n", SL_FACTS_KUBERNETES},
        {"/proc/1/cgroup", "0::/init.scope\n", SL_FACTS_NO_CONTAINER},
        {"/proc/version", "Linux version 4.4.0 (gVisor) #1\n", SL_FACTS_GVISOR},
        {"/proc/version", "Linux version 4.4.0-19041-Microsoft (x@y)\n", SL_FACTS_WSL1},
        {"/proc/version", "Linux version 5.15.90.1-microsoft-standard-WSL2\n", SL_FACTS_WSL2},
        {"/proc/version", "Linux version 6.1.0 (debian-kernel@lists)\n", SL_FACTS_NO_CONTAINER},
    };

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        if (i > 0)
            assert_int_equal(madetree_make(state), 0);
        madetree_put(marks[i].path, marks[i].text);
        sl_sysfacts_gather(&sys, madetree_root());
        if (sys.container != marks[i].container)
            fail_msg("%s: %d, expected %d", marks[i].path, sys.container, marks[i].container);
        if (i + 1 < sizeof(marks) / sizeof(marks[0]))
            assert_int_equal(madetree_remove(state), 0);
    }
}

static void a_machine_made_from_an_image_is_no_container(void **state)
{
    (void)state;
    madetree_put("/.dockerenv", "");
    madetree_put("/proc/self/mountinfo", "20 1 254:0 / / rw - ext4 /dev/vda rw\n");
    sl_sysfacts_gather(&sys, madetree_root());
    assert_int_equal(sys.container, SL_FACTS_NO_CONTAINER);
    madetree_put("/proc/self/mountinfo", "20 1 0:50 / / rw - overlay overlay rw,lowerdir=/x\n");
    sl_sysfacts_gather(&sys, madetree_root());
    assert_int_equal(sys.container, SL_FACTS_DOCKER);
    madetree_put("/proc/self/mountinfo", /* Docker's vfs: a folder of the host's disk */
                 "20 1 254:0 /var/lib/docker/vfs/dir/1f / rw - ext4 /dev/vda rw\n");
    sl_sysfacts_gather(&sys, madetree_root());
    assert_int_equal(sys.container, SL_FACTS_DOCKER);
}

static void look_up(const char *path, const char *number)
{
    place = (struct sl_facts_place){.file_bytes = 1};
    sl_placefacts_look_up(&place, madetree_root(), path, number);
}

static void put_link(const char *target, const char *path)
{
    char full[PATH_MAX];

    madetree_put(path, ""); /* its folders */
    (void)snprintf(full, sizeof(full), "%s%s", madetree_root(), path);
    assert_int_equal(unlink(full), 0);
    assert_int_equal(symlink(target, full), 0);
}

static void mounts_and_devices_are_looked_up(void **state)
{
    (void)state;
    madetree_put("/proc/self/mountinfo",
                 "20 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n"
                 "21 20 0:31 / /home rw - btrfs /dev/mapper/luks-1 rw,compress=zstd:1\n"
                 "22 21 0:40 / /home/a/nas\\040box rw - nfs4 host:/x rw\n"
                 "23 20 8:1 / /data rw - ext4 /dev/sda1 rw\n"
                 "24 23 0:50 / /data rw - tmpfs tmpfs rw\n");
    madetree_put("/sys/devices/pci/nvme0n1/queue/rotational", "0\n");
    madetree_put("/sys/devices/pci/nvme0n1/nvme0n1p2/partition", "2\n");
    put_link("../../devices/pci/nvme0n1/nvme0n1p2", "/sys/dev/block/259:2");
    madetree_put("/sys/devices/ata/sda/queue/rotational", "1\n");
    madetree_put("/sys/devices/ata/sda/sda1/partition", "1\n");
    put_link("../../devices/ata/sda/sda1", "/sys/dev/block/8:1");
    madetree_put("/sys/class/block/luks-1/dm/uuid", "CRYPT-LUKS2-00ff-luks-1\n");
    madetree_put("/sys/class/block/luks-1/dm/name", "luks-1\n");

    look_up("/models/a.gguf", "259:2");
    assert_string_equal(place.type, "ext4");
    assert_string_equal(place.device, "nvme0n1p2");
    assert_false(place.is_rotational);
    assert_string_equal(place.crypt, "");
    look_up("/home/a/b.gguf", "0:31");
    assert_string_equal(place.type, "btrfs");
    assert_string_equal(place.device, "luks-1");
    assert_string_equal(place.crypt, "luks-1");
    look_up("/home/a/nas box/b.gguf", "0:40");
    assert_string_equal(place.type, "nfs4");
    assert_string_equal(place.device, "");
    assert_string_equal(place.source, "host:/x");
    look_up("/home/a/nas boxes/b.gguf", "0:31"); /* not below that mount */
    assert_string_equal(place.type, "btrfs");
    look_up("/data/b.gguf", "0:50"); /* the later mount hides the earlier */
    assert_string_equal(place.type, "tmpfs");
    look_up("/data/b.gguf", "8:1");
    assert_string_equal(place.device, "sda1");
    assert_true(place.is_rotational);
}

static void encryption_below_other_layers_is_found(void **state)
{
    (void)state;
    madetree_put("/proc/self/mountinfo", "20 1 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n");
    madetree_put("/sys/devices/virtual/dm-1/dm/uuid", "LVM-abc\n");
    madetree_put("/sys/devices/virtual/dm-0/dm/uuid", "CRYPT-LUKS2-00ff\n");
    madetree_put("/sys/devices/virtual/dm-0/dm/name", "cryptroot\n");
    put_link("../../dm-0", "/sys/devices/virtual/dm-1/slaves/dm-0");
    put_link("../../devices/virtual/dm-1", "/sys/dev/block/253:1");
    put_link("../../dm-0", "/sys/devices/virtual/dm-0/slaves/dm-0"); /* round in circles */
    look_up("/a.gguf", "253:1");
    assert_string_equal(place.crypt, "cryptroot");
    madetree_put("/sys/devices/virtual/dm-0/dm/uuid", "LVM-def\n");
    look_up("/a.gguf", "253:1");
    assert_string_equal(place.crypt, "");
}

static void a_file_of_this_machine_is_looked_at(void **state)
{
    char path[PATH_MAX];

    (void)state;
    madetree_put("/model.gguf", "GGUF and some more");
    (void)snprintf(path, sizeof(path), "%s/model.gguf", madetree_root());
    sl_placefacts_gather(&place, "", path);
    assert_int_equal(place.file_bytes, 18);
    assert_true(place.type[0] != '\0');
    assert_true(place.is_direct || place.why[0]);
    sl_placefacts_measure(&place, 0.1);
    assert_true(place.bytes_per_s == 0.0);
    assert_non_null(strstr(place.measure_why, "less than 8 MiB"));
    sl_placefacts_gather(&place, "", madetree_root());
    assert_int_equal(place.file_bytes, 0);
    assert_string_equal(place.why, "it is no file, or an empty one");
    (void)snprintf(path, sizeof(path), "%s/none", madetree_root());
    sl_placefacts_gather(&place, "", path);
    assert_int_equal(place.file_bytes, 0);
    assert_string_equal(place.why, "No such file or directory");
}

static const char *const files[] = {
    "/proc/cpuinfo", "/proc/meminfo", "/proc/swaps", "/proc/version", "/proc/1/cgroup",
    "/proc/self/cgroup", "/proc/self/mountinfo", "/proc/self/status", "/proc/self/limits",
    "/proc/sys/kernel/osrelease", "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/vm/overcommit_memory", "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/io.max", "/run/systemd/container", CPU "/smt/control", CPU "/cpufreq/boost",
    CPU "/cpu0/topology/thread_siblings_list", CPU "/cpufreq/policy0/scaling_governor",
    CPU "/cpufreq/policy0/scaling_driver",
};

/* Texts that a file never should hold; a seed makes others from them. */
static void make_hostile(char *text, size_t cap, unsigned *seed)
{
    static const char *const pieces[] = {
        "", "\n", "\x1b[2J", "\xff\xfe", ":", "::", "0::/", "[", "]", "-1", "99999999999999999999",
        "18446744073709551615", "0x7", " ", "\t", "max", "MemTotal:", "MemAvailable: 1e9 kB\n",
        "CapEff:\tzz\n", "Max locked memory ", "20 1 0:1 / /", " - cgroup2 x rw\n", " - ext4 ",
        "/../../..", "%s%n", "259:0 rbps=-5\n", "rbps=", "0-", "4095", "nan", "policy",
    };
    const size_t n = sizeof(pieces) / sizeof(pieces[0]);
    size_t len = 0;

    text[0] = '\0';
    for (int i = rand_r(seed) % 12; i >= 0; i--)
        len += (size_t)snprintf(text + len, cap - len, "%s",
                                pieces[(size_t)rand_r(seed) % n]);
}

static bool is_clean(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static void hostile_files_do_no_harm(void **state)
{
    unsigned seed = 20261123;
    char text[1024];

    (void)state;
    for (int round = 0; round < 150; round++) {
        for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
            make_hostile(text, sizeof(text), &seed);
            madetree_put(files[i], text);
        }
        sl_memfacts_gather(&memory, madetree_root());
        sl_limitfacts_gather(&limits, madetree_root());
        sl_sysfacts_gather(&sys, madetree_root());
        look_up("/a.gguf", "0:1");
        assert_true(memory.swap_used_bytes <= memory.swap_bytes);
        assert_true(limits.cpus >= 0);
        assert_true(is_clean(memory.thp) && is_clean(sys.kernel) && is_clean(sys.unit) &&
                    is_clean(place.type) && is_clean(place.source) && is_clean(place.device));
        if (round % 30 == 0) { /* it asks hwloc too, which takes its time */
            sl_cpufacts_gather(&cpu, madetree_root());
            assert_true(is_clean(cpu.name) && is_clean(cpu.smt) &&
                        is_clean(cpu.policies[0].governor));
        }
    }
}

static void without_any_file_nothing_is_known(void **state)
{
    (void)state;
    sl_cpufacts_gather(&cpu, madetree_root());
    sl_memfacts_gather(&memory, madetree_root());
    sl_limitfacts_gather(&limits, madetree_root());
    sl_sysfacts_gather(&sys, madetree_root());
    look_up("/a.gguf", "1:1");
    assert_int_equal(cpu.n_machine_cpus + cpu.n_policies, 0);
    assert_int_equal(cpu.boost, -1);
    assert_int_equal(memory.total_bytes + memory.swap_bytes + memory.huge_bytes, 0);
    assert_int_equal(memory.usable_bytes, SL_FACTS_NONE);
    assert_int_equal(memory.lock_bytes, SL_FACTS_NONE);
    assert_int_equal(memory.overcommit, -1);
    assert_int_equal(limits.memory_bytes, SL_FACTS_NONE);
    assert_int_equal(limits.read_bytes_per_s, SL_FACTS_NONE);
    assert_int_equal(sys.uring_disabled, -1);
    assert_int_equal(sys.seccomp, -1);
    assert_string_equal(place.type, "");
}

static void a_long_line_is_cut(void **state)
{
    char *text = malloc(100001), line[32];
    uint64_t value = 7;

    (void)state;
    assert_non_null(text);
    memset(text, '1', 100000);
    text[100000] = '\0';
    madetree_put("/long", text);
    free(text);
    assert_true(sl_sysfile_line(madetree_root(), "/long", line, sizeof(line)));
    assert_int_equal(strlen(line), sizeof(line) - 1);
    assert_false(sl_sysfile_number(madetree_root(), "/long", &value));
    assert_int_equal(value, 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, madetree_make, madetree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_processor_is_read),
        TEST(turbo_of_the_other_maker_is_the_other_way_round),
        TEST(memory_is_read),
        TEST(swap_in_memory_is_told_apart),
        TEST(limits_of_the_second_version_are_read),
        TEST(limits_of_the_first_version_are_read),
        TEST(the_system_is_read),
        TEST(what_is_no_service_of_the_system_is_no_unit),
        TEST(containers_are_told_by_their_marks),
        TEST(a_machine_made_from_an_image_is_no_container),
        TEST(mounts_and_devices_are_looked_up),
        TEST(encryption_below_other_layers_is_found),
        TEST(a_file_of_this_machine_is_looked_at),
        TEST(hostile_files_do_no_harm),
        TEST(without_any_file_nothing_is_known),
        TEST(a_long_line_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
