/* Gives new threads a stack of 8 MB: the web threads of Debian's Orthanc have 100 KB, in which its JPEG 2000 codec
   crashes. Loaded into Orthanc alone, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

typedef int (*create_t)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *given, void *(*run)(void *), void *what) {
    static create_t create;
    pthread_attr_t attributes;
    int state = PTHREAD_CREATE_JOINABLE, result;
    if (!create) create = (create_t)dlsym(RTLD_NEXT, "pthread_create");
    if (given) pthread_attr_getdetachstate(given, &state);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, state);
    pthread_attr_setstacksize(&attributes, 8 << 20);
    result = create(thread, &attributes, run, what);
    pthread_attr_destroy(&attributes);
    return result;
}
