/* The io_uring back end where liburing was missing at build time: never there. */
#include <errno.h>

#include "loader/readop.h"
#include "loader/uring.h"

static int none_open(struct sl_readback **ret_back, const struct sl_readback_setup *setup,
                     struct sl_diag *why)
{
    (void)ret_back;
    (void)setup;
    return sl_diag_set(why, -ENOTSUP, "built without liburing");
}

static void none_close(struct sl_readback *back)
{
    (void)back;
}

const struct sl_readback_ops sl_uring_ops = {
    .name = "io_uring",
    .open = none_open,
    .close = none_close,
};

int sl_uring_probe(void)
{
    return -ENOTSUP;
}
