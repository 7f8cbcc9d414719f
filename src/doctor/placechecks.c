/* Where models lie: file systems, direct reads, how fast the disk is. */
#include <stdio.h>
#include <string.h>

#include "doctor/checks.h"

/* Below the first a hard disk, below the second a SATA disk or a slow link. */
#define RATE_BAD 0.3e9
#define RATE_WARN 1.5e9

static const char models_folder[] = "~/.local/share/sluice/models";

enum kind { KIND_DISK, KIND_MEMORY, KIND_NETWORK, KIND_LAYERS, KIND_ZFS };

static enum kind kind_of(const char *type)
{
    static const struct {
        const char *type;
        enum kind kind;
    } kinds[] = {
        {"tmpfs", KIND_MEMORY}, {"ramfs", KIND_MEMORY}, {"devtmpfs", KIND_MEMORY},
        {"nfs", KIND_NETWORK}, {"nfs4", KIND_NETWORK}, {"cifs", KIND_NETWORK},
        {"smb3", KIND_NETWORK}, {"9p", KIND_NETWORK}, {"ceph", KIND_NETWORK},
        {"afs", KIND_NETWORK}, {"virtiofs", KIND_NETWORK}, {"vboxsf", KIND_NETWORK},
        {"drvfs", KIND_NETWORK}, {"fuse.sshfs", KIND_NETWORK}, {"fuse.rclone", KIND_NETWORK},
        {"fuse.glusterfs", KIND_NETWORK}, {"overlay", KIND_LAYERS}, {"zfs", KIND_ZFS},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(type, kinds[i].type) == 0)
            return kinds[i].kind;
    return KIND_DISK;
}

/* Whether all of the model that was asked for stays in memory: disks then only load it. */
static bool is_resident(const struct sl_facts *facts)
{
    return facts->model.is_known && !facts->model.is_streaming && !facts->model.is_too_big;
}

/* Disks of virtual machines say that they rotate, whatever they are. */
static bool is_hard_disk(const struct sl_facts *facts, const struct sl_facts_place *place)
{
    return place->is_rotational && !facts->cpu.is_virtual;
}

/* A copy, not a move: the folder may be another program's, which would miss the file. */
static void mend_by_copying(struct sl_finding *f, const struct sl_facts_place *place,
                            const char *where)
{
    const char *slash = strrchr(place->path, '/'), *base = slash ? slash + 1 : place->path;
    size_t len = strlen(base);
    bool has_suffix = (len > 5 && strcmp(base + len - 5, ".gguf") == 0) ||
                      (len > 7 && strcmp(base + len - 7, ".slpack") == 0);
    struct sl_strbuf from = {0}, to = {0};

    sl_finding_quote(&from, place->path);
    sl_finding_quote(&to, base);
    sl_finding_mend(f, "mkdir -p %s", models_folder);
    sl_finding_mend(f, "cp %s %s/%s%s", from.ptr ? from.ptr : "", models_folder,
                    to.ptr ? to.ptr : "", has_suffix ? "" : ".gguf");
    sl_finding_advise(f, "where that is %s, or to another folder that SLUICE_MODELS names%s", where,
                      strstr(base, "-of-") ? "; all parts of it" : "");
    f->command.error = from.error ? from.error : to.error ? to.error : f->command.error;
    sl_strbuf_done(&from);
    sl_strbuf_done(&to);
}

/* Blocks of the file are kept in another form than they are read in. */
static void mend_encoded(struct sl_finding *f, const struct sl_facts_place *place)
{
    struct sl_strbuf file = {0}, folder = {0}, copy = {0};
    char parent[PATH_MAX], beside[PATH_MAX + 8];
    char *slash;

    if (strcmp(place->type, "btrfs") != 0) {
        mend_by_copying(f, place, "an ordinary file system, ext4 or XFS");
        return;
    }
    (void)snprintf(parent, sizeof(parent), "%s", place->path);
    slash = strrchr(parent, '/');
    if (slash)
        *slash = '\0';
    (void)snprintf(beside, sizeof(beside), "%s.new", place->path);
    sl_finding_quote(&folder, parent);
    sl_finding_quote(&file, place->path);
    sl_finding_quote(&copy, beside);
    sl_finding_mend(f, "btrfs property set %s compression none", folder.ptr ? folder.ptr : "");
    sl_finding_mend(f, "cp --reflink=never %s %s", file.ptr ? file.ptr : "",
                    copy.ptr ? copy.ptr : "");
    sl_finding_mend(f, "mv %s %s", copy.ptr ? copy.ptr : "", file.ptr ? file.ptr : "");
    f->command.error = file.error ? file.error : folder.error ? folder.error
                     : copy.error ? copy.error : f->command.error;
    sl_strbuf_done(&file);
    sl_strbuf_done(&folder);
    sl_strbuf_done(&copy);
}

static void mend_indirect(struct sl_finding *f, const struct sl_facts *facts,
                          const struct sl_facts_place *place, enum kind kind)
{
    struct sl_strbuf name = {0};

    if (kind == KIND_ZFS) {
        sl_finding_quote(&name, place->source);
        sl_finding_mend(f, "sudo zfs set direct=always %s", name.ptr ? name.ptr : "");
        sl_finding_advise(f, "from OpenZFS 2.3 on");
    } else if (kind == KIND_LAYERS && sl_checks_runner(facts)) {
        sl_finding_mend(f, "%s run -v FOLDER:/models:ro ...", sl_checks_runner(facts));
        sl_finding_advise(f, "with a folder of the host: files of the image lie in layers");
    } else {
        mend_by_copying(f, place, "on ext4 or XFS");
    }
    f->command.error = f->command.error ? f->command.error : name.error;
    sl_strbuf_done(&name);
}

static void judge_file_system(struct sl_finding *f, const struct sl_facts *facts,
                              const struct sl_facts_place *place)
{
    enum kind kind = kind_of(place->type);

    if (kind == KIND_MEMORY) {
        sl_finding_raise(f, SL_FINDING_WARN, "the file itself takes memory, which experts could "
                         "have, and is gone after the next start: reading it in pieces spares "
                         "nothing");
        mend_by_copying(f, place, "on a disk");
    } else if (kind == KIND_NETWORK) {
        sl_finding_raise(f, SL_FINDING_WARN, "every expert that is not in memory comes from "
                                             "another machine, or through its protocol");
        mend_by_copying(f, place, "on a disk of this machine");
    } else if (place->is_encoded) {
        sl_finding_raise(f, SL_FINDING_WARN, "parts of the file are kept compressed or encrypted: "
                         "direct reads of them go through the page cache after all, and take "
                         "processor time");
        mend_encoded(f, place);
    } else if (!place->is_direct) {
        sl_finding_raise(f, SL_FINDING_WARN, "reads are copied through the page cache, by threads "
                         "instead of io_uring, and the disk's speed cannot be measured");
        mend_indirect(f, facts, place, kind);
    }
}

static void check_file_system(struct sl_findings *findings, const struct sl_facts *facts,
                              const struct sl_facts_place *place)
{
    struct sl_finding *f = sl_finding_add(findings, "file_system", "file system");
    struct sl_strbuf name = {0};

    f->place = place->path;
    if (!place->file_bytes) {
        sl_finding_quote(&name, place->path);
        sl_finding_note(f, "the model there cannot be read: %s", place->why);
        sl_finding_raise(f, SL_FINDING_WARN, "it cannot be run");
        sl_finding_mend(f, "ls -l %s", name.ptr ? name.ptr : "");
        sl_finding_advise(f, "shows whose it is; sluice ls what it could be");
        f->command.error = f->command.error ? f->command.error : name.error;
        sl_strbuf_done(&name);
        return;
    }
    sl_finding_note(f, "%s", place->type[0] ? place->type : "of a kind that is not told");
    if (place->device[0])
        sl_finding_note(f, "on %s%s", place->device,
                        is_hard_disk(facts, place) ? ", a hard disk" : "");
    if (place->crypt[0])
        sl_finding_note(f, "encrypted by dm-crypt");
    if (place->is_direct)
        sl_finding_note(f, "takes direct reads");
    else
        sl_finding_note(f, "no direct reads: %s", place->why);
    judge_file_system(f, facts, place);
}

static void check_disk(struct sl_findings *findings, const struct sl_facts *facts,
                       const struct sl_facts_place *place)
{
    double rate = place->bytes_per_s;
    struct sl_finding *f = sl_finding_add(findings, "disk_bandwidth", "disk bandwidth");
    enum sl_finding_state state = rate < RATE_BAD ? SL_FINDING_BAD : SL_FINDING_WARN;

    f->place = place->path;
    if (!(rate > 0)) {
        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "not measured%s%s", facts->is_quick ? " (--quick)" : ": ",
                        facts->is_quick ? "" : place->file_bytes ? place->measure_why
                                                                 : "there is nothing to read");
        return;
    }
    f->value = rate;
    f->unit = "bytes_per_s";
    sl_finding_note(f, "%.2f GB/s, direct reads of 1 MiB at random places, 8 at a time",
                    rate * 1e-9);
    if (kind_of(place->type) == KIND_MEMORY || rate >= RATE_WARN)
        return;
    sl_finding_raise(f, is_resident(facts) ? SL_FINDING_WARN : state,
                     "each GB that is not in memory takes %.1f s, while loading and whenever "
                     "experts are read", 1e9 / rate);
    if (place->crypt[0] && !is_hard_disk(facts, place)) {
        struct sl_strbuf name = {0};

        sl_finding_quote(&name, place->crypt);
        sl_finding_mend(f, "sudo cryptsetup refresh --perf-no_read_workqueue "
                           "--perf-no_write_workqueue --persistent %s", name.ptr ? name.ptr : "");
        sl_finding_advise(f, "decrypts where the read ends instead of in a queue (LUKS2)");
        f->command.error = f->command.error ? f->command.error : name.error;
        sl_strbuf_done(&name);
    } else if (facts->cpu.is_virtual) {
        sl_finding_advise(f, "give the virtual machine a disk of its own or virtio with cache=none "
                             "and io=io_uring; other work may use it up: measure again when the "
                             "machine is idle");
    } else {
        mend_by_copying(f, place, "on an NVMe disk");
    }
}

void sl_placechecks_run(struct sl_findings *findings, const struct sl_facts *facts)
{
    for (uint32_t i = 0; i < facts->n_places; i++) {
        check_file_system(findings, facts, &facts->places[i]);
        check_disk(findings, facts, &facts->places[i]);
    }
    if (facts->n_places_left_out) {
        struct sl_finding *f = sl_finding_add(findings, "places_left_out", "other places");

        f->state = SL_FINDING_UNKNOWN;
        sl_finding_note(f, "models lie on %u more file systems, which were not looked at",
                        facts->n_places_left_out);
        sl_finding_advise(f, "name one: sluice doctor MODEL");
    }
    if (facts->n_places == 0)
        for (int i = 0; i < 2; i++) {
            struct sl_finding *f = i ? sl_finding_add(findings, "disk_bandwidth", "disk bandwidth")
                                     : sl_finding_add(findings, "file_system", "file system");

            f->state = SL_FINDING_UNKNOWN;
            sl_finding_note(f, "there is no model on this machine to try it with");
            sl_finding_advise(f, "name a file: sluice doctor FILE.gguf; sluice ls says where "
                                 "models are looked for");
        }
}
