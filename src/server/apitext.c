#include "server/apitext.h"

#include <errno.h>
#include <stdlib.h>

#include "server/genchat.h"

static int fail(struct sl_apianswer *a, int code, const struct sl_diag *diag)
{
    return sl_apierror_set_code(a->error, code, NULL, diag);
}

/* Most texts have a token for every three bytes or more; for others a second try is made. */
int sl_apitext_tokenize(struct sl_apianswer *a, const char *text, size_t len, uint32_t flags,
                        int32_t **ret_ids, size_t *ret_n)
{
    size_t cap = len / 2 + 16;
    int32_t *ids = NULL;
    int64_t n;

    for (int i = 0; i < 2; i++) {
        free(ids);
        ids = malloc(cap * sizeof(*ids));
        if (!ids)
            return fail(a, -ENOMEM, NULL);
        n = a->text->tokenize(a->text->arg, text, len, flags, ids, cap);
        if (n < 0) {
            free(ids);
            return fail(a, (int)n, NULL);
        }
        if ((size_t)n <= cap)
            break;
        cap = (size_t)n;
    }
    *ret_ids = ids;
    *ret_n = (size_t)n;
    return 0;
}

int sl_apitext_render(struct sl_apianswer *a, char **ret_text, size_t *ret_len)
{
    struct sl_diag diag = {""};
    int r = sl_genchat_render(&a->call->gen, a->env, a->text, NULL, ret_text, ret_len, &diag);

    return r < 0 ? fail(a, r, &diag) : 0;
}

int sl_apitext_count(struct sl_apianswer *a, size_t *ret_n)
{
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len;
    int r = sl_apitext_render(a, &text, &len);

    if (r == 0)
        r = sl_apitext_tokenize(a, text, len, SLUICE_TOKENIZE_SPECIAL, &ids, ret_n);
    free(ids);
    free(text);
    return r;
}
