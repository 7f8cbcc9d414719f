/* A token is a header's text: one with blanks or control characters is refused, not sent. */
#include "cli/hubenv.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/storeenv.h"
#include "store/smallfile.h"

#define ENDPOINT "https://huggingface.co"

/* A variable's text, NULL if it is empty or not there. */
static const char *get(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

static bool is_yes(const char *value)
{
    return value && (!strcmp(value, "1") || !strcasecmp(value, "true") ||
                     !strcasecmp(value, "yes") || !strcasecmp(value, "on"));
}

/* The text between blanks at both ends. */
static int take_token(struct sl_hubenv *env, const char *text, const char *from,
                      struct sl_diag *diag)
{
    size_t len;

    text += strspn(text, " \t\r\n");
    len = strlen(text);
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    if (len >= sizeof(env->token))
        return sl_diag_set(diag, -EINVAL, "%s: a token of less than %zu characters expected", from,
                           sizeof(env->token));
    for (size_t i = 0; i < len; i++)
        if (!isgraph((unsigned char)text[i]))
            return sl_diag_set(diag, -EINVAL, "%s: a token without blanks expected", from);
    memcpy(env->token, text, len);
    env->token[len] = '\0';
    return 0;
}

/* Heap path of the file that holds the token, or NULL. */
static char *token_path(void)
{
    static const char *const homes[][2] = {
        {"HF_TOKEN_PATH", ""},
        {"HF_HOME", "/token"},
        {"XDG_CACHE_HOME", "/huggingface/token"},
        {"HOME", "/.cache/huggingface/token"},
    };

    for (size_t i = 0; i < sizeof(homes) / sizeof(homes[0]); i++) {
        char *path = NULL;

        if (!get(homes[i][0]))
            continue;
        return asprintf(&path, "%s%s", get(homes[i][0]), homes[i][1]) < 0 ? NULL : path;
    }
    return NULL;
}

static int read_token(struct sl_hubenv *env, struct sl_diag *diag)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    char *path, *text = NULL;
    size_t len;
    int r = 0;

    for (int i = 0; i < 2; i++)
        if (get(names[i]))
            return take_token(env, get(names[i]), names[i], diag);
    if (is_yes(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        return 0;
    path = token_path();
    if (path && sl_smallfile_read(path, 4096, &text, &len) == 0)
        r = take_token(env, text, path, diag);
    free(text);
    free(path);
    return r;
}

int sl_hubenv_read(struct sl_hubenv *env, struct sl_diag *diag)
{
    const char *ca_file = get("CURL_CA_BUNDLE");
    int r;

    *env = (struct sl_hubenv){.endpoint = get("HF_ENDPOINT")};
    if (!env->endpoint)
        env->endpoint = ENDPOINT;
    if (is_yes(get("HF_HUB_OFFLINE")))
        return sl_diag_set(diag, -EINVAL, "HF_HUB_OFFLINE is set: nothing may be downloaded");
    r = read_token(env, diag);
    if (r < 0)
        return r;
    if (!ca_file)
        ca_file = get("SSL_CERT_FILE");
    env->ca_file = ca_file ? strdup(ca_file) : NULL;
    env->root = sl_storeenv_hub_root();
    if (ca_file && !env->ca_file)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    if (!env->root)
        return sl_diag_set(diag, -ENOENT, "there is no place to download to: set HOME, HF_HOME or "
                                          "HF_HUB_CACHE");
    return 0;
}

void sl_hubenv_done(struct sl_hubenv *env)
{
    free(env->root);
    free(env->ca_file);
    memset(env->token, 0, sizeof(env->token));
    env->root = env->ca_file = NULL;
}
