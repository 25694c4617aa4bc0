/* Shifts the wall clock of the processes that load it (LD_PRELOAD) by the nanoseconds in the file that
 * SPILLWAY_CLOCK_SHIFT names: eight bytes, read through shared memory at every look at the clock, so that it can be
 * moved while they run. Monotonic clocks are left alone, as every clock of the machine is. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static int64_t shift_ns(void)
{
    static volatile int64_t *shared;
    if (!shared) {
        static int64_t nothing;
        const char *path = getenv("SPILLWAY_CLOCK_SHIFT");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof nothing, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0)
            close(file);
        shared = mapped == MAP_FAILED ? &nothing : mapped;
    }
    return *shared;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (failed || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return failed;
    int64_t all_ns = now->tv_sec * SECOND_NS + now->tv_nsec + shift_ns();
    now->tv_sec = all_ns / SECOND_NS;
    now->tv_nsec = all_ns % SECOND_NS;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &fine))
        return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told)
{
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (told)
        *told = fine.tv_sec;
    return fine.tv_sec;
}
