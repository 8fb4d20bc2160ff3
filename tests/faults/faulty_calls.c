/* Disturbs one call to the system, in whichever process of a job it comes; to be loaded by LD_PRELOAD.
 *
 * FAULT_COUNTER  a file, at least as large as `struct shared`, in which all processes count together
 * FAULT_CALLS    what is counted: "changes" (what changes files or folders, or sends them to the disk), "writes" (those
 *                changes that write bytes), or "reads"
 * FAULT_PLACE    for changes and writes: the folder at or below which they count; for reads: the file
 * FAULT_AT       which one is disturbed, from 1; none if 0
 * FAULT_HOW      the number of an error that it gives instead; "killed-before" or "killed-after" it the whole process
 *                group, where of a write that is killed the half is done; "short" (the half is written or read), "empty"
 *                (nothing is read), "zeros" (zeros are read)
 *
 * Not seen: calls that libc makes for itself (fopen's and fread's), memory that is mapped, and what is sent to the
 * kernel past libc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* tests/faults/faulty.py reads it, too. */
struct shared {
    _Atomic int64_t calls;
    char struck[PATH_MAX + 64]; /* name and place of the call that was disturbed; empty if none was */
};

enum kind { CHANGE, WRITE, READ };
enum how { LEFT_ALONE, FAILED, KILLED_BEFORE, KILLED_AFTER, SHORT, EMPTY, ZEROS };

static struct shared *shared; /* NULL where nothing is asked for */
static const char *calls, *place;
static long at;
static int error;
static enum how how;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

__attribute__((constructor)) static void begin(void)
{
    static const char *names[] = {"", "", "killed-before", "killed-after", "short", "empty", "zeros"};
    const char *counter = getenv("FAULT_COUNTER");
    if (counter == NULL)
        return;
    calls = getenv("FAULT_CALLS");
    place = getenv("FAULT_PLACE");
    at = atol(getenv("FAULT_AT"));
    const char *name = getenv("FAULT_HOW");
    error = atoi(name);
    how = FAILED;
    for (enum how each = KILLED_BEFORE; each <= ZEROS; each++)
        if (strcmp(name, names[each]) == 0)
            how = each;
    int file = REAL(open)(counter, O_RDWR | O_CLOEXEC);
    void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED || (how == FAILED && error == 0))
        abort();
    shared = memory;
}

static void die(void)
{
    for (;;)
        kill(0, SIGKILL);
}

/* The path behind a descriptor. */
static void path_of(int file, char *path)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
}

/* The path that a call means by `name`, which may begin in an open folder. */
static void path_at(int folder, const char *name, char *path)
{
    char begin[PATH_MAX] = "";
    if (name[0] != '/') {
        if (folder != AT_FDCWD)
            path_of(folder, begin);
        else if (getcwd(begin, sizeof begin) == NULL)
            begin[0] = '\0';
    }
    if (snprintf(path, PATH_MAX, "%s%s%s", begin, name[0] == '/' ? "" : "/", name) >= PATH_MAX)
        path[0] = '\0';
}

static int concerns(enum kind kind, const char *path)
{
    size_t length = strlen(place);
    if (kind == READ)
        return strcmp(calls, "reads") == 0 && strcmp(path, place) == 0;
    if (strcmp(calls, "changes") != 0 && (kind != WRITE || strcmp(calls, "writes") != 0))
        return 0;
    return strncmp(path, place, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* What is to become of the call `name`, which concerns `path`; counts it. */
static enum how strike(enum kind kind, const char *name, const char *path)
{
    if (!concerns(kind, path) || atomic_fetch_add(&shared->calls, 1) + 1 != at)
        return LEFT_ALONE;
    snprintf(shared->struck, sizeof shared->struck, "%s %s", name, path);
    return how;
}

static enum how strike_at(const char *name, int folder, const char *path)
{
    if (shared == NULL)
        return LEFT_ALONE;
    int before = errno;
    char whole[PATH_MAX];
    path_at(folder, path, whole);
    enum how result = strike(CHANGE, name, whole);
    errno = before;
    return result;
}

static enum how strike_file(enum kind kind, const char *name, int file)
{
    if (shared == NULL)
        return LEFT_ALONE;
    int before = errno;
    char whole[PATH_MAX];
    path_of(file, whole);
    enum how result = strike(kind, name, whole);
    errno = before;
    return result;
}

/* A call that changes something and writes no bytes. */
#define CHANGED(struck, call)                                                                                          \
    do {                                                                                                               \
        enum how become = (struck);                                                                                    \
        if (become == FAILED) {                                                                                        \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (become == KILLED_BEFORE)                                                                                   \
            die();                                                                                                     \
        __typeof__(call) result = (call);                                                                              \
        if (become == KILLED_AFTER)                                                                                    \
            die();                                                                                                     \
        return result;                                                                                                 \
    } while (0)

/* A call that writes; `half` is the same for half of the bytes. */
#define WRITTEN(struck, call, half)                                                                                    \
    do {                                                                                                               \
        enum how become = (struck);                                                                                    \
        if (become == FAILED) {                                                                                        \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        ssize_t result = become == KILLED_BEFORE || become == SHORT ? (half) : (call);                                 \
        if (become == KILLED_BEFORE || become == KILLED_AFTER)                                                         \
            die();                                                                                                     \
        return result;                                                                                                 \
    } while (0)

/* A call that reads into `count` parts; `half` is the same for half of the bytes. */
#define READ_INTO(struck, parts, count, call, half)                                                                    \
    do {                                                                                                               \
        enum how become = (struck);                                                                                    \
        if (become == FAILED) {                                                                                        \
            errno = error;                                                                                             \
            return -1;                                                                                                 \
        }                                                                                                              \
        if (become == EMPTY)                                                                                           \
            return 0;                                                                                                  \
        ssize_t result = become == SHORT ? (half) : (call);                                                            \
        for (int each = 0; become == ZEROS && each < (count); each++)                                                  \
            memset((parts)[each].iov_base, 0, (parts)[each].iov_len);                                                  \
        return result;                                                                                                 \
    } while (0)

#define HALF(size) (((size) + 1) / 2)

static int makes(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                                                      \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags)
    CHANGED(makes(flags) ? strike_at("open", AT_FDCWD, path) : LEFT_ALONE, REAL(open)(path, flags, mode));
}

int open64(const char *path, int flags, ...)
{
    MODE(flags)
    CHANGED(makes(flags) ? strike_at("open", AT_FDCWD, path) : LEFT_ALONE, REAL(open64)(path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    CHANGED(makes(flags) ? strike_at("openat", folder, path) : LEFT_ALONE, REAL(openat)(folder, path, flags, mode));
}

int openat64(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    CHANGED(makes(flags) ? strike_at("openat", folder, path) : LEFT_ALONE, REAL(openat64)(folder, path, flags, mode));
}

int creat(const char *path, mode_t mode)
{
    CHANGED(strike_at("creat", AT_FDCWD, path), REAL(creat)(path, mode));
}

int creat64(const char *path, mode_t mode)
{
    CHANGED(strike_at("creat", AT_FDCWD, path), REAL(creat64)(path, mode));
}

int rename(const char *from, const char *to)
{
    CHANGED(strike_at("rename", AT_FDCWD, to), REAL(rename)(from, to));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    CHANGED(strike_at("renameat", to_folder, to), REAL(renameat)(from_folder, from, to_folder, to));
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned int flags)
{
    CHANGED(strike_at("renameat2", to_folder, to), REAL(renameat2)(from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to)
{
    CHANGED(strike_at("link", AT_FDCWD, to), REAL(link)(from, to));
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    CHANGED(strike_at("linkat", to_folder, to), REAL(linkat)(from_folder, from, to_folder, to, flags));
}

int symlink(const char *target, const char *path)
{
    CHANGED(strike_at("symlink", AT_FDCWD, path), REAL(symlink)(target, path));
}

int symlinkat(const char *target, int folder, const char *path)
{
    CHANGED(strike_at("symlinkat", folder, path), REAL(symlinkat)(target, folder, path));
}

int unlink(const char *path)
{
    CHANGED(strike_at("unlink", AT_FDCWD, path), REAL(unlink)(path));
}

int unlinkat(int folder, const char *path, int flags)
{
    CHANGED(strike_at("unlinkat", folder, path), REAL(unlinkat)(folder, path, flags));
}

int rmdir(const char *path)
{
    CHANGED(strike_at("rmdir", AT_FDCWD, path), REAL(rmdir)(path));
}

int mkdir(const char *path, mode_t mode)
{
    CHANGED(strike_at("mkdir", AT_FDCWD, path), REAL(mkdir)(path, mode));
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    CHANGED(strike_at("mkdirat", folder, path), REAL(mkdirat)(folder, path, mode));
}

int truncate(const char *path, off_t size)
{
    CHANGED(strike_at("truncate", AT_FDCWD, path), REAL(truncate)(path, size));
}

int truncate64(const char *path, off64_t size)
{
    CHANGED(strike_at("truncate", AT_FDCWD, path), REAL(truncate64)(path, size));
}

int ftruncate(int file, off_t size)
{
    CHANGED(strike_file(CHANGE, "ftruncate", file), REAL(ftruncate)(file, size));
}

int ftruncate64(int file, off64_t size)
{
    CHANGED(strike_file(CHANGE, "ftruncate", file), REAL(ftruncate64)(file, size));
}

int chmod(const char *path, mode_t mode)
{
    CHANGED(strike_at("chmod", AT_FDCWD, path), REAL(chmod)(path, mode));
}

int fchmod(int file, mode_t mode)
{
    CHANGED(strike_file(CHANGE, "fchmod", file), REAL(fchmod)(file, mode));
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    CHANGED(strike_at("utimensat", folder, path), REAL(utimensat)(folder, path, times, flags));
}

int futimens(int file, const struct timespec times[2])
{
    CHANGED(strike_file(CHANGE, "futimens", file), REAL(futimens)(file, times));
}

int fsync(int file)
{
    CHANGED(strike_file(CHANGE, "fsync", file), REAL(fsync)(file));
}

int fdatasync(int file)
{
    CHANGED(strike_file(CHANGE, "fdatasync", file), REAL(fdatasync)(file));
}

int syncfs(int file)
{
    CHANGED(strike_file(CHANGE, "syncfs", file), REAL(syncfs)(file));
}

int fallocate(int file, int mode, off_t offset, off_t size)
{
    CHANGED(strike_file(CHANGE, "fallocate", file), REAL(fallocate)(file, mode, offset, size));
}

int fallocate64(int file, int mode, off64_t offset, off64_t size)
{
    CHANGED(strike_file(CHANGE, "fallocate", file), REAL(fallocate64)(file, mode, offset, size));
}

/* Gives the error instead of setting errno. */
int posix_fallocate(int file, off_t offset, off_t size)
{
    enum how become = strike_file(CHANGE, "posix_fallocate", file);
    if (become == FAILED)
        return error;
    CHANGED(become, REAL(posix_fallocate)(file, offset, size));
}

int posix_fallocate64(int file, off64_t offset, off64_t size)
{
    enum how become = strike_file(CHANGE, "posix_fallocate", file);
    if (become == FAILED)
        return error;
    CHANGED(become, REAL(posix_fallocate64)(file, offset, size));
}

ssize_t write(int file, const void *data, size_t size)
{
    WRITTEN(strike_file(WRITE, "write", file), REAL(write)(file, data, size), REAL(write)(file, data, HALF(size)));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    WRITTEN(strike_file(WRITE, "pwrite", file), REAL(pwrite)(file, data, size, offset),
            REAL(pwrite)(file, data, HALF(size), offset));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    WRITTEN(strike_file(WRITE, "pwrite", file), REAL(pwrite64)(file, data, size, offset),
            REAL(pwrite64)(file, data, HALF(size), offset));
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    WRITTEN(strike_file(WRITE, "writev", file), REAL(writev)(file, parts, count),
            REAL(writev)(file, parts, HALF(count)));
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    WRITTEN(strike_file(WRITE, "pwritev", file), REAL(pwritev)(file, parts, count, offset),
            REAL(pwritev)(file, parts, HALF(count), offset));
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset)
{
    WRITTEN(strike_file(WRITE, "pwritev", file), REAL(pwritev64)(file, parts, count, offset),
            REAL(pwritev64)(file, parts, HALF(count), offset));
}

ssize_t sendfile(int to, int from, off_t *offset, size_t size)
{
    WRITTEN(strike_file(WRITE, "sendfile", to), REAL(sendfile)(to, from, offset, size),
            REAL(sendfile)(to, from, offset, HALF(size)));
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size)
{
    WRITTEN(strike_file(WRITE, "sendfile", to), REAL(sendfile64)(to, from, offset, size),
            REAL(sendfile64)(to, from, offset, HALF(size)));
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned int flags)
{
    WRITTEN(strike_file(WRITE, "copy_file_range", to),
            REAL(copy_file_range)(from, from_offset, to, to_offset, size, flags),
            REAL(copy_file_range)(from, from_offset, to, to_offset, HALF(size), flags));
}

ssize_t read(int file, void *data, size_t size)
{
    struct iovec part = {data, size};
    READ_INTO(strike_file(READ, "read", file), &part, 1, REAL(read)(file, data, size),
              REAL(read)(file, data, HALF(size)));
}

ssize_t pread(int file, void *data, size_t size, off_t offset)
{
    struct iovec part = {data, size};
    READ_INTO(strike_file(READ, "pread", file), &part, 1, REAL(pread)(file, data, size, offset),
              REAL(pread)(file, data, HALF(size), offset));
}

ssize_t pread64(int file, void *data, size_t size, off64_t offset)
{
    struct iovec part = {data, size};
    READ_INTO(strike_file(READ, "pread", file), &part, 1, REAL(pread64)(file, data, size, offset),
              REAL(pread64)(file, data, HALF(size), offset));
}

ssize_t readv(int file, const struct iovec *parts, int count)
{
    READ_INTO(strike_file(READ, "readv", file), parts, count, REAL(readv)(file, parts, count),
              REAL(read)(file, parts[0].iov_base, HALF(parts[0].iov_len)));
}

ssize_t preadv(int file, const struct iovec *parts, int count, off_t offset)
{
    READ_INTO(strike_file(READ, "preadv", file), parts, count, REAL(preadv)(file, parts, count, offset),
              REAL(pread)(file, parts[0].iov_base, HALF(parts[0].iov_len), offset));
}

ssize_t preadv64(int file, const struct iovec *parts, int count, off64_t offset)
{
    READ_INTO(strike_file(READ, "preadv", file), parts, count, REAL(preadv64)(file, parts, count, offset),
              REAL(pread64)(file, parts[0].iov_base, HALF(parts[0].iov_len), offset));
}
