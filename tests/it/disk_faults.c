/* Makes a disk fail under a process that is started with this library preloaded. The file that
 * FAULTS names says how, and may change at any time: the number of an error, what fails by it (w:
 * writing into files that are open, s: forcing them to disk, o: making, opening for writing,
 * renaming and removing them), and where: how the paths of these files begin. No file, no fault. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(char what, const char *path) {
    const char *file = getenv("FAULTS");
    if (!file || !path) return 0;
    int number = 0, kept = errno;
    char line[PATH_MAX + 64] = "", kinds[8] = "", where[PATH_MAX] = "";
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) { errno = kept; return 0; }
    ssize_t len = syscall(SYS_read, fd, line, sizeof line - 1);
    syscall(SYS_close, fd);
    errno = kept;
    if (len <= 0 || sscanf(line, "%d %7s %4095s", &number, kinds, where) != 3) return 0;
    if (!strchr(kinds, what) || strncmp(path, where, strlen(where))) return 0;
    errno = number;
    return 1;
}

static int fd_fails(char what, int fd) {
    char link[64], path[PATH_MAX];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (len < 0) return 0;
    path[len] = 0;
    return fails(what, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_FD(what, type, name, parameters, arguments)                                             \
    type name parameters {                                                                         \
        static __typeof__(&name) real;                                                             \
        if (!real) real = REAL(name);                                                              \
        return fd_fails(what, fd) ? -1 : real arguments;                                           \
    }
#define ON_PATH(name, parameters, arguments)                                                       \
    int name parameters {                                                                          \
        static __typeof__(&name) real;                                                             \
        if (!real) real = REAL(name);                                                              \
        return fails('o', path) ? -1 : real arguments;                                             \
    }
#define OPEN(name, parameters, arguments)                                                          \
    int name parameters {                                                                          \
        static __typeof__(&name) real;                                                             \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                    \
        va_end(more);                                                                              \
        if (!real) real = REAL(name);                                                              \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT) && fails('o', path)) return -1;                  \
        return real arguments;                                                                     \
    }

ON_FD('w', ssize_t, write, (int fd, const void *from, size_t len), (fd, from, len))
ON_FD('w', ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
ON_FD('w', ssize_t, pwrite, (int fd, const void *from, size_t len, off_t at), (fd, from, len, at))
ON_FD('w', ssize_t, pwrite64, (int fd, const void *from, size_t len, off64_t at), (fd, from, len, at))
ON_FD('w', int, ftruncate, (int fd, off_t len), (fd, len))
ON_FD('w', int, ftruncate64, (int fd, off64_t len), (fd, len))
ON_FD('s', int, fsync, (int fd), (fd))
ON_FD('s', int, fdatasync, (int fd), (fd))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(rename, (const char *path, const char *to), (path, to))
ON_PATH(unlink, (const char *path), (path))
OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, (int in, const char *path, int flags, ...), (in, path, flags, mode))
OPEN(openat64, (int in, const char *path, int flags, ...), (in, path, flags, mode))
