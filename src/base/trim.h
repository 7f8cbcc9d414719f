/*
 * Memory that malloc keeps for later, back to the system. Any thread.
 */
#pragma once

/*
 * Give back what is free, of all threads; of what lies at the end of an arena only this
 * thread's. Some milliseconds per 100 MB.
 */
void sl_trim(void);
