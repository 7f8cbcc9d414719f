/* io_uring, and what a container keeps back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor/checks.h"

/* Whether the kernel is older; false where its name begins with no version. */
static bool is_kernel_before(const char *release, unsigned major, unsigned minor)
{
    unsigned have_major, have_minor;

    return sscanf(release, "%u.%u", &have_major, &have_minor) == 2 &&
           (have_major < major || (have_major == major && have_minor < minor));
}

static void mend_sysctl(struct sl_finding *f, const struct sl_facts *facts)
{
    sl_finding_mend(f, "sudo sysctl kernel.io_uring_disabled=0");
    sl_finding_advise(f, "until the next start; for good: echo kernel.io_uring_disabled=0 | sudo "
                         "tee /etc/sysctl.d/60-io-uring.conf");
    if (facts->system.container != SL_FACTS_NO_CONTAINER)
        sl_finding_advise(f, "on the host");
}

/* It was refused and the sysctl is not why: a filter of system calls, or a security module. */
static void mend_filter(struct sl_finding *f, const struct sl_facts *facts)
{
    const char *unit = facts->system.unit, *runner = sl_checks_runner(facts);

    if (runner) {
        sl_finding_mend(f, "%s run --security-opt seccomp=unconfined ...", runner);
        sl_finding_advise(f, "when the container is made anew; seccomp=FILE with a profile that "
                             "allows io_uring_setup, io_uring_enter and io_uring_register "
                             "allows no more than that");
    } else if (facts->system.container == SL_FACTS_KUBERNETES) {
        sl_finding_advise(f, "securityContext: {seccompProfile: {type: Unconfined}}, or a profile "
                             "that allows io_uring_setup, io_uring_enter, io_uring_register");
    } else if (unit[0]) {
        sl_finding_mend(f, "sudo mkdir -p /etc/systemd/system/%s.d", unit);
        sl_finding_mend(f, "printf '[Service]\\nSystemCallFilter=io_uring_setup io_uring_enter "
                           "io_uring_register\\n' | sudo tee "
                           "/etc/systemd/system/%s.d/io-uring.conf", unit);
        sl_finding_mend(f, "sudo systemctl daemon-reload");
        sl_finding_mend(f, "sudo systemctl restart %s", unit);
    } else {
        sl_finding_advise(f, "the program that started this one forbids it to what it starts: "
                             "start sluice from another");
    }
}

static void check_uring(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_system *s = &facts->system;
    struct sl_finding *f = sl_finding_add(findings, "io_uring", "io_uring");

    if (s->uring_error == 0) {
        sl_finding_note(f, "allowed");
        if (s->kernel[0])
            sl_finding_note(f, "Linux %s", s->kernel);
        if (is_kernel_before(s->kernel, 5, 19)) {
            sl_finding_raise(f, SL_FINDING_WARN, "buffers cannot be registered before Linux 5.19: "
                                                 "reads take a little more processor time");
            sl_finding_advise(f, "it takes a newer kernel");
        }
        return;
    }
    if (s->uring_error == -ENOTSUP) {
        sl_finding_note(f, "built without liburing");
    } else if (s->uring_error == -EPERM && s->uring_disabled > 0) {
        sl_finding_note(f, "forbidden by kernel.io_uring_disabled = %d%s", s->uring_disabled,
                        s->uring_disabled == 1 ? " (to all but root and kernel.io_uring_group)"
                                               : "");
    } else if (s->uring_error == -EPERM || s->uring_error == -EACCES) {
        sl_finding_note(f, "forbidden by %s (%s)", s->seccomp == 2 ? "a seccomp filter"
                                                                   : "a security module or filter",
                        strerror(-s->uring_error));
    } else if (s->uring_error == -ENOSYS) {
        sl_finding_note(f, "%s", s->seccomp == 2 ? "hidden by a seccomp filter"
                                                 : "the kernel does not have it");
    } else {
        sl_finding_note(f, "does not work: %s", strerror(-s->uring_error));
    }
    sl_finding_raise(f, SL_FINDING_WARN, "experts are read by a pool of threads, which takes two "
                     "to five times the processor time per byte, and from the threads that "
                     "compute");
    if (s->uring_error == -ENOTSUP) {
        sl_finding_mend(f, "sudo apt install liburing-dev");
        sl_finding_advise(f, "then build again (Fedora: liburing-devel, Arch: liburing)");
    } else if (s->uring_error == -EPERM && s->uring_disabled > 0) {
        mend_sysctl(f, facts);
    } else if (s->uring_error == -EPERM || s->uring_error == -EACCES ||
               (s->uring_error == -ENOSYS && s->seccomp == 2)) {
        mend_filter(f, facts);
    } else if (s->uring_error == -ENOMEM && !facts->memory.may_lock &&
               is_kernel_before(s->kernel, 5, 12)) {
        sl_finding_mend(f, "sudo prlimit --pid $$ --memlock=unlimited");
        sl_finding_advise(f, "for this shell: before Linux 5.12 rings count as locked memory");
    } else {
        sl_finding_advise(f, "it takes Linux 5.6 or newer, built with CONFIG_IO_URING");
    }
}

static const char *container_name(enum sl_facts_container container)
{
    static const char *const names[] = {
        [SL_FACTS_NO_CONTAINER] = "none",
        [SL_FACTS_DOCKER] = "Docker",
        [SL_FACTS_PODMAN] = "Podman",
        [SL_FACTS_KUBERNETES] = "Kubernetes",
        [SL_FACTS_LXC] = "LXC",
        [SL_FACTS_NSPAWN] = "systemd-nspawn",
        [SL_FACTS_GVISOR] = "gVisor",
        [SL_FACTS_WSL1] = "WSL 1",
        [SL_FACTS_WSL2] = "WSL 2",
        [SL_FACTS_OTHER_CONTAINER] = "a container",
    };

    return names[container];
}

static void check_container(struct sl_findings *findings, const struct sl_facts *facts)
{
    const struct sl_facts_system *s = &facts->system;
    const char *runner = sl_checks_runner(facts);
    struct sl_finding *f = sl_finding_add(findings, "container", "container");

    sl_finding_note(f, "%s", container_name(s->container));
    if (facts->cpu.is_virtual)
        sl_finding_note(f, "in a virtual machine");
    if (s->container == SL_FACTS_GVISOR) {
        sl_finding_raise(f, SL_FINDING_BAD, "every system call is emulated: reads are slow, and "
                                            "memory is managed twice");
        sl_finding_mend(f, "docker run --runtime=runc ...");
        sl_finding_advise(f, "on the host; in Kubernetes without runtimeClassName: gvisor");
    } else if (s->container == SL_FACTS_WSL1) {
        sl_finding_raise(f, SL_FINDING_BAD, "it is no Linux kernel: no direct reads, no io_uring, "
                                            "no huge pages");
        sl_finding_mend(f, "wsl.exe --set-version \"$WSL_DISTRO_NAME\" 2");
    } else if (s->container == SL_FACTS_WSL2) {
        sl_finding_note(f, "with half of the machine's memory unless .wslconfig says otherwise");
    } else if (s->container != SL_FACTS_NO_CONTAINER && facts->cpu.n_nodes > 1 && !s->may_bind) {
        sl_finding_raise(f, SL_FINDING_WARN, "memory cannot be bound to NUMA nodes without "
                                             "CAP_SYS_NICE: all cores may read from one node");
        if (runner)
            sl_finding_mend(f, "%s run --cap-add SYS_NICE ...", runner);
        sl_finding_advise(f, runner ? "when the container is made anew"
                                    : "add SYS_NICE to the container's capabilities");
    }
}

void sl_syschecks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    check_uring(findings, facts);
    check_container(findings, facts);
}
