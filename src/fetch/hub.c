#include "fetch/hub.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/strbuf.h"

#define LIST_BYTES_MAX ((size_t)64 << 20)
#define LIST_NS_MAX ((uint64_t)300 * 1000000000u) /* a server that drips is given up */
#define POLL_MS 100u

struct listing { /* being received */
    struct sl_strbuf text;
    bool is_done;
    int result; /* of sl_retry_judge */
    uint64_t retry_after_s;
    char why[SL_RETRY_TEXT_BYTES];
};

int sl_hub_set_endpoint(struct sl_hub *hub, const char *url, struct sl_diag *diag)
{
    size_t len = strlen(url);

    while (len && url[len - 1] == '/')
        len--;
    if ((strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0) ||
        len >= sizeof(hub->endpoint))
        return sl_diag_set(diag, -EINVAL, "HF_ENDPOINT: an address as https://huggingface.co "
                                          "expected, found \"%.200s\"", url);
    (void)snprintf(hub->endpoint, sizeof(hub->endpoint), "%.*s", (int)len, url);
    return 0;
}

static int on_head(void *arg, const struct sl_transfer_reply *reply)
{
    struct listing *listing = arg;

    sl_strbuf_done(&listing->text);
    return reply->is_encoded ? -EPROTO : 0;
}

static int on_body(void *arg, const char *data, size_t len)
{
    struct listing *listing = arg;

    if (listing->text.len + len > LIST_BYTES_MAX)
        return -E2BIG;
    sl_strbuf_add(&listing->text, data, len);
    return listing->text.error;
}

static void on_done(void *arg, const struct sl_transfer_reply *reply)
{
    struct listing *listing = arg;

    listing->is_done = true;
    listing->retry_after_s = reply->status >= 400 ? reply->retry_after_s : SL_TRANSFER_UNKNOWN;
    listing->result = sl_retry_judge(reply, listing->why);
    if (listing->result == -E2BIG)
        (void)snprintf(listing->why, sizeof(listing->why), "it is longer than 64 MiB");
    else if (listing->result == -EPROTO && !listing->why[0])
        (void)snprintf(listing->why, sizeof(listing->why), "it is encoded");
}

/* Until the answer is there, or for so long. */
static int wait(struct sl_hub *hub, const struct listing *listing, uint64_t until_ns)
{
    for (uint64_t now; !listing->is_done && (now = sl_clock_ns()) < until_ns;) {
        uint64_t left_ms = (until_ns - now) / 1000000 + 1;

        if (sl_transfer_run(hub->transfer, left_ms < POLL_MS ? (uint32_t)left_ms : POLL_MS) < 0)
            return -EIO;
        if (hub->stop && hub->stop(hub->arg) != 0)
            return -ECANCELED;
    }
    return 0;
}

static int get_once(struct sl_hub *hub, const char *url, struct listing *listing)
{
    const struct sl_transfer_request request = {
        .url = url, .token = hub->token, .token_home = hub->endpoint,
        .last = SL_TRANSFER_UNKNOWN, .head = on_head, .body = on_body, .done = on_done,
        .arg = listing,
    };
    int r;

    listing->is_done = false;
    listing->why[0] = '\0';
    r = sl_transfer_start(hub->transfer, &request);
    if (r == 0)
        r = wait(hub, listing, sl_clock_ns() + LIST_NS_MAX);
    sl_transfer_cancel(hub->transfer);
    if (r < 0)
        return r;
    if (!listing->is_done) {
        (void)snprintf(listing->why, sizeof(listing->why), "the server takes too long");
        return -ETIMEDOUT;
    }
    return listing->result;
}

/* The answer to a URL, in listing->text. */
static int get(struct sl_hub *hub, const char *url, struct listing *listing, struct sl_diag *diag)
{
    const struct listing pause = {.is_done = false};

    for (uint32_t n_fails = 1;; n_fails++) {
        int r = get_once(hub, url, listing);
        uint64_t wait_ns;

        if (r == -ECANCELED)
            return sl_diag_set(diag, r, "interrupted");
        if (r != -EAGAIN)
            return r < 0 ? sl_diag_set(diag, r, "%s", listing->why[0] ? listing->why
                                                                      : sl_err_text(r)) : 0;
        if (n_fails >= hub->retry.n_tries)
            return sl_diag_set(diag, -EPROTO, "%s (tried %u times)", listing->why, n_fails);
        wait_ns = listing->retry_after_s != SL_TRANSFER_UNKNOWN
                      ? listing->retry_after_s * 1000000000u
                      : sl_retry_wait_ms(&hub->retry, n_fails, sl_clock_ns()) * (uint64_t)1000000;
        r = wait(hub, &pause, sl_clock_ns() + wait_ns);
        if (r < 0)
            return sl_diag_set(diag, r, "interrupted");
    }
}

int sl_hub_list(struct sl_hub *hub, const struct sl_hubname *name, struct sl_hublist *ret,
                struct sl_diag *diag)
{
    struct listing listing = {.is_done = false};
    char url[SL_HUB_URL_BYTES];
    int r;

    (void)snprintf(url, sizeof(url), "%s/api/models/%s/revision/", hub->endpoint, name->repo);
    if (!sl_hubname_add_url(url, sizeof(url) - 16, name->revision, false))
        return sl_diag_set(diag, -E2BIG, "the revision's name is too long");
    strcat(url, "?blobs=true"); /* there is room */
    r = get(hub, url, &listing, diag);
    if (r == 0)
        r = sl_hublist_parse(ret, listing.text.ptr ? listing.text.ptr : "", listing.text.len,
                             diag);
    sl_strbuf_done(&listing.text);
    return r;
}

int sl_hub_file_url(const struct sl_hub *hub, const char *repo, const char *commit,
                    const char *path, char ret_url[SL_HUB_URL_BYTES], struct sl_diag *diag)
{
    (void)snprintf(ret_url, SL_HUB_URL_BYTES, "%s/%s/resolve/%s/", hub->endpoint, repo, commit);
    if (!sl_hubname_add_url(ret_url, SL_HUB_URL_BYTES, path, true))
        return sl_diag_set(diag, -E2BIG, "the file's name is too long");
    return 0;
}
