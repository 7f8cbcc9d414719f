/*
 * Ctrl-C. The first one asks: it sets a flag and stops the session's running step. If
 * it comes again and again before sl_interrupt_clear, the program ends. Main thread.
 */
#pragma once

#include <stdbool.h>

#include "sluice.h"

/* Install the handler. System calls that wait return EINTR from then on. */
void sl_interrupt_install(void);

/* Whether system calls that wait go on after a Ctrl-C that asks, instead: for writing, which
 * would lose what standard output holds back. */
void sl_interrupt_set_restart(bool is_restarting);

/* Which session's step is stopped; NULL for none. */
void sl_interrupt_set_session(struct sluice_session *session);

/* How many times are asked for; the next one ends the program. 1 at first. */
void sl_interrupt_set_patience(int n);

bool sl_interrupt_is_set(void);
void sl_interrupt_clear(void);
