/*
 * A slot is a connection's place: it takes the first chunk that is neither whole nor another
 * slot's, asks for what is missing of it, and writes as it comes. So the file fills from its
 * front on, as the checksum needs it.
 *
 * Nothing is written that is there already: a chunk grows at its end only, and a server that
 * ignores ranges and sends the file from its begin (200 instead of 206) is listened to, on one
 * connection, up to where something is missing.
 */
#include "fetch/download.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "fetch/partial.h"

#define MS_NS 1000000u
#define POLL_MS 100u /* between two calls of progress */

struct slot {
    struct sl_download *download;
    bool is_busy;
    uint32_t chunk;          /* where it began */
    uint64_t first, last;    /* asked for */
    uint64_t off;            /* of the next byte that comes */
    bool was_direct;         /* the URL was one that redirects had led to */
    uint32_t n_fails;        /* in a row */
    uint64_t fetched_at_fail;
    uint64_t wait_until_ns;
};

struct sl_download {
    /* set once */
    struct sl_transfer *transfer;
    struct sl_download_opts opts;
    const struct sl_download_events *events;
    char *url;
    const char *token, *token_home;
    char sha256[SL_SHA256_HEX_BYTES];
    uint64_t bytes;
    /* state */
    struct sl_partial partial;
    uint64_t target_bytes;   /* wanted from the begin on, just now */
    struct slot slots[SL_DOWNLOAD_CONNECTIONS_MAX];
    char *direct_url;        /* where redirects lead; NULL: not known */
    char tag[SL_TRANSFER_TAG_BYTES]; /* of the first answer */
    bool is_rangeless;       /* the server sends all or nothing */
    const struct slot *stream; /* which then gets it; NULL: none */
    uint64_t wait_until_ns;  /* for all slots: the server asked for it */
    uint32_t n_faults;
    char fault[SL_RETRY_TEXT_BYTES];
    int error;               /* which ends it; why: diag */
    struct sl_diag *diag;
};

static int fail(struct sl_download *d, int code, const char *what)
{
    if (d->error == 0) {
        d->error = code;
        (void)sl_diag_set(d->diag, code, "%s", what);
    }
    return code;
}

/* Whether a text is the digest of another file; one that is no digest says nothing. */
static bool is_other_digest(const struct sl_download *d, const char *tag)
{
    return sl_sha256_is_hex(tag) && strcasecmp(tag, d->sha256) != 0;
}

static bool is_other_size(const struct sl_download *d, uint64_t bytes)
{
    return bytes != SL_TRANSFER_UNKNOWN && bytes != d->bytes;
}

/*
 * The hub's own tags are digests. Those of other servers may be anything, and may differ
 * between servers that share a name; a change is looked into once by asking the hub again.
 */
static int check_identity(struct slot *slot, const struct sl_transfer_reply *reply)
{
    struct sl_download *d = slot->download;
    bool is_hub = !slot->was_direct && !reply->is_redirected;
    uint64_t total = reply->status == 206 ? reply->range_total : reply->length;
    char text[160];

    if (is_other_digest(d, reply->linked_tag) || (is_hub && is_other_digest(d, reply->tag)))
        return fail(d, -ESTALE, "the server has a file with another SHA-256");
    if (is_other_size(d, total) || is_other_size(d, reply->linked_bytes)) {
        (void)snprintf(text, sizeof(text), "the server's file has %llu bytes instead of %llu",
                       (unsigned long long)(is_other_size(d, total) ? total
                                                                    : reply->linked_bytes),
                       (unsigned long long)d->bytes);
        return fail(d, -ESTALE, text);
    }
    if (reply->tag[0] && d->tag[0] && strcmp(reply->tag, d->tag) != 0 && !d->opts.is_any_tag)
        return fail(d, -ESTALE, "the server's file has changed");
    memcpy(d->tag, reply->tag, sizeof(d->tag));
    return 0;
}

static int on_head(void *arg, const struct sl_transfer_reply *reply)
{
    struct slot *slot = arg;
    struct sl_download *d = slot->download;
    int r;

    if (reply->is_encoded)
        return fail(d, -EPROTO, "the server encodes the file, which was not asked for");
    r = check_identity(slot, reply);
    if (r < 0)
        return r;
    if (reply->status == 206 && (reply->range_first != slot->first ||
                                 reply->range_last > slot->last))
        return -EBADE; /* a range that nobody asked for: a fault of this try */
    if (reply->status == 200) {
        if (d->stream)
            return -EAGAIN;
        d->is_rangeless |= slot->first != 0 || slot->last != d->bytes - 1;
        d->stream = slot;
        slot->off = 0;
        slot->last = d->bytes - 1;
    }
    if (reply->is_redirected && !d->direct_url)
        d->direct_url = strdup(reply->url); /* NULL: asked again each time */
    return 0;
}

static int on_body(void *arg, const char *data, size_t len)
{
    struct slot *slot = arg;
    struct sl_download *d = slot->download;
    uint64_t left = slot->last + 1 - slot->off;
    size_t n = left < len ? (size_t)left : len;
    uint64_t written = 0;
    int r;

    if (d->error)
        return d->error;
    r = sl_partial_take(&d->partial, slot->off, data, n, &written, d->diag);
    if (r < 0)
        return d->error = r;
    slot->off += n;
    if (slot->off <= slot->last && slot->off >= d->target_bytes)
        return -EALREADY; /* the head is there */
    return n < len ? -EFBIG : 0; /* more than was asked for: the rest is not taken */
}

static void forget_direct(struct sl_download *d)
{
    free(d->direct_url);
    d->direct_url = NULL;
}

/* A try that brought nothing, or not all. */
static void note_fault(struct slot *slot, const struct sl_transfer_reply *reply, const char *text)
{
    struct sl_download *d = slot->download;
    uint64_t now = sl_clock_ns();

    if (slot->fetched_at_fail != d->partial.fetched_bytes)
        slot->n_fails = 0;
    slot->fetched_at_fail = d->partial.fetched_bytes;
    slot->n_fails++;
    d->n_faults++;
    (void)snprintf(d->fault, sizeof(d->fault), "%s", text);
    forget_direct(d); /* it may have expired, or its server be gone */
    if (slot->n_fails >= d->opts.retry.n_tries) {
        char why[SL_RETRY_TEXT_BYTES + 80];

        (void)snprintf(why, sizeof(why), "%s (tried %u times)", text, slot->n_fails);
        (void)fail(d, reply->error && reply->error != -EBADE ? reply->error : -EPROTO, why);
    } else if (reply->retry_after_s != SL_TRANSFER_UNKNOWN && reply->status >= 400) {
        d->wait_until_ns = now + reply->retry_after_s * 1000 * MS_NS;
    } else {
        slot->wait_until_ns = now + (uint64_t)MS_NS * sl_retry_wait_ms(&d->opts.retry,
                                                                        slot->n_fails, now);
    }
}

static void on_done(void *arg, const struct sl_transfer_reply *reply)
{
    struct slot *slot = arg;
    struct sl_download *d = slot->download;
    bool is_hub = !slot->was_direct && !reply->is_redirected; /* others' links expire */
    char text[SL_RETRY_TEXT_BYTES];
    int r;

    slot->is_busy = false;
    if (d->stream == slot)
        d->stream = NULL;
    if (d->error || reply->error == -EALREADY || reply->error == -EFBIG)
        return;
    if (reply->error == -EAGAIN) /* the server knows no ranges, and another slot gets it all */
        return;
    r = sl_retry_judge(reply, text);
    if (reply->error == -EBADE) {
        note_fault(slot, reply, "the server sent another range than was asked for");
    } else if (r == 0 && slot->off > slot->last) {
        slot->n_fails = 0;
    } else if (r == 0) {
        note_fault(slot, reply, "the server ended its answer early");
    } else if (r == -EAGAIN || (!is_hub && (r == -EACCES || r == -ENOENT))) {
        note_fault(slot, reply, text);
    } else {
        (void)fail(d, r, text);
    }
}

/* Whether another slot is at work on a chunk. */
static bool is_taken(const struct sl_download *d, uint32_t chunk)
{
    for (uint32_t i = 0; i < d->opts.n_connections; i++)
        if (d->slots[i].is_busy && d->slots[i].chunk == chunk)
            return true;
    return false;
}

/* The first chunk of which something is wanted, or n_chunks. */
static uint32_t pick_chunk(const struct sl_download *d)
{
    const struct sl_journal *journal = &d->partial.journal;

    for (uint32_t i = 0; i < journal->n_chunks; i++) {
        uint64_t from = (uint64_t)i * journal->chunk_bytes;
        uint32_t written = journal->counts[i].written;

        if (from + written < d->target_bytes && written < sl_journal_chunk_bytes(journal, i) &&
            !is_taken(d, i))
            return i;
    }
    return journal->n_chunks;
}

static int start_slot(struct sl_download *d, struct slot *slot, uint32_t chunk)
{
    const struct sl_journal *journal = &d->partial.journal;
    uint64_t from = (uint64_t)chunk * journal->chunk_bytes;
    uint64_t end = from + sl_journal_chunk_bytes(journal, chunk);
    struct sl_transfer_request request = {
        .url = d->direct_url ? d->direct_url : d->url, .token = d->token,
        .token_home = d->token_home, .head = on_head, .body = on_body, .done = on_done,
        .arg = slot,
    };
    int r;

    slot->chunk = chunk;
    slot->first = slot->off = from + journal->counts[chunk].written;
    slot->last = (end < d->target_bytes ? end : d->target_bytes) - 1;
    slot->was_direct = d->direct_url != NULL;
    if (d->is_rangeless) {
        slot->first = slot->off = 0;
        slot->last = d->bytes - 1;
    }
    request.first = slot->first;
    request.last = d->is_rangeless ? SL_TRANSFER_UNKNOWN : slot->last;
    r = sl_transfer_start(d->transfer, &request);
    if (r == -EINVAL)
        return fail(d, r, "libcurl refuses the address of the file");
    if (r < 0)
        return fail(d, r, "not enough memory");
    slot->is_busy = true;
    return 0;
}

static bool is_any_busy(const struct sl_download *d)
{
    for (uint32_t i = 0; i < d->opts.n_connections; i++)
        if (d->slots[i].is_busy)
            return true;
    return false;
}

static int start_slots(struct sl_download *d, uint64_t now)
{
    for (uint32_t i = 0; i < d->opts.n_connections && d->wait_until_ns <= now; i++) {
        struct slot *slot = &d->slots[i];
        uint32_t chunk;

        if (slot->is_busy || slot->wait_until_ns > now)
            continue;
        if (d->is_rangeless && is_any_busy(d))
            break;
        chunk = pick_chunk(d);
        if (chunk == d->partial.journal.n_chunks)
            break;
        if (start_slot(d, slot, chunk) < 0)
            return d->error;
    }
    return 0;
}

/* Milliseconds until a slot may begin again; 0: one is at work, or may. */
static uint32_t waiting_ms(const struct sl_download *d, uint64_t now)
{
    uint64_t until = UINT64_MAX;

    if (is_any_busy(d))
        return 0;
    for (uint32_t i = 0; i < d->opts.n_connections; i++)
        if (d->slots[i].wait_until_ns < until)
            until = d->slots[i].wait_until_ns;
    if (d->wait_until_ns > until)
        until = d->wait_until_ns;
    return until <= now ? 0 : (uint32_t)((until - now) / MS_NS) + 1;
}

void sl_download_get_state(const struct sl_download *download, struct sl_download_state *ret)
{
    *ret = (struct sl_download_state){
        .bytes = download->bytes,
        .there_bytes = download->partial.journal.n_written,
        .resumed_bytes = download->partial.resumed_bytes,
        .checked_bytes = download->partial.checked_bytes,
        .n_faults = download->n_faults,
        .wait_ms = waiting_ms(download, sl_clock_ns()),
        .fault = download->fault,
    };
}

static int step(struct sl_download *d, bool is_checking)
{
    struct sl_download_state state;
    uint64_t now = sl_clock_ns();
    uint32_t wait = POLL_MS;
    int more = 0, r;

    if (start_slots(d, now) < 0)
        return d->error;
    if (is_checking)
        more = sl_partial_check_some(&d->partial, d->diag);
    r = more < 0 ? more : sl_partial_sync_some(&d->partial, d->diag);
    if (r < 0)
        return d->error = r;
    if (waiting_ms(d, now) && waiting_ms(d, now) < POLL_MS)
        wait = waiting_ms(d, now);
    if (sl_transfer_run(d->transfer, more ? 0 : wait) < 0)
        return fail(d, -EIO, "libcurl cannot go on");
    sl_download_get_state(d, &state);
    if (d->error == 0 && d->events->progress && d->events->progress(d->events->arg, &state) != 0)
        return fail(d, -ECANCELED, "interrupted");
    return d->error;
}

static int get_until(struct sl_download *d, uint64_t target_bytes, bool is_checking,
                     struct sl_diag *diag)
{
    const struct sl_partial *p = &d->partial;
    int r = 0, sync;

    d->diag = diag;
    d->error = 0;
    d->target_bytes = target_bytes < d->bytes ? target_bytes : d->bytes;
    for (uint32_t i = 0; i < d->opts.n_connections; i++)
        d->slots[i].n_fails = 0;
    while (r == 0 && (sl_journal_prefix(&p->journal) < d->target_bytes ||
                      (is_checking && p->checked_bytes < d->bytes)))
        r = step(d, is_checking);
    sl_transfer_cancel(d->transfer);
    for (uint32_t i = 0; i < d->opts.n_connections; i++)
        d->slots[i].is_busy = false;
    d->stream = NULL;
    if (r == 0 && !is_checking)
        return 0; /* a head is soon followed by more */
    sync = sl_partial_sync(&d->partial, r == 0 ? diag : NULL);
    return r == 0 ? sync : r;
}

int sl_download_get_head(struct sl_download *download, uint64_t head_bytes, struct sl_diag *diag)
{
    return get_until(download, head_bytes, false, diag);
}

int sl_download_get_all(struct sl_download *download, struct sl_diag *diag)
{
    int r = get_until(download, UINT64_MAX, true, diag);

    return r == 0 ? sl_partial_finish(&download->partial, download->sha256, diag) : r;
}

const char *sl_download_partial_path(const struct sl_download *download)
{
    return download->partial.data_path;
}

int sl_download_open(struct sl_download **ret_download, struct sl_transfer *transfer,
                     const struct sl_download_file *file, const struct sl_download_opts *opts,
                     const struct sl_download_events *events, struct sl_diag *diag)
{
    struct sl_download *d = calloc(1, sizeof(*d));
    struct sl_journal_id id = {.bytes = file->bytes};
    int r;

    if (!d)
        return sl_diag_set(diag, -ENOMEM, "not enough memory");
    d->transfer = transfer;
    d->opts = *opts;
    d->events = events;
    d->token = file->token;
    d->token_home = file->token_home;
    d->bytes = file->bytes;
    memcpy(d->sha256, file->sha256, sizeof(d->sha256));
    memcpy(id.sha256, file->sha256, sizeof(id.sha256));
    (void)snprintf(id.name, sizeof(id.name), "%s", file->name); /* cut is fine */
    for (uint32_t i = 0; i < SL_DOWNLOAD_CONNECTIONS_MAX; i++)
        d->slots[i].download = d;
    d->partial.fd = d->partial.journal.fd = -1;
    d->url = strdup(file->url);
    r = d->url ? sl_partial_open(&d->partial, file->path, &id, diag)
               : sl_diag_set(diag, -ENOMEM, "not enough memory");
    if (r < 0) {
        sl_download_close(d);
        return r;
    }
    *ret_download = d;
    return 0;
}

void sl_download_close(struct sl_download *download)
{
    if (!download)
        return;
    sl_partial_close(&download->partial);
    free(download->url);
    free(download->direct_url);
    free(download);
}
