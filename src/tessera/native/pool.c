#include "pool.h"

#include <stdint.h>
#include <stdlib.h>

#include "kernels.h"
#include "threads.h"

#ifndef _WIN32
#include <signal.h>
#endif

typedef struct {
    tk_pool *pool;
    int number;
    tk_thread thread;
} worker;

struct tk_pool {
    int threads;
    tk_process process;
    tk_mutex lock;
    tk_condition begin, end;
    uint64_t round; /* goes up with each run */
    int busy, closing;
    tk_work *work;
    void *argument;
    worker workers[];
};

TK_THREAD_MAIN(wait_for_work) {
    worker *self = given;
    tk_pool *pool = self->pool;
    uint64_t done = 0;
    tk_lock(&pool->lock);
    for (;;) {
        while (pool->round == done && !pool->closing) tk_wait(&pool->begin, &pool->lock);
        if (pool->closing) break;
        done = pool->round;
        tk_unlock(&pool->lock);
        pool->work(pool->argument, self->number);
        tk_lock(&pool->lock);
        if (--pool->busy == 0) tk_wake_one(&pool->end);
    }
    tk_unlock(&pool->lock);
    return 0;
}

/* As many of `threads` as the system gives. */
static void start_threads(tk_pool *pool, int threads) {
#ifndef _WIN32
    /* Signals are for the threads of the program, not for these. */
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
#endif
    for (int i = 1; i < threads; i++) {
        pool->workers[i] = (worker){.pool = pool, .number = i};
        if (!tk_thread_start(&pool->workers[i].thread, wait_for_work, &pool->workers[i])) break;
        pool->threads++;
    }
#ifndef _WIN32
    pthread_sigmask(SIG_SETMASK, &before, NULL);
#endif
}

tk_pool *tk_pool_open(int threads) {
    tk_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof(worker));
    if (!pool) return NULL;
    pool->process = tk_this_process();
    tk_mutex_open(&pool->lock);
    tk_condition_open(&pool->begin);
    tk_condition_open(&pool->end);
    pool->threads = 1;
    start_threads(pool, threads);
    if (pool->threads < threads) {
        tk_pool_close(pool);
        return NULL;
    }
    return pool;
}

int tk_pool_run(tk_pool **place, tk_work *work, void *argument) {
    tk_pool *pool = *place;
    if (pool->process != tk_this_process()) {
        /* A fork has copied the memory of the pool but not its threads, nor a sound state of its locks. */
        pool = tk_pool_open(pool->threads);
        if (!pool) return TK_NO_THREADS;
        *place = pool;
    }
    tk_lock(&pool->lock);
    pool->work = work;
    pool->argument = argument;
    pool->busy = pool->threads - 1;
    pool->round++;
    tk_wake_all(&pool->begin);
    tk_unlock(&pool->lock);
    work(argument, 0);
    tk_lock(&pool->lock);
    while (pool->busy > 0) tk_wait(&pool->end, &pool->lock);
    tk_unlock(&pool->lock);
    return TK_OK;
}

int tk_pool_threads(const tk_pool *pool) { return pool->threads; }

void tk_pool_close(tk_pool *pool) {
    if (!pool || pool->process != tk_this_process()) return;
    tk_lock(&pool->lock);
    pool->closing = 1;
    tk_wake_all(&pool->begin);
    tk_unlock(&pool->lock);
    for (int i = 1; i < pool->threads; i++) tk_thread_join(pool->workers[i].thread);
    tk_mutex_close(&pool->lock);
    tk_condition_close(&pool->begin);
    tk_condition_close(&pool->end);
    free(pool);
}
