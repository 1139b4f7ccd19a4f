/* Ends a process that does not react to signals: a thread that needs neither the interpreter nor its lock.
 *
 * The signal handler of the interpreter writes the number of each signal into a pipe (signal.set_wakeup_fd). This thread
 * reads them. Some seconds after the second request to stop, it ends the process, unless the pipe was closed before.
 */
#include "kernels.h"

#ifdef _WIN32

int32_t tk_watch_signals(int32_t descriptor, int32_t seconds) {
    (void)descriptor;
    (void)seconds;
    return TK_NO_THREADS;
}

#else

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int descriptor, seconds;
} watch;

/* The next request to stop within this many milliseconds (-1: at any time); 0 when there was none, -1 at the end. */
static int read_request(int descriptor, int milliseconds) {
    struct pollfd waiting = {.fd = descriptor, .events = POLLIN};
    for (;;) {
        int ready = poll(&waiting, 1, milliseconds);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0) return 0;
        unsigned char number;
        ssize_t got = ready < 0 ? -1 : read(descriptor, &number, 1);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return -1;
        if (number == SIGINT || number == SIGTERM) return number;
    }
}

static int64_t now_milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *watch_signals(void *given) {
    watch self = *(watch *)given;
    free(given);
    int number = read_request(self.descriptor, -1);
    if (number > 0) number = read_request(self.descriptor, -1);
    if (number > 0) {
        int64_t end = now_milliseconds() + self.seconds * (int64_t)1000;
        for (int64_t left = end - now_milliseconds(); left > 0; left = end - now_milliseconds()) {
            int more = read_request(self.descriptor, (int)left);
            if (more < 0) {
                close(self.descriptor);
                return NULL;
            }
        }
        static const char message[] = "\ntessera: ended, because the work did not stop. Run the same command again to resume.\n";
        ssize_t ignored = write(2, message, sizeof message - 1);
        (void)ignored;
        _exit(128 + number);
    }
    close(self.descriptor);
    return NULL;
}

/* Watch a pipe's reading end, which the thread closes when the writing end is closed. */
int32_t tk_watch_signals(int32_t descriptor, int32_t seconds) {
    watch *self = malloc(sizeof *self);
    if (!self) return TK_NO_MEMORY;
    *self = (watch){descriptor, seconds};
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals go to the other threads */
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, watch_signals, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(self);
        return TK_NO_THREADS;
    }
    pthread_detach(thread);
    return TK_OK;
}

#endif
