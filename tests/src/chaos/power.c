/* A power cut for one directory. Loaded before the C library (LD_PRELOAD), it keeps, beside every file that is written
 * under POWER_DIRECTORY, what the writes since its last fsync have replaced. Whoever kills the process can then give the
 * files back as a disk may have them after the power failed: everything that was synced, and any part of the rest.
 *
 * POWER_JOURNAL: where that is kept, on a file system that is not cut off. POWER_LIES=1: fsync says that it has done what it
 * has not. The journal of a file is records of `struct record` and the bytes that were there before; see power.rs, which
 * reads them.
 *
 * Shared memory files (-shm) are no part of it: SQLite makes them anew, and whoever cuts the power removes them. Names that
 * change (rename, unlink) are no part of it either: a server that is killed under load changes none. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536
#define MAGIC 0x52575750u

#define CREATED ".created"

enum kind { WRITE = 1, SIZE = 2 };

struct record {
  uint32_t magic;
  uint32_t kind;
  uint64_t offset;
  uint64_t length; /* bytes that the write covers */
  uint64_t before; /* size of the file before it */
  uint64_t kept;   /* bytes that follow */
};

struct tracked {
  int journal;   /* 0: not one of ours */
  int directory; /* the directory itself */
};

static struct tracked files[FILES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX], journals[PATH_MAX];
static size_t directory_length;
static int lies;

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static void die(const char *what) {
  dprintf(2, "power: %s: %s\n", what, strerror(errno));
  _exit(99);
}

__attribute__((constructor)) static void begin(void) {
  real_openat = dlsym(RTLD_NEXT, "openat64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  const char *at = getenv("POWER_DIRECTORY"), *to = getenv("POWER_JOURNAL");
  if (at && to && realpath(at, directory) && realpath(to, journals)) directory_length = strlen(directory);
  lies = getenv("POWER_LIES") != NULL;
}

/* The journal of a path: its name with the slashes replaced. */
static void journal_of(const char *path, char *name) {
  int n = snprintf(name, PATH_MAX, "%s/", journals);
  for (const char *c = path + directory_length + 1; *c && n < PATH_MAX - 1; c++) name[n++] = *c == '/' ? '%' : *c;
  name[n] = 0;
}

static int is_ours(const char *path) {
  size_t length = strlen(path);
  if (!directory_length || strncmp(path, directory, directory_length) || path[directory_length] != '/') return 0;
  return length < 4 || strcmp(path + length - 4, "-shm");
}

static void put(int journal, uint32_t kind, uint64_t offset, uint64_t length, uint64_t before, const void *bytes, uint64_t kept) {
  struct record r = {MAGIC, kind, offset, length, before, kept};
  struct iovec all[2] = {{&r, sizeof r}, {(void *)bytes, kept}};
  if (real_writev(journal, all, kept ? 2 : 1) != (ssize_t)(sizeof r + kept)) die("the journal");
}

/* What a write will replace goes into the journal first. */
static void keep(int fd, uint64_t offset, uint64_t length) {
  struct stat at;
  if (fstat(fd, &at)) die("fstat");
  uint64_t before = (uint64_t)at.st_size, kept = 0;
  if (offset < before) kept = before - offset < length ? before - offset : length;
  char *bytes = NULL;
  if (kept) {
    bytes = malloc(kept);
    if (!bytes) die("memory");
    /* The descriptor may be for writing only. */
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int look = real_openat(AT_FDCWD, self, O_RDONLY | O_CLOEXEC);
    if (look < 0 || pread(look, bytes, kept, (off_t)offset) != (ssize_t)kept) die("what was there");
    real_close(look);
  }
  put(files[fd].journal, WRITE, offset, length, before, bytes, kept);
  free(bytes);
}

static int tracked(int fd) { return fd >= 0 && fd < FILES && files[fd].journal > 0; }

/* Keeps in mind what a descriptor is. */
static int opened(int fd, int made) {
  char real[PATH_MAX], self[64], name[PATH_MAX];
  if (fd < 0 || fd >= FILES || !directory_length) return fd;
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(self, real, sizeof real - 1);
  struct stat at;
  if (n <= 0 || fstat(fd, &at)) return fd;
  real[n] = 0;
  pthread_mutex_lock(&lock);
  files[fd].journal = files[fd].directory = 0;
  if (S_ISDIR(at.st_mode)) {
    files[fd].directory = strcmp(real, directory) == 0;
  } else if (S_ISREG(at.st_mode) && is_ours(real)) {
    journal_of(real, name);
    files[fd].journal = real_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (files[fd].journal < 0) die(name);
    if (made) {
      strncat(name, CREATED, PATH_MAX - strlen(name) - 1);
      int note = real_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      if (note < 0) die(name);
      real_close(note);
    }
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
  if (!real_openat) begin();
  struct stat before;
  int there = fstatat(at, path, &before, 0) == 0;
  /* Nothing here empties a file that holds something by opening it; if it did, its bytes would have to be kept. */
  if (there && (flags & O_TRUNC) && before.st_size > 0 && path[0] == '/' && is_ours(path)) die("a file is emptied");
  return opened(real_openat(at, path, flags, mode), !there && (flags & O_CREAT));
}

#define MODE(flags, mode)                       \
  mode_t mode = 0;                              \
  if ((flags) & (O_CREAT | O_TMPFILE)) {        \
    va_list rest;                               \
    va_start(rest, flags);                      \
    mode = va_arg(rest, mode_t);                \
    va_end(rest);                               \
  }

int open(const char *path, int flags, ...) { MODE(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags, mode) return open_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags, mode) return open_at(at, path, flags, mode); }

int close(int fd) {
  if (!real_close) begin();
  if (fd >= 0 && fd < FILES) {
    pthread_mutex_lock(&lock);
    if (files[fd].journal > 0) real_close(files[fd].journal);
    files[fd].journal = files[fd].directory = 0;
    pthread_mutex_unlock(&lock);
  }
  return real_close(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
  if (!tracked(fd)) return real_pwrite(fd, bytes, length, offset);
  pthread_mutex_lock(&lock);
  keep(fd, (uint64_t)offset, length);
  ssize_t written = real_pwrite(fd, bytes, length, offset);
  pthread_mutex_unlock(&lock);
  return written;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
  if (!tracked(fd)) return real_write(fd, bytes, length);
  pthread_mutex_lock(&lock);
  struct stat at;
  off_t place = fcntl(fd, F_GETFL) & O_APPEND && !fstat(fd, &at) ? at.st_size : lseek(fd, 0, SEEK_CUR);
  keep(fd, (uint64_t)place, length);
  ssize_t written = real_write(fd, bytes, length);
  pthread_mutex_unlock(&lock);
  return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (!tracked(fd)) return real_writev(fd, parts, count);
  ssize_t all = 0;
  for (int i = 0; i < count; i++) {
    ssize_t written = write(fd, parts[i].iov_base, parts[i].iov_len);
    if (written < 0) return all ? all : written;
    all += written;
    if ((size_t)written < parts[i].iov_len) break;
  }
  return all;
}

int ftruncate64(int fd, off_t size) {
  if (!tracked(fd)) return real_ftruncate(fd, size);
  pthread_mutex_lock(&lock);
  struct stat at;
  if (fstat(fd, &at)) die("fstat");
  if (size < at.st_size) keep(fd, (uint64_t)size, (uint64_t)(at.st_size - size));
  put(files[fd].journal, SIZE, 0, 0, (uint64_t)at.st_size, NULL, 0);
  int done = real_ftruncate(fd, size);
  pthread_mutex_unlock(&lock);
  return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* The files that were made are there after a cut too. */
static void names_synced(void) {
  DIR *all = opendir(journals);
  if (!all) die(journals);
  for (struct dirent *one; (one = readdir(all));) {
    size_t length = strlen(one->d_name);
    if (length > strlen(CREATED) && !strcmp(one->d_name + length - strlen(CREATED), CREATED) && unlinkat(dirfd(all), one->d_name, 0))
      die(one->d_name);
  }
  closedir(all);
}

/* How long a sync takes at least, in microseconds, as a disk of modest speed needs it. Where it takes no time, hardly a cut
 * falls between a write and its sync, and nothing is tried. */
#define SYNC_TAKES 2000

/* What is synced can be lost no more: its journal is empty from here on. */
static int synced(int fd, int (*really)(int)) {
  if (fd < 0 || fd >= FILES || !directory_length) return really(fd);
  pthread_mutex_lock(&lock);
  int done = really(fd);
  if (tracked(fd)) usleep(SYNC_TAKES);
  if (!done && !lies) {
    if (files[fd].journal > 0 && real_ftruncate(files[fd].journal, 0)) die("the journal");
    if (files[fd].directory) names_synced();
  }
  pthread_mutex_unlock(&lock);
  return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }
