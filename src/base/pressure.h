/*
 * Whether the system is short of memory: what the kernel says to those who listen. Read
 * by the engine between steps, which then gives memory back. One thread at a time.
 */
#pragma once

#include <stdbool.h>

struct sl_pressure;

/*
 * Listen to all of these that this process may: PSI of the system and of its own cgroup,
 * and the memory events of its cgroup and those above (v2: high and max; v1: pressure of
 * medium level). What is missing or forbidden is left out, even everything. root: "" for
 * the live system, or a folder with proc/ and sys/ in it, for tests. Returns 0, -ENOMEM.
 */
int sl_pressure_open(struct sl_pressure **ret_pressure, const char *root);
void sl_pressure_close(struct sl_pressure *pressure); /* NULL is allowed */

/* Whether there has been pressure since the last call (the first: since the opening). One
 * system call as long as there is none. Does not block. */
bool sl_pressure_poll(struct sl_pressure *pressure);

/* What is listened to, for people: "PSI, cgroup v2 events", or "nothing". Borrowed. */
const char *sl_pressure_text(const struct sl_pressure *pressure);
