/*
 * Ctrl-C. The first one asks: it sets a flag and stops the session's running step. A
 * second one before sl_interrupt_clear ends the program. Main thread.
 */
#pragma once

#include <stdbool.h>

#include "sluice.h"

/* Install the handler. System calls that wait return EINTR from then on. */
void sl_interrupt_install(void);

/* Which session's step is stopped; NULL for none. */
void sl_interrupt_set_session(struct sluice_session *session);

bool sl_interrupt_is_set(void);
void sl_interrupt_clear(void);
