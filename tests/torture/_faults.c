/* Makes the n-th write below a folder fail, as a full disk or a broken device would: preloaded before libc.
 *
 * Counted as writes: open for writing, write, pwrite, fsync, rename, mkdir, ftruncate. ENOSPC stays from then on,
 * as a full disk does; any other error comes once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[4096];
static long strike_at = -1, seen, struck;
static int error;

void faults_arm(const char *below, long n, int code) {
    snprintf(folder, sizeof folder, "%s", below);
    strike_at = n;
    error = code;
    seen = struck = 0;
}
long faults_seen(void) { return seen; }
long faults_struck(void) { return struck; }

static int fails(const char *path) {
    if (!folder[0] || strncmp(path, folder, strlen(folder)))
        return 0;
    long n = seen++;
    if (strike_at < 0 || n < strike_at || (n > strike_at && error != ENOSPC))
        return 0;
    struck++;
    errno = error;
    return 1;
}

static int fd_fails(int fd) {
    char link[64], path[4096];
    if (!folder[0])
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return fails(path);
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        REAL(name);                                                 \
        va_list more;                                               \
        va_start(more, flags);                                      \
        mode_t mode = va_arg(more, mode_t);                         \
        va_end(more);                                               \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && fails(path)) \
            return -1;                                              \
        return real(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *from, size_t n) {
    REAL(write);
    return fd_fails(fd) ? -1 : real(fd, from, n);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    REAL(pwrite64);
    return fd_fails(fd) ? -1 : real(fd, from, n, at);
}
int fsync(int fd) {
    REAL(fsync);
    return fd_fails(fd) ? -1 : real(fd);
}
int ftruncate64(int fd, off64_t n) {
    REAL(ftruncate64);
    return fd_fails(fd) ? -1 : real(fd, n);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    return fails(to) ? -1 : real(from, to);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    // one that is there is not written, and whoever asks for it again is content
    return access(path, F_OK) && fails(path) ? -1 : real(path, mode);
}
