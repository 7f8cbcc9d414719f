/* One line of sysfs, "0-15". */
#include "experts/online.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "experts/cpulist.h"

#define LINE_BYTES 16384 /* of 4096 CPUs, every second one: 8,200 */

void sl_online_read(const char *root, struct sl_topology_cpus *ret_cpus)
{
    int32_t cpus[SL_CPULIST_CPUS];
    char path[PATH_MAX], line[LINE_BYTES];
    FILE *file;
    int n;

    *ret_cpus = (struct sl_topology_cpus){ .n = 0 };
    if (snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/online", root) >=
        (int)sizeof(path))
        return;
    file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0'; /* which is no list */
    (void)fclose(file);  /* read only: nothing to lose */
    line[strcspn(line, "\n")] = '\0';
    n = sl_cpulist_parse(line, cpus, SL_CPULIST_CPUS, NULL);
    for (int i = 0; i < n; i++)
        sl_topology_cpus_add(ret_cpus, cpus[i]);
}
