// Loaded before the C library (LD_PRELOAD), this sets the wall clock of one process: to what the machine's says, and as
// many nanoseconds as the file named by STEPPED_CLOCK holds (a signed 64-bit number in the machine's byte order), which
// may change at any time. The monotonic clocks and all waiting stay as they are, as when a machine's clock is set.
//
// Not covered, as nothing here uses them: timed waits until a moment of the wall clock, such as sem_timedwait(3).

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL

static const volatile int64_t *offset;

__attribute__((constructor)) static void map_offset(void)
{
	const char *path = getenv("STEPPED_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, file, 0);

	if (page == MAP_FAILED)
		abort(); // a test that goes by the machine's clock would prove nothing
	offset = page;
	close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	// The system call itself: finding the C library's function could ask for the time, as memory allocators do.
	int failed = (int)syscall(SYS_clock_gettime, clock, now);
	int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;

	if (!failed && wall && offset) {
		int64_t all = now->tv_sec * BILLION + now->tv_nsec + *offset;

		now->tv_sec = all / BILLION;
		now->tv_nsec = all % BILLION;
	}
	return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec found;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &found);
	now->tv_sec = found.tv_sec;
	now->tv_usec = found.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *out)
{
	struct timespec found;

	clock_gettime(CLOCK_REALTIME, &found);
	if (out)
		*out = found.tv_sec;
	return found.tv_sec;
}
