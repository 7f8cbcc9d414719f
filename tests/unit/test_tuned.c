/*
 * What sluice tune keeps comes back as it was; a file that is damaged, hostile, of another
 * version or of another machine is refused with a reason that names it, and nothing else
 * happens.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/tuned.h"

/* Around another list of CPUs; what was there becomes a member that nobody asks for. */
#define CPUS "\"cpus\": ["
#define REST "], \"more\": ["

static const struct sl_tuned_key key = { "a machine; CPUs 0-1", "lfm2moe; \"layers\" 40" };
static char root[128];
static int32_t here; /* a CPU that may be used */

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    cpu_set_t set;

    (void)state;
    snprintf(root, sizeof(root), "%.100s/sltunedXXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(root) || sched_getaffinity(0, sizeof(set), &set) < 0)
        return -1;
    while (!CPU_ISSET(here, &set))
        here++;
    setenv("XDG_STATE_HOME", root, 1);
    return 0;
}

static int tear_down(void **state)
{
    char command[160];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static struct sl_tuned example(void)
{
    struct sl_tuned tuned = { .date = "2026-11-23T07:40:00Z", .purpose = SL_TUNE_PREFILL, .n = 3,
                              .rates = { 38.25, 401.5 } };

    tuned.cpus[0] = here;
    tuned.cpus[1] = tuned.cpus[2] = -1;
    return tuned;
}

static void it_comes_back_as_it_was(void **state)
{
    struct sl_tuned tuned = example(), got = { .n = 0 };
    char *path = sl_tuned_path(&key);
    struct sl_diag diag = { "" };

    (void)state;
    assert_non_null(path);
    assert_int_equal(strncmp(path, root, strlen(root)), 0);
    assert_int_equal(sl_tuned_load(&got, path, &key, &diag), -ENOENT);
    assert_string_equal(diag.text, "");
    if (sl_tuned_save(path, &key, &tuned, &diag) != 0)
        fail_msg("%s", diag.text);
    if (sl_tuned_load(&got, path, &key, &diag) != 0)
        fail_msg("%s", diag.text);
    assert_true(got.n == 3 && got.purpose == SL_TUNE_PREFILL);
    assert_string_equal(got.date, tuned.date);
    assert_memory_equal(got.cpus, tuned.cpus, 3 * sizeof(got.cpus[0]));
    assert_true(got.rates[0] == 38.25 && got.rates[1] == 401.5);
    /* again, in its place */
    tuned.n = 1;
    assert_int_equal(sl_tuned_save(path, &key, &tuned, &diag), 0);
    assert_int_equal(sl_tuned_load(&got, path, &key, &diag), 0);
    assert_int_equal(got.n, 1);
    free(path);
}

static void each_machine_and_model_has_its_file(void **state)
{
    struct sl_tuned_key machine = key, model = key;
    char *paths[3];

    (void)state;
    machine.machine[0] = 'A';
    model.model[0] = 'L';
    paths[0] = sl_tuned_path(&key);
    paths[1] = sl_tuned_path(&machine);
    paths[2] = sl_tuned_path(&model);
    assert_string_not_equal(paths[0], paths[1]);
    assert_string_not_equal(paths[0], paths[2]);
    assert_string_not_equal(paths[1], paths[2]);
    for (int i = 0; i < 3; i++)
        free(paths[i]);
}

/* The text of a good file, with one piece replaced. */
static void write_changed(const char *path, const char *from, const char *to)
{
    struct sl_tuned tuned = example();
    char text[4096] = "", *at;
    FILE *file;

    assert_int_equal(sl_tuned_save(path, &key, &tuned, NULL), 0);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
    at = strstr(text, from);
    if (!at)
        fail_msg("\"%s\" is not in\n%s", from, text);
    rewind(file);
    assert_int_equal(ftruncate(fileno(file), 0), 0);
    fprintf(file, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(fclose(file), 0);
}

static void refused(const char *path, const char *word)
{
    struct sl_tuned got = { .n = 77 };
    struct sl_diag diag = { "" };
    int r = sl_tuned_load(&got, path, &key, &diag);

    if (r != -EBADMSG || !strstr(diag.text, word) || !strstr(diag.text, path) ||
        strchr(diag.text, '\n'))
        fail_msg("expected \"%s\", found %d: %s", word, r, diag.text);
    assert_int_equal(got.n, 77);
}

static void what_is_damaged_is_refused(void **state)
{
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        { "\"tune\": 1", "\"tune\": 2", "version 2, expected 1" },
        { "\"tune\": 1", "\"tune\": \"1\"", "nothing that tune wrote" },
        { "\"tune\"", "\"other\"", "nothing that tune wrote" },
        { "a machine; CPUs 0-1", "a machine; CPUs 0-3", "another machine" },
        { "\"a machine; CPUs 0-1\"", "null", "another machine" },
        { "lfm2moe", "lfm2", "another model" },
        { "2026-11-23T07:40:00Z", "yesterday", "date" },
        { "2026-11-23T07:40:00Z", "2026-11-23T07:40:00Z \\u001b[2J", "date" },
        { "2026-11-23", "                                  2026-11-23", "date" },
        { "prefill\"", "fun\"", "purpose" },
        { "[", "{\"a\": [", "JSON" },
        { CPUS, CPUS "-2" REST, "CPUs" },
        { CPUS, CPUS "4096" REST, "CPUs" },
        { CPUS, CPUS "4095" REST, "CPUs" }, /* no machine here has it */
        { CPUS, CPUS "99999999999999999999999" REST, "CPUs" },
        { CPUS, CPUS "0.5" REST, "CPUs" },
        { CPUS, CPUS "null" REST, "CPUs" },
        { CPUS, CPUS "[0]" REST, "CPUs" },
        { CPUS, CPUS REST, "CPUs" },
        { CPUS, "\"cpus\": 8, \"more\": [", "CPUs" },
        { "38.25", "0", "rates" },
        { "38.25", "-3", "rates" },
        { "38.25", "1e300", "rates" },
        { "401.5", "\"fast\"", "rates" },
        { "401.5", "NaN", "JSON" },
        { "}", "} }", "JSON" },
        { "{", "", "JSON" },
    };
    char *path = sl_tuned_path(&key);
    char twice[64];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        write_changed(path, cases[i].from, cases[i].to);
        refused(path, cases[i].word);
    }
    snprintf(twice, sizeof(twice), CPUS "%d, %d" REST, (int)here, (int)here);
    write_changed(path, CPUS, twice);
    refused(path, "CPUs");
    free(path);
}

static void more_workers_than_there_can_be_are_refused(void **state)
{
    char *path = sl_tuned_path(&key);
    char many[2048] = CPUS "-1";

    (void)state;
    for (int i = 1; i < SL_POOL_WORKERS_MAX; i++)
        strcat(many, ", -1");
    strcat(many, REST);
    write_changed(path, CPUS, many);
    assert_int_equal(sl_tuned_load(&(struct sl_tuned){ .n = 0 }, path, &key, NULL), 0);
    strcpy(strstr(many, REST), ", -1" REST);
    write_changed(path, CPUS, many);
    refused(path, "CPUs");
    free(path);
}

static void write_bytes(const char *path, char byte, size_t n)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    while (n--)
        fputc(byte, file);
    assert_int_equal(fclose(file), 0);
}

static void what_is_no_such_file_is_refused(void **state)
{
    char *path = sl_tuned_path(&key);
    struct sl_tuned tuned = example();

    (void)state;
    assert_int_equal(sl_tuned_save(path, &key, &tuned, NULL), 0); /* makes the folder */
    write_bytes(path, 0, 0);
    refused(path, "JSON");
    write_bytes(path, 0, 100);
    refused(path, "JSON");
    write_bytes(path, '[', 60000); /* deep */
    refused(path, "JSON");
    write_bytes(path, ' ', 70000);
    refused(path, "too long");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(path, "no regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: it must not be waited for */
    refused(path, "no regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/dev/zero", path), 0);
    refused(path, "no regular file");
    assert_int_equal(unlink(path), 0);
    free(path);
}

/* Every prefix, and every byte changed: read or refused, and what is read is possible. */
static void no_change_of_a_byte_is_believed(void **state)
{
    struct sl_tuned tuned = example();
    char text[4096];
    char *path = sl_tuned_path(&key);
    size_t len;
    FILE *file;

    (void)state;
    assert_int_equal(sl_tuned_save(path, &key, &tuned, NULL), 0);
    file = fopen(path, "r");
    assert_non_null(file);
    len = fread(text, 1, sizeof(text), file);
    fclose(file);
    assert_true(len > 100 && len < sizeof(text));
    for (size_t i = 0; i < 2 * len; i++) {
        struct sl_tuned got;
        struct sl_diag diag = { "" };
        size_t at = i % len;
        char was = text[at];
        int r;

        text[at] = (char)(was ^ (1 << i % 7));
        file = fopen(path, "w");
        assert_non_null(file);
        fwrite(text, 1, i < len ? at : len, file);
        fclose(file);
        text[at] = was;
        r = sl_tuned_load(&got, path, &key, &diag);
        assert_true(r == 0 || (r == -EBADMSG && diag.text[0]));
        if (r == 0) {
            assert_true(got.n >= 1 && got.n <= 3 && got.purpose < SL_TUNE_PURPOSES);
            for (uint32_t k = 0; k < got.n; k++)
                assert_true(got.cpus[k] >= -1 && got.cpus[k] < 4096);
        }
        if (i < len)
            assert_true(r < 0 || at + 2 > len); /* the line's end may be missing */
    }
    free(path);
}

static void a_place_that_cannot_be_written_is_named(void **state)
{
    struct sl_tuned tuned = example();
    struct sl_diag diag = { "" };

    (void)state;
    assert_true(sl_tuned_save("/proc/none/tune.json", &key, &tuned, &diag) < 0);
    assert_non_null(strstr(diag.text, "/proc/none/tune.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_back_as_it_was),
        cmocka_unit_test(each_machine_and_model_has_its_file),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(more_workers_than_there_can_be_are_refused),
        cmocka_unit_test(what_is_no_such_file_is_refused),
        cmocka_unit_test(no_change_of_a_byte_is_believed),
        cmocka_unit_test(a_place_that_cannot_be_written_is_named),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
