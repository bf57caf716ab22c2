/* A power cut for one directory. Loaded before the C library (LD_PRELOAD), it keeps, beside every file that is written
 * under POWER_DIRECTORY, what the writes since its last fsync have replaced. Whoever kills the process can then give the
 * files back as a disk may have them after the power failed: everything that was synced, and any part of the rest.
 *
 * POWER_JOURNAL: where that is kept, on a file system that is not cut off. POWER_LIES=1: fsync says that it has done what it
 * has not. The journal of a file is records of `struct record` and the bytes that were there before; see power.rs, which
 * reads them.
 *
 * Names that change (rename, unlink) are there after a cut when the directory was synced since: until then a note beside the
 * journals says what was done, with the content of a file that was replaced or is gone. Shared memory files (-shm) are no part
 * of it: SQLite makes them anew, and whoever cuts the power removes them.
 *
 * POWER_STATE: while there is a file of that name, nothing can be written; if it begins with "r" the file system is read-only,
 * else the disk is full. "s" and a number: it takes everything, and each sync so many microseconds. */
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
#define NAMES ".names"

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
static const char *state;
static unsigned notes;
static int lies;

static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_renameat2)(int, const char *, int, const char *, unsigned);
static int (*real_unlinkat)(int, const char *, int);

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
  real_renameat = dlsym(RTLD_NEXT, "renameat");
  real_renameat2 = dlsym(RTLD_NEXT, "renameat2");
  real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
  state = getenv("POWER_STATE");
  const char *at = getenv("POWER_DIRECTORY"), *to = getenv("POWER_JOURNAL");
  if (at && to && realpath(at, directory) && realpath(to, journals)) directory_length = strlen(directory);
  lies = getenv("POWER_LIES") != NULL;
}

/* What ails the disk at this moment: its first letter, and a number if there is one; 0 when nothing does. */
static char ails(useconds_t *number) {
  if (!state) return 0;
  char word[32] = {0};
  int look = real_openat(AT_FDCWD, state, O_RDONLY | O_CLOEXEC);
  if (look < 0) return 0;
  ssize_t n = read(look, word, sizeof word - 1);
  real_close(look);
  if (number && n > 1) *number = (useconds_t)strtoul(word + 1, NULL, 10);
  return n > 0 ? word[0] : 'f';
}

/* Why nothing can be written at this moment; 0 when it can. */
static int refused(void) {
  switch (ails(NULL)) {
    case 0:
    case 's': return 0;
    case 'r': return EROFS;
    default: return ENOSPC;
  }
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
  if ((flags & O_ACCMODE) != O_RDONLY && path[0] == '/' && is_ours(path) && refused() == EROFS) {
    errno = EROFS;
    return -1;
  }
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
  if ((errno = refused())) return -1;
  pthread_mutex_lock(&lock);
  keep(fd, (uint64_t)offset, length);
  ssize_t written = real_pwrite(fd, bytes, length, offset);
  pthread_mutex_unlock(&lock);
  return written;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
  if (!tracked(fd)) return real_write(fd, bytes, length);
  if ((errno = refused())) return -1;
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
  if ((errno = refused())) return -1;
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

static int ends_with(const char *name, const char *end) {
  size_t length = strlen(name);
  return length > strlen(end) && !strcmp(name + length - strlen(end), end);
}

/* The names are there after a cut as they are now: of files that were made, renamed or removed. */
static void names_synced(void) {
  DIR *all = opendir(journals);
  if (!all) die(journals);
  for (struct dirent *one; (one = readdir(all));)
    if ((ends_with(one->d_name, CREATED) || ends_with(one->d_name, NAMES)) && real_unlinkat(dirfd(all), one->d_name, 0)) die(one->d_name);
  closedir(all);
}

/* The whole path of a name that need not exist, its folder without links. */
static int resolve(int at, const char *path, char *whole) {
  char place[2 * PATH_MAX], folder[PATH_MAX], self[64];
  if (path[0] == '/') {
    snprintf(place, sizeof place, "%s", path);
  } else {
    if (at == AT_FDCWD) snprintf(self, sizeof self, "/proc/self/cwd");
    else snprintf(self, sizeof self, "/proc/self/fd/%d", at);
    ssize_t n = readlink(self, folder, sizeof folder - 1);
    if (n <= 0) return 0;
    folder[n] = 0;
    snprintf(place, sizeof place, "%s/%s", folder, path);
  }
  char *name = strrchr(place, '/');
  *name++ = 0;
  if (!realpath(place[0] ? place : "/", folder)) return 0;
  return snprintf(whole, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

/* A regular file of ours that is there under this name. */
static int is_file_of_ours(const char *path) {
  struct stat at;
  return is_ours(path) && !lstat(path, &at) && S_ISREG(at.st_mode);
}

/* What a file holds; nothing when there is none. */
static char *content(const char *path, size_t *length) {
  struct stat at;
  *length = 0;
  int look = real_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (look < 0) return NULL;
  if (fstat(look, &at)) die("fstat");
  char *bytes = malloc((size_t)at.st_size + 1);
  if (!bytes || pread(look, bytes, (size_t)at.st_size, 0) != at.st_size) die("what a name stood for");
  real_close(look);
  *length = (size_t)at.st_size;
  return bytes;
}

/* Says beside the journals what a name was before: a line with the old name, one with the new name or nothing, one with the length
 * of what is gone or nothing, and its bytes. Numbered, so that the last one can be taken back first. */
static void note(const char *from, const char *to, const char *gone, size_t length) {
  char name[PATH_MAX + 64];
  int file;
  do {
    snprintf(name, sizeof name, "%s/%010u%s", journals, notes++, NAMES);
    file = real_openat(AT_FDCWD, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  } while (file < 0 && errno == EEXIST); /* of a process before this one */
  if (file < 0) die(name);
  dprintf(file, "%s\n%s\n", from + directory_length + 1, to ? to + directory_length + 1 : "");
  if (gone) dprintf(file, "%zu", length);
  dprintf(file, "\n");
  if (gone && real_write(file, gone, length) != (ssize_t)length) die(name);
  real_close(file);
}

/* Moves what is known of a file to its new name, or forgets it. */
static void follow(const char *from, const char *to, const char *end, int keep_it) {
  char old[PATH_MAX + 16], new[PATH_MAX + 16];
  journal_of(from, old);
  strcat(old, end);
  if (to && keep_it) {
    journal_of(to, new);
    strcat(new, end);
    real_renameat(AT_FDCWD, old, AT_FDCWD, new);
  } else {
    real_unlinkat(AT_FDCWD, old, 0);
  }
}

static int rename_at(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  if (!real_openat) begin();
  char old[PATH_MAX], new[PATH_MAX];
  int ours = directory_length && resolve(from_at, from, old) && is_file_of_ours(old) && resolve(to_at, to, new) && is_ours(new);
  if (!ours) return flags ? real_renameat2(from_at, from, to_at, to, flags) : real_renameat(from_at, from, to_at, to);
  if (flags & ~1u) die("an exchange of names"); /* 1: not onto a file that is there */
  if ((errno = refused())) return -1;
  pthread_mutex_lock(&lock);
  size_t length;
  char *gone = content(new, &length);
  int done = flags ? real_renameat2(from_at, from, to_at, to, flags) : real_renameat(from_at, from, to_at, to);
  int why = errno;
  if (!done) {
    note(old, new, gone, length);
    /* A journal goes where its bytes go. That the file was made is not known to the disk either, unless there was one before. */
    follow(new, NULL, "", 0);
    follow(old, new, "", 1);
    follow(old, new, CREATED, !gone);
  }
  pthread_mutex_unlock(&lock);
  free(gone);
  errno = why;
  return done;
}

int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_at, const char *from, int to_at, const char *to) { return rename_at(from_at, from, to_at, to, 0); }
int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
  return rename_at(from_at, from, to_at, to, flags);
}

int unlinkat(int at, const char *path, int flags) {
  if (!real_openat) begin();
  char whole[PATH_MAX];
  int ours = directory_length && !flags && resolve(at, path, whole) && is_file_of_ours(whole);
  if (!ours) return real_unlinkat(at, path, flags);
  if ((errno = refused())) return -1;
  pthread_mutex_lock(&lock);
  size_t length;
  char *gone = content(whole, &length);
  int done = real_unlinkat(at, path, flags);
  int why = errno;
  if (!done) {
    note(whole, NULL, gone, length);
    follow(whole, NULL, "", 0);
    follow(whole, NULL, CREATED, 0);
  }
  pthread_mutex_unlock(&lock);
  free(gone);
  errno = why;
  return done;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

/* How long a sync takes at least, in microseconds, as a disk of modest speed needs it. Where it takes no time, hardly a cut
 * falls between a write and its sync, and nothing is tried. */
#define SYNC_TAKES 2000

/* What is synced can be lost no more: its journal is empty from here on. */
static int synced(int fd, int (*really)(int)) {
  if (fd < 0 || fd >= FILES || !directory_length) return really(fd);
  useconds_t takes = 0;
  /* Whoever does something else meanwhile does not wait for it. */
  if (tracked(fd) && ails(&takes) == 's') usleep(takes);
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
