/* Records what a program does to the names and the durability of files below the folder $RECORDED_FOLDER.

   Preloaded (LD_PRELOAD), it takes the place of the C library's functions that make, name, remove and synchronise files.
   For each call that succeeds it appends a line to $RECORDED_LOG, with a tab between fields:

     make PATH | folder PATH | rename FROM TO | link FROM TO | unlink PATH | unfolder PATH
     named PATH COPY    before a rename or a link: COPY holds what the file contains, on disk or not
     sync PATH COPY     COPY holds what the file contained when it was synchronised
     syncfolder PATH

   A lock makes the order of the lines that of the calls, over all threads and processes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int handle = -1;
static pid_t owner;

/* A lock of fcntl belongs to the process, so it keeps processes apart, and the mutex keeps threads apart. */
static void begin(void) {
    pthread_mutex_lock(&mutex);
    if (owner != getpid()) {
        const char *log = getenv("RECORDED_LOG");
        handle = log ? REAL(open)(log, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
        owner = getpid();
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (handle >= 0) fcntl(handle, F_SETLKW, &lock);
}

static void end(void) {
    int error = errno;
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (handle >= 0) fcntl(handle, F_SETLK, &lock);
    pthread_mutex_unlock(&mutex);
    errno = error;
}

static void line(const char *word, const char *first, const char *second) {
    char text[3 * PATH_MAX];
    int size = snprintf(text, sizeof text, "%s\t%s%s%s\n", word, first, *second ? "\t" : "", second);
    if (handle < 0 || write(handle, text, size) != size) abort();
}

/* The absolute path of `path`, if it is below the folder; folders that lead there are no links. */
static int recorded(int folder, const char *path, char *absolute) {
    const char *root = getenv("RECORDED_FOLDER");
    char start[PATH_MAX] = "", name[64];
    if (!root) return 0;
    if (path[0] != '/') {
        ssize_t size;
        if (folder == AT_FDCWD) snprintf(name, sizeof name, "/proc/self/cwd");
        else snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
        if ((size = readlink(name, start, sizeof start - 2)) < 0) return 0;
        start[size] = '/';
    }
    if (snprintf(absolute, PATH_MAX, "%s%s", start, path) >= PATH_MAX) return 0;
    return !strncmp(absolute, root, strlen(root)) && absolute[strlen(root)] == '/';
}

static void copied(const char *word, const char *path) {
    static unsigned number;
    char copy[PATH_MAX], piece[1 << 16];
    snprintf(copy, sizeof copy, "%s.%d.%u", getenv("RECORDED_LOG"), getpid(), number++);
    int from = REAL(open)(path, O_RDONLY | O_CLOEXEC), to = REAL(open)(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    for (ssize_t size; (size = read(from, piece, sizeof piece)) > 0;)
        if (write(to, piece, size) != size) abort();
    REAL(close)(from), REAL(close)(to);
    line(word, path, copy);
}

static int opened(const char *function, int folder, const char *path, int flags, mode_t mode) {
    char absolute[PATH_MAX];
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, function);
    if (!(flags & O_CREAT) || !recorded(folder, path, absolute)) return real(folder, path, flags, mode);
    begin();
    int is_new = access(absolute, F_OK) != 0, result = real(folder, path, flags, mode);
    if (result >= 0 && is_new) line("make", absolute, "");
    end();
    return result;
}

#define MODE(flags) ({ va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest); mode; })
int open(const char *path, int flags, ...) { return opened("openat", AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return opened("openat64", AT_FDCWD, path, flags, MODE(flags)); }
int openat(int folder, const char *path, int flags, ...) { return opened("openat", folder, path, flags, MODE(flags)); }
int openat64(int folder, const char *path, int flags, ...) { return opened("openat64", folder, path, flags, MODE(flags)); }

static FILE *streamed(const char *function, const char *path, const char *mode) {
    char absolute[PATH_MAX];
    FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, function);
    if (mode[0] == 'r' || !recorded(AT_FDCWD, path, absolute)) return real(path, mode);
    begin();
    int is_new = access(absolute, F_OK) != 0;
    FILE *result = real(path, mode);
    if (result && is_new) line("make", absolute, "");
    end();
    return result;
}
FILE *fopen(const char *path, const char *mode) { return streamed("fopen", path, mode); }
FILE *fopen64(const char *path, const char *mode) { return streamed("fopen64", path, mode); }

int mkdirat(int folder, const char *path, mode_t mode) {
    char absolute[PATH_MAX];
    if (!recorded(folder, path, absolute)) return REAL(mkdirat)(folder, path, mode);
    begin();
    int result = REAL(mkdirat)(folder, path, mode);
    if (!result) line("folder", absolute, "");
    end();
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

static int gone(int folder, const char *path, int flags) {
    char absolute[PATH_MAX];
    if (!recorded(folder, path, absolute)) return REAL(unlinkat)(folder, path, flags);
    begin();
    int result = REAL(unlinkat)(folder, path, flags);
    if (!result) line(flags & AT_REMOVEDIR ? "unfolder" : "unlink", absolute, "");
    end();
    return result;
}
int unlinkat(int folder, const char *path, int flags) { return gone(folder, path, flags); }
int unlink(const char *path) { return gone(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return gone(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    char source[PATH_MAX], target[PATH_MAX];
    int from_recorded = recorded(from_folder, from, source), to_recorded = recorded(to_folder, to, target);
    struct stat facts;
    if (!from_recorded && !to_recorded) return REAL(renameat)(from_folder, from, to_folder, to);
    begin();
    if (!from_recorded || !to_recorded) abort(); /* across the folder's border: nothing here does it */
    if (!stat(source, &facts) && S_ISREG(facts.st_mode)) copied("named", source);
    int result = REAL(renameat)(from_folder, from, to_folder, to);
    if (!result) line("rename", source, target);
    end();
    return result;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char source[PATH_MAX], target[PATH_MAX];
    if (!recorded(from_folder, from, source) || !recorded(to_folder, to, target))
        return REAL(linkat)(from_folder, from, to_folder, to, flags);
    begin();
    copied("named", source);
    int result = REAL(linkat)(from_folder, from, to_folder, to, flags);
    if (!result) line("link", source, target);
    end();
    return result;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

static int synchronised(const char *function, int file) {
    char name[64], path[PATH_MAX] = "", absolute[PATH_MAX];
    struct stat facts;
    int (*real)(int) = dlsym(RTLD_NEXT, function);
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    begin();
    ssize_t size = readlink(name, path, sizeof path - 1);
    int result = real(file);
    if (!result && size > 0 && !fstat(file, &facts)) {
        const char *root = getenv("RECORDED_FOLDER");
        if (S_ISDIR(facts.st_mode) && root && (recorded(AT_FDCWD, path, absolute) || !strcmp(path, root)))
            line("syncfolder", path, "");
        else if (S_ISREG(facts.st_mode) && recorded(AT_FDCWD, path, absolute)) copied("sync", path);
    }
    end();
    return result;
}
int fsync(int file) { return synchronised("fsync", file); }
int fdatasync(int file) { return synchronised("fdatasync", file); }
