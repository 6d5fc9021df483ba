/* Kills the process at the Nth call that changes a file, counted over all threads, before or after the call.
   KILL_AT: the number of the call, from 1; 0 only counts. KILL_AFTER: set to kill after the call, not before.
   KILL_COUNT: a file that receives the number of calls when the process ends by itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;
static long at = -1;
static int after;

static void __attribute__((constructor)) begin(void) {
    const char *text = getenv("KILL_AT");
    at = text ? atol(text) : 0;
    after = getenv("KILL_AFTER") != NULL;
}

static void __attribute__((destructor)) end(void) {
    const char *path = getenv("KILL_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) { fprintf(file, "%ld", atomic_load(&calls)); fclose(file); }
}

static int regular(int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
}

static void die(void) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define AROUND(counts, call) \
    long mine = (counts) ? atomic_fetch_add(&calls, 1) + 1 : -1; \
    if (mine > 0 && mine == at && !after) die(); \
    __typeof__(call) result = call; \
    if (mine > 0 && mine == at && after) die(); \
    return result

ssize_t write(int fd, const void *data, size_t size) { REAL(write); AROUND(regular(fd), real(fd, data, size)); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { REAL(pwrite); AROUND(1, real(fd, data, size, offset)); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { REAL(pwrite64); AROUND(1, real(fd, data, size, offset)); }
int fsync(int fd) { REAL(fsync); AROUND(1, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); AROUND(1, real(fd)); }
int rename(const char *from, const char *to) { REAL(rename); AROUND(1, real(from, to)); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); AROUND(1, real(a, from, b, to)); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(renameat2); AROUND(1, real(a, from, b, to, flags)); }
int link(const char *from, const char *to) { REAL(link); AROUND(1, real(from, to)); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); AROUND(1, real(a, from, b, to, flags)); }
int unlink(const char *path) { REAL(unlink); AROUND(1, real(path)); }
int unlinkat(int fd, const char *path, int flags) { REAL(unlinkat); AROUND(1, real(fd, path, flags)); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); AROUND(1, real(path, mode)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); AROUND(1, real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); AROUND(1, real(fd, size)); }
