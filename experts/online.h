/* Which logical CPUs the machine has switched on. Any thread. */
#pragma once

#include "experts/topology.h"

/*
 * Read the list. root is put before the path: "" for the live system, a folder that holds
 * a recorded one for tests. Where the system does not tell there are none.
 */
void sl_online_read(const char *root, struct sl_topology_cpus *ret_cpus);
