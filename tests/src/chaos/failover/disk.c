/* What ails the disk of a PostgreSQL, loaded before the C library (LD_PRELOAD) of all its processes.
 *
 * DISK_STATE: while there is a file of that name that begins with "f" the disk of tables and indexes is full: none of them grows, and
 * what they have can be written. The log of the database is on another one; without room for that PostgreSQL ends, as if it were
 * killed. With "s" and a number each sync takes so many microseconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *state;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
  real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  /* A copy: PostgreSQL writes what its processes are doing over its environment. */
  const char *name = getenv("DISK_STATE");
  state = name ? strdup(name) : NULL;
}

/* What ails it at this moment: a letter, and a number if there is one; 0 when nothing does. */
static char ails(useconds_t *number) {
  char word[32] = {0};
  int look = state ? open(state, O_RDONLY | O_CLOEXEC) : -1;
  if (look < 0) return 0;
  ssize_t n = read(look, word, sizeof word - 1);
  close(look);
  *number = n > 1 ? (useconds_t)strtoul(word + 1, NULL, 10) : 0;
  return word[0];
}

/* Whether a file would have to grow for this, and may not. */
static int no_room(int fd, off_t end) {
  useconds_t number;
  char name[32], path[PATH_MAX];
  struct stat now;
  if (ails(&number) != 'f') return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(name, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, "/base/") && fstat(fd, &now) == 0 && end > now.st_size;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
  if (no_room(fd, offset + (off_t)length)) {
    errno = ENOSPC;
    return -1;
  }
  return real_pwrite(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
  off_t end = offset;
  for (int part = 0; part < count; part++) end += (off_t)parts[part].iov_len;
  if (no_room(fd, end)) {
    errno = ENOSPC;
    return -1;
  }
  return real_pwritev(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

int posix_fallocate64(int fd, off_t offset, off_t length) {
  return no_room(fd, offset + length) ? ENOSPC : real_fallocate(fd, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

static int slowly(int fd, int (*really)(int)) {
  useconds_t number;
  if (ails(&number) == 's') usleep(number);
  return really(fd);
}

int fsync(int fd) { return slowly(fd, real_fsync); }
int fdatasync(int fd) { return slowly(fd, real_fdatasync); }
