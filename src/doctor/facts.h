/*
 * What is known of a machine that decides how well models run on it: a plain struct, so that
 * the checks (checks.h) are pure functions of it and tests can make up any machine. Each group
 * has a file that fills it in. Called by src/cli/cmd_doctor.c; one thread.
 *
 * root is put before every path that is read: "" for the live system, a folder with proc/ and
 * sys/ in it for tests. What cannot be read or understood stays as said below; gathering never
 * fails. Texts come from the system and are clean: one line, no control characters.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

#define SL_FACTS_POLICIES_MAX 8
#define SL_FACTS_PLACES_MAX 8
#define SL_FACTS_NONE UINT64_MAX /* of a limit: there is none */

/* How the clock of some CPUs is governed. */
struct sl_facts_policy {
    char governor[32];   /* "performance", "powersave", ... */
    char driver[32];     /* "amd-pstate-epp"; "" */
    char preference[32]; /* of drivers that have one: "balance_performance"; "" */
    uint32_t n;          /* policies that are alike */
};

struct sl_facts_cpu {
    char name[128];           /* "" */
    enum sl_cpu_level level;  /* of kernels that can run; not from a file */
    bool is_virtual;          /* the CPU says that a hypervisor shows it */
    bool is_known;            /* what follows, up to n_nodes; not from a file */
    bool is_flat;             /* without hwloc: L3 domains and siblings are not seen */
    uint32_t n_cores, n_cpus; /* that this process may use */
    uint32_t n_l3, n_nodes;
    uint64_t l3_bytes;        /* of all these domains; 0: not known */
    uint32_t n_machine_cores, n_machine_cpus; /* allowed or not; 0: not known */
    char spread_cpus[64];     /* one CPU of each core, "0,2,4,6"; "" if not known or too many */
    char smt[24];             /* smt/control: "on", "off", "forceoff", "notsupported" ...; "" */
    struct sl_facts_policy policies[SL_FACTS_POLICIES_MAX];
    uint32_t n_policies;      /* kinds of them; 0: the system shows none */
    int boost;                /* 1 on, 0 off, -1 not known */
    bool is_boost_inverted;   /* of intel_pstate/no_turbo, 1 being off */
};

struct sl_facts_memory {
    uint64_t total_bytes, available_bytes; /* of the machine; 0: not known */
    uint64_t usable_bytes;    /* sl_memory_available; SL_FACTS_NONE: not known */
    double bytes_per_s;       /* measured; 0: not */
    uint32_t n_threads;       /* that measured it */
    char thp[16];             /* "always", "madvise", "never"; "": the kernel has none */
    bool is_thp_off;          /* switched off for this process */
    uint64_t huge_bytes;      /* set aside as huge pages */
    uint64_t lock_bytes, lock_max_bytes; /* RLIMIT_MEMLOCK, soft and hard; SL_FACTS_NONE */
    bool may_lock;            /* CAP_IPC_LOCK: the limit does not bind */
    uint64_t address_bytes;   /* RLIMIT_AS; SL_FACTS_NONE */
    int overcommit;           /* vm.overcommit_memory; -1 not known */
    uint64_t commit_bytes, committed_bytes; /* what overcommit 2 allows and what is used */
    uint64_t swap_bytes, swap_used_bytes;
    bool is_swap_in_memory;   /* all of it is zram */
};

struct sl_facts_limits {
    uint64_t memory_bytes;    /* the cgroup limit that leaves least; SL_FACTS_NONE */
    uint64_t memory_left_bytes;
    char memory_file[PATH_MAX]; /* that sets it, as the live system would name it; "" */
    double cpus;              /* CPUs' worth of time; 0: no limit */
    char cpu_folder[PATH_MAX];
    bool is_cpu_v2;
    uint64_t read_bytes_per_s; /* of a disk, least of all that are bounded; SL_FACTS_NONE */
    char read_file[PATH_MAX]; /* that sets it; "" */
    char read_device[32];     /* which, "259:0" */
};

enum sl_facts_container {
    SL_FACTS_NO_CONTAINER = 0,
    SL_FACTS_DOCKER,
    SL_FACTS_PODMAN,
    SL_FACTS_KUBERNETES,
    SL_FACTS_LXC,
    SL_FACTS_NSPAWN,
    SL_FACTS_GVISOR,
    SL_FACTS_WSL1,
    SL_FACTS_WSL2,
    SL_FACTS_OTHER_CONTAINER,
};

struct sl_facts_system {
    char kernel[64];          /* release; "" */
    int uring_error;          /* 0: it works; negative errno, -ENOTSUP: built without;
                                 by sl_facts_gather, not from a file */
    int uring_disabled;       /* kernel.io_uring_disabled: 0, 1, 2; -1: no such file */
    int seccomp;              /* of this process: 0 none, 1 strict, 2 a filter; -1 not known */
    enum sl_facts_container container;
    bool may_bind;            /* CAP_SYS_NICE: containers let memory be bound to a node */
    char unit[128];           /* of systemd, if the process is part of a service; "" */
};

/* A file system where models lie, by one file in it. */
struct sl_facts_place {
    char path[PATH_MAX];      /* of the file */
    uint64_t file_bytes;      /* 0: it cannot be opened, see why */
    char type[32];            /* "ext4"; "" */
    char device[64];          /* "nvme0n1p2"; "" where there is none */
    char source[128];         /* what is mounted: "/dev/nvme0n1p2", "tank/models", "host:/x" */
    bool is_direct;           /* it takes direct reads */
    bool is_rotational;
    char crypt[64];           /* what dm-crypt calls the device that it decrypts; "": none */
    bool is_encoded;          /* extents of the file are compressed, encrypted or inline */
    char why[160];            /* why it cannot be opened, or read directly */
    double bytes_per_s;       /* measured; 0: not */
    char measure_why[160];    /* why not */
};

/* What a model needs here; by the caller, from a plan. */
struct sl_facts_model {
    bool is_known;
    char name[256];
    bool is_too_big, is_streaming;
    uint64_t weight_bytes;
    uint64_t shared_bytes;    /* to be locked while streaming */
    uint64_t min_bytes;       /* the smallest --ram; 0: it does not stream */
    uint64_t resident_bytes;
};

struct sl_facts {
    struct sl_facts_cpu cpu;
    struct sl_facts_memory memory;
    struct sl_facts_limits limits;
    struct sl_facts_system system;
    struct sl_facts_place places[SL_FACTS_PLACES_MAX];
    uint32_t n_places, n_places_left_out;
    struct sl_facts_model model; /* that was asked for */
    bool is_quick;               /* measuring was not asked for */
};

/* Everything but places, model and what is measured. */
void sl_facts_gather(struct sl_facts *ret, const char *root);

void sl_cpufacts_gather(struct sl_facts_cpu *ret, const char *root);
void sl_memfacts_gather(struct sl_facts_memory *ret, const char *root);
void sl_limitfacts_gather(struct sl_facts_limits *ret, const char *root);
void sl_sysfacts_gather(struct sl_facts_system *ret, const char *root);

/* For a file that models are read from: opens and reads it, writes nothing. */
void sl_placefacts_gather(struct sl_facts_place *ret, const char *root, const char *path);
/* The part of it that mounts and devices tell, for a path without links; number is the device
 * ("259:2") that the system says the file is on. */
void sl_placefacts_look_up(struct sl_facts_place *place, const char *root, const char *path,
                           const char *number);

/* Measure the place's disk for about so long: direct reads. Blocks. */
void sl_placefacts_measure(struct sl_facts_place *place, double seconds);
