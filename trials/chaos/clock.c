/* A wall clock that can be stepped for one process tree, and for nobody else on the machine.
 *
 * Preloaded into an agent: CLOCK_REALTIME is the kernel's plus an offset in a file that the campaign writes to. Time
 * namespaces do not cover CLOCK_REALTIME, and stepping the machine's own clock is out of the question.
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME are the kernel's. Timers inside the kernel are not moved; the agent has none that
 * count by the wall clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset_ns; /* a lone aligned word: read whole, or not at all */

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("CHAOS_CLOCK");
    if (!path) return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (ftruncate(file, sizeof *offset_ns) == 0) {
        void *page = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) offset_ns = page;
    }
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    if (failed || !offset_ns || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return failed;
    int64_t at = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + *offset_ns;
    now->tv_sec = at / 1000000000;
    now->tv_nsec = at % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
