/*
 * A list from the newest to the oldest. Ids are not kept but made again: a turn has few calls,
 * and a chat asks for few turns.
 */
#include "server/recall.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct turn {
    struct turn *older;
    struct sl_genid genid;
    uint32_t n_calls;
    size_t len;
    char text[];
};

struct sl_recall {
    /* set once, then read only */
    size_t max_bytes;
    pthread_mutex_t lock;

    /* guarded by lock */
    struct turn *newest;
    size_t n_bytes;

    /* owned by the thread that finds */
    char *found;
};

int sl_recall_new(struct sl_recall **ret_recall, size_t max_bytes)
{
    struct sl_recall *recall = calloc(1, sizeof(*recall));

    if (!recall)
        return -ENOMEM;
    recall->max_bytes = max_bytes;
    (void)pthread_mutex_init(&recall->lock, NULL); /* cannot fail without attributes */
    *ret_recall = recall;
    return 0;
}

static void free_turns(struct turn *turn)
{
    while (turn) {
        struct turn *older = turn->older;

        free(turn);
        turn = older;
    }
}

void sl_recall_free(struct sl_recall *recall)
{
    if (!recall)
        return;
    free_turns(recall->newest);
    free(recall->found);
    (void)pthread_mutex_destroy(&recall->lock);
    free(recall);
}

static size_t bytes_of(const struct turn *turn)
{
    return sizeof(*turn) + turn->len;
}

/* Take off what is too much, at the list's old end. */
static struct turn *trim_locked(struct sl_recall *recall)
{
    struct turn **link = &recall->newest, *rest;
    size_t n_bytes = 0;

    while (*link && n_bytes + bytes_of(*link) <= recall->max_bytes) {
        n_bytes += bytes_of(*link);
        link = &(*link)->older;
    }
    rest = *link;
    *link = NULL;
    recall->n_bytes = n_bytes;
    return rest;
}

void sl_recall_put(struct sl_recall *recall, const struct sl_genid *genid, uint32_t n_calls,
                   const char *text, size_t len)
{
    struct turn *turn = n_calls ? malloc(sizeof(*turn) + len) : NULL;
    struct turn *rest = NULL;

    if (!turn)
        return;
    *turn = (struct turn){.genid = *genid, .n_calls = n_calls, .len = len};
    memcpy(turn->text, text, len);
    pthread_mutex_lock(&recall->lock);
    turn->older = recall->newest;
    recall->newest = turn;
    recall->n_bytes += bytes_of(turn);
    if (recall->n_bytes > recall->max_bytes)
        rest = trim_locked(recall);
    pthread_mutex_unlock(&recall->lock);
    free_turns(rest);
}

static bool has_call(const struct turn *turn, const char *call_id)
{
    char id[SL_GENID_BYTES];

    for (uint32_t i = 0; i < turn->n_calls; i++) {
        sl_genid_call(id, &turn->genid, i);
        if (strcmp(id, call_id) == 0)
            return true;
    }
    return false;
}

static int find(void *arg, const char *call_id, const char **ret_text, size_t *ret_len)
{
    struct sl_recall *recall = arg;
    const struct turn *turn;
    size_t len = 0;

    free(recall->found);
    recall->found = NULL;
    pthread_mutex_lock(&recall->lock);
    for (turn = recall->newest; turn && !has_call(turn, call_id); turn = turn->older)
        ;
    if (turn) {
        len = turn->len;
        recall->found = malloc(len + 1);
    }
    if (recall->found)
        memcpy(recall->found, turn->text, len);
    pthread_mutex_unlock(&recall->lock);
    if (!recall->found) /* without memory it is rendered from what the client sent */
        return -ENOENT;
    recall->found[len] = '\0';
    *ret_text = recall->found;
    *ret_len = len;
    return 0;
}

struct sl_genchat_recall sl_recall_finder(struct sl_recall *recall)
{
    return (struct sl_genchat_recall){.arg = recall, .find = find};
}
