/* A thread pool owned by one network. */
#ifndef TESSERA_POOL_H
#define TESSERA_POOL_H

typedef struct tk_pool tk_pool;
typedef void tk_work(void *argument, int thread);

/* Open a pool of this many threads, including the caller's; NULL if they are unavailable. */
tk_pool *tk_pool_open(int threads);

/* Call `work` once on every thread and return when all are done. After a fork the threads are restarted. */
int tk_pool_run(tk_pool **pool, tk_work *work, void *argument);

int tk_pool_threads(const tk_pool *pool);
void tk_pool_close(tk_pool *pool);

#endif
