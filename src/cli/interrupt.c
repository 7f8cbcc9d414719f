/*
 * The only file-static mutable state of the program: a signal handler has no other way
 * to learn whom to stop.
 */
#include "cli/interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static volatile sig_atomic_t n_interrupts;
static volatile sig_atomic_t patience = 1;
static struct sluice_session *_Atomic running;

static void on_interrupt(int number)
{
    struct sluice_session *session = atomic_load_explicit(&running, memory_order_acquire);

    if (++n_interrupts > patience) {
        signal(number, SIG_DFL);
        raise(number); /* delivered when this handler returns */
        return;
    }
    if (session)
        sluice_session_cancel(session);
}

void sl_interrupt_install(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};

    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL); /* cannot fail for this signal */
}

void sl_interrupt_set_restart(bool is_restarting)
{
    struct sigaction action;

    if (sigaction(SIGINT, NULL, &action) < 0 || action.sa_handler != on_interrupt)
        return; /* not installed */
    action.sa_flags = is_restarting ? SA_RESTART : 0;
    (void)sigaction(SIGINT, &action, NULL); /* cannot fail for this signal */
}

void sl_interrupt_set_session(struct sluice_session *session)
{
    /* pairs with the load in on_interrupt, possibly on another thread */
    atomic_store_explicit(&running, session, memory_order_release);
}

void sl_interrupt_set_patience(int n)
{
    patience = n;
}

bool sl_interrupt_is_set(void)
{
    return n_interrupts > 0;
}

void sl_interrupt_clear(void)
{
    n_interrupts = 0;
}
