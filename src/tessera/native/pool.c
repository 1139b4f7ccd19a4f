#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels.h"

typedef struct {
    tk_pool *pool;
    int number;
    pthread_t thread;
} worker;

struct tk_pool {
    int threads;
    pid_t process;
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    uint64_t round; /* goes up with each run */
    int busy, closing;
    tk_work *work;
    void *argument;
    worker workers[];
};

static void *wait_for_work(void *given) {
    worker *self = given;
    tk_pool *pool = self->pool;
    uint64_t done = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == done && !pool->closing) pthread_cond_wait(&pool->begin, &pool->lock);
        if (pool->closing) break;
        done = pool->round;
        pthread_mutex_unlock(&pool->lock);
        pool->work(pool->argument, self->number);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0) pthread_cond_signal(&pool->end);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

tk_pool *tk_pool_open(int threads) {
    tk_pool *pool = calloc(1, sizeof *pool + (size_t)threads * sizeof(worker));
    if (!pool) return NULL;
    pool->process = getpid();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->begin, NULL);
    pthread_cond_init(&pool->end, NULL);
    /* Signals are for the threads of the program, not for these. */
    sigset_t every, before;
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    pool->threads = 1;
    for (int i = 1; i < threads; i++) {
        pool->workers[i] = (worker){.pool = pool, .number = i};
        if (pthread_create(&pool->workers[i].thread, NULL, wait_for_work, &pool->workers[i]) != 0) break;
        pool->threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->threads < threads) {
        tk_pool_close(pool);
        return NULL;
    }
    return pool;
}

int tk_pool_run(tk_pool **place, tk_work *work, void *argument) {
    tk_pool *pool = *place;
    if (pool->process != getpid()) {
        /* A fork has copied the memory of the pool but not its threads, nor a sound state of its locks. */
        pool = tk_pool_open(pool->threads);
        if (!pool) return TK_NO_THREADS;
        *place = pool;
    }
    pthread_mutex_lock(&pool->lock);
    pool->work = work;
    pool->argument = argument;
    pool->busy = pool->threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    work(argument, 0);
    pthread_mutex_lock(&pool->lock);
    while (pool->busy > 0) pthread_cond_wait(&pool->end, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return TK_OK;
}

int tk_pool_threads(const tk_pool *pool) { return pool->threads; }

void tk_pool_close(tk_pool *pool) {
    if (!pool || pool->process != getpid()) return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = 1;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->begin);
    pthread_cond_destroy(&pool->end);
    free(pool);
}
