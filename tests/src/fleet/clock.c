/* A clock that is told. Loaded before the C library (LD_PRELOAD), it shows a process the time of a simulated world in place
 * of the computer's: the file CLOCK_TOLD holds milliseconds since 1970 and their complement, both 64 bits wide, and whoever
 * moves that world writes them. Only the time of day is told; spans (CLOCK_MONOTONIC), and with them every socket's
 * patience, stay the computer's, and so do the dates of TLS handshakes, which ask time(). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *told;

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("CLOCK_TOLD");
  if (!at) return;
  int file = open(at, O_RDONLY | O_CLOEXEC);
  void *page = file < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  /* A process with another time than the rest of its world would prove nothing. */
  if (page == MAP_FAILED) _exit(99);
  close(file);
  told = page;
}

int clock_gettime(clockid_t which, struct timespec *to) {
  if (!told || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE))
    return (int)syscall(SYS_clock_gettime, which, to);
  int64_t now, complement;
  do {
    now = told[0];
    complement = told[1];
  } while (now != ~complement);
  to->tv_sec = now / 1000;
  to->tv_nsec = now % 1000 * 1000000;
  return 0;
}
