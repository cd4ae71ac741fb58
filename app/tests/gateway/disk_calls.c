/* Stands between a process and its disk (LD_PRELOAD): writes down every system call that changes a file in one folder,
 * and lets some of them fail.
 *
 * DISK_FOLDER  the folder
 * DISK_TRACE   where the calls are written down, one `struct call` with its name and data after another
 * DISK_FAULTS  "from-to:errno[:short]", separated by commas: calls of these numbers fail. `short` writes half of it
 *              first. Files whose name begins with "ledger" never fail and don't count: they are no part of the disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILES 1024
#define FAULTS 64

struct call {
  uint8_t what; /* c create, t truncate, w write, s sync, d sync of the folder, u unlink, r rename (data: new name) */
  uint8_t failed;
  uint16_t name;
  uint32_t data;
  uint64_t at;
};

static char folder[512], *names[FILES];
static int trace = -1, many;
static long number;
static struct { long from, to; int error, is_short; } faults[FAULTS];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  const char *where = getenv("DISK_FOLDER"), *log = getenv("DISK_TRACE"), *wanted = getenv("DISK_FAULTS");
  if (!where || !log) return;
  snprintf(folder, sizeof folder, "%s/", where);
  trace = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  while (wanted && *wanted && many < FAULTS) {
    char kind[8] = "";
    if (sscanf(wanted, "%ld-%ld:%d:%7[a-z]", &faults[many].from, &faults[many].to, &faults[many].error, kind) < 3) abort();
    faults[many++].is_short = !strcmp(kind, "short");
    wanted = strchr(wanted, ',');
    if (wanted) wanted++;
  }
}

static const char *within(const char *path) {
  size_t length = strlen(folder);
  if (trace < 0 || !path) return NULL;
  if (!strncmp(path, folder, length)) return path + length;
  return !strncmp(path, folder, length - 1) && !path[length - 1] ? "" : NULL;
}

static const char *name_of(int fd) { return trace >= 0 && fd >= 0 && fd < FILES ? names[fd] : NULL; }

static void note(char what, int failed, const char *name, uint64_t at, const void *data, size_t length) {
  struct call call = {what, failed, strlen(name), length, at};
  char line[sizeof call + 512];
  memcpy(line, &call, sizeof call);
  memcpy(line + sizeof call, name, call.name);
  syscall(SYS_write, trace, line, sizeof call + call.name);
  if (length) syscall(SYS_write, trace, data, length);
}

/* The fault of the next call on `name`, 0 for none. Called in turn. */
static int fault(const char *name, int *is_short) {
  if (is_short) *is_short = 0;
  if (!strncmp(name, "ledger", 6)) return 0;
  number++;
  for (int i = 0; i < many; i++)
    if (faults[i].from <= number && number <= faults[i].to) {
      if (is_short) *is_short = faults[i].is_short;
      return faults[i].error;
    }
  return 0;
}

#define BEGIN(name) pthread_mutex_lock(&turn)
#define END() pthread_mutex_unlock(&turn)

static int open_at(const char *path, int flags, mode_t mode) {
  const char *name = within(path);
  if (!name) return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  BEGIN();
  struct stat before;
  int creates = (flags & O_CREAT) && stat(path, &before) != 0, error = 0;
  if (creates || (flags & O_TRUNC)) error = fault(name, NULL);
  int fd = -1;
  if (error) errno = error;
  else fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd >= 0) {
    if (fd < FILES) { free(names[fd]); names[fd] = strdup(name); }
    if (creates) note('c', 0, name, 0, NULL, 0);
    else if (flags & O_TRUNC) note('t', 0, name, 0, NULL, 0);
  }
  error = errno;
  END();
  errno = error;
  return fd;
}

int open(const char *path, int flags, ...) {
  va_list rest; va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_at(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list rest; va_start(rest, flags);
  mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_at(path, flags, mode);
}

int close(int fd) {
  if (name_of(fd)) { BEGIN(); free(names[fd]); names[fd] = NULL; END(); }
  return syscall(SYS_close, fd);
}

/* `at` below 0: where the file stands. */
static ssize_t put(int fd, const void *data, size_t length, off_t at) {
  const char *name = name_of(fd);
  if (!name) return at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
  BEGIN();
  int is_short, error = fault(name, &is_short);
  ssize_t done = -1;
  if (error && is_short && length > 1) { length /= 2; error = 0; }
  off_t where = at;
  if (at < 0) {
    int flags = fcntl(fd, F_GETFL);
    where = lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
  }
  if (!error) {
    done = at < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, at);
    error = errno;
  }
  if (done > 0) note('w', 0, name, where, data, done);
  END();
  if (done < 0) errno = error;
  return done;
}

ssize_t write(int fd, const void *data, size_t length) { return put(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return put(fd, data, length, at); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) { return put(fd, data, length, at); }

static int cut(int fd, off_t length) {
  const char *name = name_of(fd);
  if (!name) return syscall(SYS_ftruncate, fd, length);
  BEGIN();
  int error = fault(name, NULL), done = -1;
  if (!error) {
    done = syscall(SYS_ftruncate, fd, length);
    error = errno;
  }
  if (!done) note('t', 0, name, length, NULL, 0);
  END();
  if (done) errno = error;
  return done;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

/* The reserve's room is no content: it may fail, and that is all. */
int posix_fallocate(int fd, off_t at, off_t length) {
  const char *name = name_of(fd);
  if (!name) return syscall(SYS_fallocate, fd, 0, at, length) ? errno : 0;
  BEGIN();
  int error = fault(name, NULL);
  END();
  return error;
}
int posix_fallocate64(int fd, off64_t at, off64_t length) { return posix_fallocate(fd, at, length); }

static int sync_of(int fd, long call) {
  const char *name = name_of(fd);
  if (!name) return syscall(call, fd);
  BEGIN();
  /* What the folder is on needs no flush: what a power cut leaves is worked out from what is written down. */
  int error = fault(name, NULL);
  note(*name ? 's' : 'd', error != 0, name, 0, NULL, 0);
  END();
  if (error) { errno = error; return -1; }
  return 0;
}

int fsync(int fd) { return sync_of(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_of(fd, SYS_fdatasync); }

int unlink(const char *path) {
  const char *name = within(path);
  if (!name) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
  BEGIN();
  int error = fault(name, NULL), done = -1;
  if (!error) {
    done = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    error = errno;
  }
  if (!done) note('u', 0, name, 0, NULL, 0);
  END();
  if (done) errno = error;
  return done;
}

int rename(const char *path, const char *to) {
  const char *name = within(path), *fresh = within(to);
  if (!name || !fresh) return syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, to, 0);
  BEGIN();
  int error = fault(name, NULL), done = -1;
  if (!error) {
    done = syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, to, 0);
    error = errno;
  }
  if (!done) note('r', 0, name, 0, fresh, strlen(fresh));
  END();
  if (done) errno = error;
  return done;
}
