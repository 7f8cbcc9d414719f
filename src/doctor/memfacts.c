/*
 * Limits are read from /proc/self/limits, as all else here from files, so that tests can make
 * them up. Two columns follow the name: soft and hard, a number or "unlimited".
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "doctor/facts.h"
#include "doctor/sysfile.h"

#define CAP_IPC_LOCK_BIT 14 /* linux/capability.h */
#define SWAP_KIB_MAX (UINT64_MAX >> 12) /* of all swaps: more is made up */
#define THP_FILE "/sys/kernel/mm/transparent_hugepage/enabled"

/* The word in brackets of "always [madvise] never". */
static void read_thp(struct sl_facts_memory *m, const char *root)
{
    char line[64], off[16];
    char *begin, *end;

    (void)sl_sysfile_line(root, THP_FILE, line, sizeof(line));
    begin = strchr(line, '[');
    end = begin ? strchr(begin, ']') : NULL;
    if (end) {
        *end = '\0';
        (void)snprintf(m->thp, sizeof(m->thp), "%s", begin + 1);
    }
    m->is_thp_off = sl_sysfile_key(root, "/proc/self/status", "THP_enabled:", off, sizeof(off)) &&
                    strcmp(off, "0") == 0;
}

static uint64_t parse_limit(const char *text)
{
    if (text[0] < '0' || text[0] > '9')
        return SL_FACTS_NONE;
    return strtoull(text, NULL, 10); /* too large is UINT64_MAX: none */
}

static void read_limits(struct sl_facts_memory *m, const char *root)
{
    static const char file[] = "/proc/self/limits";
    char line[128];

    m->lock_bytes = m->lock_max_bytes = m->address_bytes = SL_FACTS_NONE;
    if (sl_sysfile_key(root, file, "Max locked memory", line, sizeof(line))) {
        const char *hard = line + strcspn(line, " ");

        m->lock_bytes = parse_limit(line);
        m->lock_max_bytes = parse_limit(hard + strspn(hard, " "));
    }
    if (sl_sysfile_key(root, file, "Max address space", line, sizeof(line)))
        m->address_bytes = parse_limit(line);
}

/* Lines of /proc/swaps: NAME TYPE SIZE USED PRIORITY, in KiB, behind one of headings. */
static void read_swaps(struct sl_facts_memory *m, const char *root)
{
    FILE *f = sl_sysfile_open(root, "/proc/swaps");
    char line[4096];
    bool is_heading = true;
    uint32_t n_disk = 0;

    while (f && fgets(line, sizeof(line), f)) {
        char name[256];
        uint64_t size, used;

        if (!is_heading &&
            sscanf(line, "%255s %*s %" SCNu64 " %" SCNu64, name, &size, &used) == 3 &&
            used <= size && size <= SWAP_KIB_MAX - m->swap_bytes / 1024) {
            m->swap_bytes += size * 1024;
            m->swap_used_bytes += used * 1024;
            n_disk += !strstr(name, "/zram");
        }
        is_heading = false;
    }
    m->is_swap_in_memory = m->swap_bytes && n_disk == 0;
    if (f)
        (void)fclose(f); /* read only */
}

static void read_overcommit(struct sl_facts_memory *m, const char *root)
{
    uint64_t value;

    m->overcommit = -1;
    if (sl_sysfile_number(root, "/proc/sys/vm/overcommit_memory", &value) && value <= 2)
        m->overcommit = (int)value;
    m->commit_bytes = sl_sysfile_kib(root, "/proc/meminfo", "CommitLimit:");
    m->committed_bytes = sl_sysfile_kib(root, "/proc/meminfo", "Committed_AS:");
}

static void read_huge(struct sl_facts_memory *m, const char *root)
{
    m->huge_bytes = sl_sysfile_kib(root, "/proc/meminfo", "Hugetlb:");
}

void sl_memfacts_gather(struct sl_facts_memory *ret, const char *root)
{
    char mask[32];

    *ret = (struct sl_facts_memory){.usable_bytes = sl_memory_available(root)};
    ret->total_bytes = sl_sysfile_kib(root, "/proc/meminfo", "MemTotal:");
    ret->available_bytes = sl_sysfile_kib(root, "/proc/meminfo", "MemAvailable:");
    if (sl_sysfile_key(root, "/proc/self/status", "CapEff:", mask, sizeof(mask)))
        ret->may_lock = strtoull(mask, NULL, 16) >> CAP_IPC_LOCK_BIT & 1;
    read_thp(ret, root);
    read_huge(ret, root);
    read_limits(ret, root);
    read_swaps(ret, root);
    read_overcommit(ret, root);
}
