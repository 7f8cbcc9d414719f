/*
 * Memory pressure is told once, by whichever of the kernel's files there are; where there
 * are none, or they may not be used, it is never told and nothing fails. The files are
 * made up here: an event of v2 is a file written anew, one of v1 a count in the eventfd
 * that was asked for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/pressure.h"

#define V2 "sys/fs/cgroup/"
#define V1 "sys/fs/cgroup/memory/"

static char root[64];

static void put(const char *name, const char *text)
{
    char path[PATH_MAX];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0777); /* or it is there */
        *slash = '/';
    }
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void get(const char *name, char *text, size_t room)
{
    char path[PATH_MAX];
    FILE *f;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    f = fopen(path, "r");
    assert_non_null(f);
    len = fread(text, 1, room - 1, f);
    text[len] = '\0';
    (void)fclose(f); /* read only */
}

static int make_root(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "pressure-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static struct sl_pressure *listen_to(const char *want)
{
    struct sl_pressure *pressure = NULL;

    assert_int_equal(sl_pressure_open(&pressure, root), 0);
    assert_string_equal(sl_pressure_text(pressure), want);
    assert_false(sl_pressure_poll(pressure));
    return pressure;
}

static void without_any_file_nothing_is_told(void **state)
{
    struct sl_pressure *pressure = listen_to("nothing");

    (void)state;
    sl_pressure_close(pressure);
    sl_pressure_close(NULL);
}

static void files_that_may_not_be_used_are_left_out(void **state)
{
    (void)state;
    /* Folders cannot be opened for writing, not even by root. */
    put("proc/pressure/memory/x", "");
    put("proc/self/cgroup", "0::/a\n4:memory:/b\nnonsense\n::\n9:cpu:/\n");
    put(V2 "a/cgroup.type", "domain\n");
    put(V2 "a/memory.pressure/x", "");
    put(V1 "b/memory.pressure_level", "");
    put(V1 "b/cgroup.event_control/x", "");
    sl_pressure_close(listen_to("nothing"));
}

static void the_trigger_is_one_that_anybody_may_set(void **state)
{
    char text[64];

    (void)state;
    put("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=50008694\n");
    put("proc/self/cgroup", "0::/a/b\n");
    put(V2 "cgroup.controllers", "memory\n");
    put(V2 "memory.pressure", "the real root: not looked at\n");
    put(V2 "a/b/cgroup.type", "domain\n");
    put(V2 "a/b/memory.pressure", "");
    sl_pressure_close(listen_to("PSI, cgroup PSI"));
    get("proc/pressure/memory", text, sizeof(text));
    assert_string_equal(text, "some 200000 2000000"); /* up to its terminator */
    get(V2 "a/b/memory.pressure", text, sizeof(text));
    assert_string_equal(text, "some 200000 2000000");
    get(V2 "memory.pressure", text, sizeof(text));
    assert_string_equal(text, "the real root: not looked at\n");
}

static void v2_events_of_all_levels_are_told_once(void **state)
{
    static const char *const mounts[] = { V2, V2 "unified/" };
    char name[PATH_MAX];

    (void)state;
    for (size_t i = 0; i < 2; i++) { /* alone, and beside v1 */
        struct sl_pressure *pressure;

        (void)snprintf(name, sizeof(name), "%scgroup.controllers", mounts[i]);
        put(name, "memory\n");
        put("proc/self/cgroup", "0::/up/own\n");
        (void)snprintf(name, sizeof(name), "%sup/own/cgroup.type", mounts[i]);
        put(name, "domain\n");
        (void)snprintf(name, sizeof(name), "%sup/own/memory.events", mounts[i]);
        put(name, "low 0\nhigh 3\nmax 7\noom 0\n");
        (void)snprintf(name, sizeof(name), "%sup/cgroup.type", mounts[i]);
        put(name, "domain\n");
        (void)snprintf(name, sizeof(name), "%sup/memory.events", mounts[i]);
        put(name, "low 0\nhigh 0\nmax 0\n");
        pressure = listen_to("cgroup v2 events");

        put(name, "low 9\nhigh 0\nmax 0\n"); /* is no shortage */
        assert_false(sl_pressure_poll(pressure));
        put(name, "low 9\nhigh 0\nmax 1\n");
        assert_true(sl_pressure_poll(pressure));
        assert_false(sl_pressure_poll(pressure));
        (void)snprintf(name, sizeof(name), "%sup/own/memory.events", mounts[i]);
        put(name, "low 0\nhigh 4\nmax 7\noom 0\n");
        assert_true(sl_pressure_poll(pressure));
        assert_false(sl_pressure_poll(pressure));
        sl_pressure_close(pressure);
    }
}

static void v1_pressure_is_told_once(void **state)
{
    struct sl_pressure *pressure;
    int event_fd, level_fd;
    uint64_t one = 1;
    char text[64];

    (void)state;
    put("proc/self/cgroup", "4:memory:/host/only\n0::/\n");
    put(V1 "memory.pressure_level", "");
    put(V1 "cgroup.event_control", "");
    pressure = listen_to("cgroup v1 pressure level");
    get(V1 "cgroup.event_control", text, sizeof(text));
    assert_int_equal(sscanf(text, "%d %d", &event_fd, &level_fd), 2);
    assert_non_null(strstr(text, " medium"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write(event_fd, &one, sizeof(one)), sizeof(one));
        assert_int_equal(write(event_fd, &one, sizeof(one)), sizeof(one));
        assert_true(sl_pressure_poll(pressure));
        assert_false(sl_pressure_poll(pressure));
    }
    sl_pressure_close(pressure);
}

static void a_path_too_long_is_left_out(void **state)
{
    static char text[3 * PATH_MAX];

    (void)state;
    memcpy(text, "0::/", 4);
    memset(text + 4, 'x', sizeof(text) - 5);
    put("proc/self/cgroup", text);
    sl_pressure_close(listen_to("nothing"));
    memcpy(text, "1:memory:/", 10);
    put("proc/self/cgroup", text);
    sl_pressure_close(listen_to("nothing"));
}

/* On this machine, whatever it has. */
static void the_live_system_can_be_listened_to(void **state)
{
    struct sl_pressure *pressure = NULL;

    (void)state;
    assert_int_equal(sl_pressure_open(&pressure, ""), 0);
    print_message("this machine: %s\n", sl_pressure_text(pressure));
    assert_true(sl_pressure_text(pressure)[0] != '\0');
    (void)sl_pressure_poll(pressure); /* the machine may well be short of memory */
    sl_pressure_close(pressure);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_any_file_nothing_is_told),
        TEST(files_that_may_not_be_used_are_left_out),
        TEST(the_trigger_is_one_that_anybody_may_set),
        TEST(v2_events_of_all_levels_are_told_once),
        TEST(v1_pressure_is_told_once),
        TEST(a_path_too_long_is_left_out),
        cmocka_unit_test(the_live_system_can_be_listened_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
