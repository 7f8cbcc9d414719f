/* Mapped files: what is refused, pages that go away, other handlers, warming. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "loader/mapping.h"

#define PAGE 4096

static char dir[64];

static const char *path_of(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* A file of n bytes, byte i being i / PAGE + 1. */
static const char *make_file(const char *name, size_t n)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fputc((int)(i / PAGE + 1) & 0xFF, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

static struct sl_mapping *open_file(const char *name, size_t n)
{
    struct sl_mapping *map = NULL;
    struct sl_diag diag = { "" };

    assert_int_equal(sl_mapping_open(&map, make_file(name, n), &diag), 0);
    return map;
}

static void a_file_is_mapped_whole(void **state)
{
    struct sl_mapping *map = open_file("whole", 2 * PAGE + 5);

    (void)state;
    assert_int_equal(sl_mapping_bytes(map), 2 * PAGE + 5);
    assert_int_equal(sl_mapping_data(map)[0], 1);
    assert_int_equal(sl_mapping_data(map)[2 * PAGE + 4], 3);
    assert_string_equal(sl_mapping_path(map), path_of("whole"));
    assert_true(fcntl(sl_mapping_fd(map), F_GETFD) & FD_CLOEXEC);
    assert_true(sl_mapping_bad_off(map) == UINT64_MAX);
    assert_ptr_equal(sl_mapping_ref(map), map);
    sl_mapping_unref(map);
    assert_int_equal(sl_mapping_data(map)[PAGE], 2); /* one reference is left */
    sl_mapping_unref(map);
    sl_mapping_unref(NULL);
}

static void refuse(const char *path, int code, const char *words)
{
    struct sl_mapping *map = (struct sl_mapping *)&dir;
    struct sl_diag diag = { "" };
    int r = sl_mapping_open(&map, path, &diag);

    if (r != code || !strstr(diag.text, words) || !strstr(diag.text, path))
        fail_msg("%s: expected %d with '%s', got %d: %s", path, code, words, r, diag.text);
    assert_ptr_equal(map, (void *)&dir); /* untouched */
    assert_int_equal(sl_mapping_open(&map, path, NULL), code);
}

static void what_is_not_a_file_with_bytes_is_refused(void **state)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    refuse(path_of("none"), -ENOENT, "No such file");
    refuse(dir, -EISDIR, "is a directory");
    refuse(make_file("empty", 0), -EBADMSG, "empty");
    refuse("/dev/null", -ENOTSUP, "not a regular file");
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    refuse(path_of("fifo"), -ENOTSUP, "not a regular file"); /* and does not hang */
    strcpy(addr.sun_path, path_of("socket"));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    refuse(path_of("socket"), -ENOTSUP, "not a regular file");
    close(fd);
    assert_int_equal(symlink("loop", path_of("loop")), 0);
    refuse(path_of("loop"), -ELOOP, "cannot open");
}

static void a_long_path_keeps_its_end_in_the_text(void **state)
{
    char path[2000];
    struct sl_mapping *map;
    struct sl_diag diag;

    (void)state;
    memset(path, 'd', sizeof(path));
    for (int i = 0; i < 1990; i += 100)
        path[i] = '/';
    strcpy(path + 1980, "/model.gguf");
    assert_int_equal(sl_mapping_open(&map, path, &diag), -ENOENT);
    assert_non_null(strstr(diag.text, "/model.gguf: cannot open"));
    assert_string_equal(sl_mapping_path_tail("short"), "short");
}

static void a_file_without_permission_is_refused(void **state)
{
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(chmod(make_file("secret", 10), 0), 0);
    child = fork();
    if (child == 0) {
        struct sl_mapping *map;
        struct sl_diag diag = { "" };

        if (geteuid() == 0 && (chmod(dir, 0755) < 0 || seteuid(65534) < 0))
            _exit(77);
        _exit(sl_mapping_open(&map, path_of("secret"), &diag) == -EACCES &&
              strstr(diag.text, "secret: cannot open: Permission denied") ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static uint64_t sum_page(const struct sl_mapping *map, size_t page)
{
    const volatile uint8_t *p = sl_mapping_data(map) + page * PAGE;
    uint64_t sum = 0;

    for (int i = 0; i < PAGE; i++)
        sum += p[i];
    return sum;
}

static void fault_alone(void)
{
    struct sl_mapping *map = open_file("cut", 4 * PAGE);
    struct sl_mapping *other = open_file("uncut", 4 * PAGE);

    assert_int_equal(truncate(path_of("cut"), PAGE), 0);
    assert_int_equal(sum_page(map, 2), 0);
    assert_int_equal(sl_mapping_bad_off(map), 2 * PAGE);
    assert_int_equal(sum_page(map, 1), 0);
    assert_int_equal(sum_page(map, 3), 0);
    assert_int_equal(sum_page(map, 0), PAGE);
    assert_int_equal(sl_mapping_bad_off(map), 2 * PAGE); /* the first found stays */
    assert_int_equal(sum_page(other, 3), 4 * PAGE);
    assert_true(sl_mapping_bad_off(other) == UINT64_MAX);
    sl_mapping_unref(map);
    sl_mapping_unref(other);
}

static void a_shorter_file_is_noticed_without_a_fault(void **state)
{
    struct sl_mapping *map = open_file("shorter", 4 * PAGE);

    (void)state;
    assert_int_equal(truncate(path_of("shorter"), 4 * PAGE - 1), 0);
    assert_int_equal(sl_mapping_bad_off(map), 3 * PAGE);
    sl_mapping_unref(map);
}

#define THREAD_PAGES 64

static void *read_gone_pages(void *arg)
{
    struct sl_mapping *map = arg;
    uint64_t sum = 0;

    for (size_t i = 1; i < THREAD_PAGES; i++)
        sum += sum_page(map, i);
    return (void *)(uintptr_t)sum;
}

static void fault_in_threads(void)
{
    struct sl_mapping *map = open_file("threads", THREAD_PAGES * PAGE);
    struct sl_mapping *other;
    pthread_t threads[4];
    void *sum;

    make_file("again", PAGE);
    assert_int_equal(truncate(path_of("threads"), PAGE), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_gone_pages, map), 0);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(sl_mapping_open(&other, path_of("again"), NULL), 0);
        sl_mapping_unref(other);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &sum), 0);
        assert_null(sum);
    }
    assert_true(sl_mapping_bad_off(map) < THREAD_PAGES * PAGE);
    sl_mapping_unref(map);
}

/* One test, because cmocka puts a SIGBUS handler of its own over ours for each. */
static void pages_that_are_gone_read_as_zeros_and_mark_the_mapping(void **state)
{
    (void)state;
    assert_int_equal(sl_mapping_install_sigbus(), 0);
    assert_int_equal(sl_mapping_install_sigbus(), 0);
    fault_alone();
    fault_in_threads(); /* while another opens and closes mappings */
}

/* Touch a page beyond the end of a file that is mapped, but not by us. */
static void fault_elsewhere(void)
{
    int fd = open(path_of("elsewhere"), O_RDWR | O_CREAT, 0600);
    volatile char *p;

    if (fd < 0 || ftruncate(fd, 2 * PAGE) < 0)
        _exit(90);
    p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED || ftruncate(fd, 0) < 0)
        _exit(91);
    (void)p[PAGE];
    _exit(92);
}

static void raise_it(void)
{
    raise(SIGBUS);
    _exit(50);
}

static void raise_it_twice(void)
{
    raise(SIGBUS);
    raise(SIGBUS);
    _exit(51);
}

static void exit_42(int sig, siginfo_t *info, void *context)
{
    sigset_t mask;

    (void)context;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    /* Its own mask, and the fault's own address. */
    _exit(sig == SIGBUS && info->si_code == BUS_ADRERR && info->si_addr &&
          sigismember(&mask, SIGUSR1) ? 42 : 43);
}

static void do_nothing(int sig)
{
    (void)sig;
}

/* The wait status of a child that sets up a handler, installs ours, and runs fn. */
static int status_of(const struct sigaction *former, void (*fn)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (sigaction(SIGBUS, former, NULL) < 0 || sl_mapping_install_sigbus() < 0)
            _exit(93);
        fn();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* Runs before anything in this process installs the handler, since it stays. */
static void other_faults_go_where_they_went_before(void **state)
{
    struct sigaction dfl = { .sa_handler = SIG_DFL };
    struct sigaction ign = { .sa_handler = SIG_IGN };
    struct sigaction own = { .sa_sigaction = exit_42, .sa_flags = SA_SIGINFO };
    struct sigaction plain = { .sa_handler = do_nothing };
    struct sigaction once = { .sa_handler = do_nothing, .sa_flags = (int)SA_RESETHAND };
    int status;

    (void)state;
    sigaddset(&own.sa_mask, SIGUSR1);
    status = status_of(&own, fault_elsewhere);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    status = status_of(&dfl, fault_elsewhere);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_of(&ign, fault_elsewhere);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_of(&dfl, raise_it);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_of(&ign, raise_it);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 50);
    status = status_of(&plain, raise_it_twice);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 51);
    status = status_of(&once, raise_it);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 50);
    status = status_of(&once, raise_it_twice);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

struct seen {
    uint64_t done, total;
    uint32_t n_calls;
    int answer;
};

static int on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;

    assert_true(done >= seen->done && done <= total);
    seen->done = done;
    seen->total = total;
    seen->n_calls++;
    return seen->answer;
}

#define WARM_BYTES ((size_t)17 * 1024 * 1024 + 123) /* three chunks; more pages than samples */

static void warming_reads_the_range(void **state)
{
    struct sl_mapping *map = open_file("warm", WARM_BYTES);
    int fd = open(path_of("warm"), O_RDWR);

    (void)state;
    for (uint32_t n_threads = 0; n_threads < 4; n_threads++) {
        struct seen seen = { 0 };

        assert_int_equal(fsync(fd), 0);
        assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        print_message("cached before: %.2f\n", sl_mapping_resident(map, 0, WARM_BYTES));
        assert_int_equal(sl_mapping_warm(map, 5, WARM_BYTES - 5, n_threads, on_progress, &seen,
                                         NULL), 0);
        assert_int_equal(seen.done, WARM_BYTES); /* from the page that holds byte 5 */
        assert_int_equal(seen.total, WARM_BYTES);
        /* Not 1: the system may take pages back at any time. */
        assert_true(sl_mapping_resident(map, 0, WARM_BYTES) > 0.9);
    }
    assert_int_equal(sl_mapping_warm(map, 0, WARM_BYTES, 2, NULL, NULL, NULL), 0);
    assert_int_equal(sl_mapping_warm(map, WARM_BYTES, 0, 2, NULL, NULL, NULL), 0);
    assert_true(sl_mapping_resident(map, 3, 0) == 1.0);
    close(fd);
    sl_mapping_unref(map);
}

/* What a user without rights to a file sees, for whom mincore says that all is cached. */
static int warm_as_a_stranger(void)
{
    struct sl_mapping *map = NULL;
    double before, after;

    if (chmod(dir, 0755) < 0 || seteuid(65534) < 0)
        return 77;
    if (sl_mapping_open(&map, path_of("strange"), NULL) < 0)
        return 1;
    before = sl_mapping_resident(map, 0, WARM_BYTES);
    if (sl_mapping_warm(map, 0, WARM_BYTES, 2, NULL, NULL, NULL) < 0)
        return 2;
    after = sl_mapping_resident(map, 0, WARM_BYTES);
    printf("cached before: %.2f, after: %.2f\n", before, after);
    sl_mapping_unref(map);
    return after > 0.9 && before <= after ? 0 : 3;
}

static void warming_works_on_the_files_of_others(void **state)
{
    struct sl_mapping *map = open_file("strange", WARM_BYTES);
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(chmod(path_of("strange"), 0444), 0);
    assert_int_equal(fsync(sl_mapping_fd(map)), 0);
    assert_int_equal(posix_fadvise(sl_mapping_fd(map), 0, 0, POSIX_FADV_DONTNEED), 0);
    sl_mapping_unref(map);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        status = warm_as_a_stranger();
        fflush(stdout);
        _exit(status);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void warming_can_be_stopped_and_says_what_failed(void **state)
{
    struct sl_mapping *map = open_file("stop", WARM_BYTES);
    struct seen seen = { .answer = 1 };
    struct sl_diag diag = { "" };

    (void)state;
    assert_int_equal(sl_mapping_warm(map, 0, WARM_BYTES, 2, on_progress, &seen, &diag),
                     -ECANCELED);
    assert_int_equal(seen.n_calls, 1);
    assert_int_equal(sl_mapping_warm(map, 1, WARM_BYTES, 2, NULL, NULL, &diag), -EINVAL);
    assert_int_equal(sl_mapping_warm(map, UINT64_MAX, 2, 2, NULL, NULL, &diag), -EINVAL);
    assert_int_equal(truncate(path_of("stop"), 5 * 1024 * 1024), 0);
    assert_int_equal(sl_mapping_warm(map, 0, WARM_BYTES, 2, NULL, NULL, &diag), -EIO);
    assert_non_null(strstr(diag.text, "stop: byte "));
    assert_non_null(strstr(diag.text, "became shorter"));
    sl_mapping_unref(map);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof(dir), "%.40s/slmapXXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[80];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_faults_go_where_they_went_before),
        cmocka_unit_test(a_file_is_mapped_whole),
        cmocka_unit_test(what_is_not_a_file_with_bytes_is_refused),
        cmocka_unit_test(a_long_path_keeps_its_end_in_the_text),
        cmocka_unit_test(a_file_without_permission_is_refused),
        cmocka_unit_test(pages_that_are_gone_read_as_zeros_and_mark_the_mapping),
        cmocka_unit_test(a_shorter_file_is_noticed_without_a_fault),
        cmocka_unit_test(warming_reads_the_range),
        cmocka_unit_test(warming_works_on_the_files_of_others),
        cmocka_unit_test(warming_can_be_stopped_and_says_what_failed),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
