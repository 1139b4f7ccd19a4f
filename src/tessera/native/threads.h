/* Threads, locks and aligned memory of the system: POSIX or Windows. */
#ifndef TESSERA_THREADS_H
#define TESSERA_THREADS_H

#include <stdlib.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <malloc.h>
#include <windows.h>

typedef SRWLOCK tk_mutex;
typedef CONDITION_VARIABLE tk_condition;
typedef HANDLE tk_thread;
typedef DWORD tk_process;
#define TK_THREAD_MAIN(name) static DWORD WINAPI name(void *given) /* returns 0 */

static inline void tk_mutex_open(tk_mutex *mutex) { InitializeSRWLock(mutex); }
static inline void tk_mutex_close(tk_mutex *mutex) { (void)mutex; }
static inline void tk_lock(tk_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static inline void tk_unlock(tk_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
static inline void tk_condition_open(tk_condition *condition) { InitializeConditionVariable(condition); }
static inline void tk_condition_close(tk_condition *condition) { (void)condition; }
static inline void tk_wait(tk_condition *condition, tk_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}
static inline void tk_wake_one(tk_condition *condition) { WakeConditionVariable(condition); }
static inline void tk_wake_all(tk_condition *condition) { WakeAllConditionVariable(condition); }
static inline int tk_thread_start(tk_thread *thread, LPTHREAD_START_ROUTINE start, void *given) {
    *thread = CreateThread(NULL, 0, start, given, 0, NULL);
    return *thread != NULL;
}
static inline void tk_thread_join(tk_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
static inline tk_process tk_this_process(void) { return GetCurrentProcessId(); }
static inline void *tk_aligned_alloc(size_t size) { return _aligned_malloc(size, 64); }
static inline void tk_aligned_free(void *memory) { _aligned_free(memory); }

#else
#include <pthread.h>
#include <unistd.h>

typedef pthread_mutex_t tk_mutex;
typedef pthread_cond_t tk_condition;
typedef pthread_t tk_thread;
typedef pid_t tk_process;
#define TK_THREAD_MAIN(name) static void *name(void *given) /* returns 0 */

static inline void tk_mutex_open(tk_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
static inline void tk_mutex_close(tk_mutex *mutex) { pthread_mutex_destroy(mutex); }
static inline void tk_lock(tk_mutex *mutex) { pthread_mutex_lock(mutex); }
static inline void tk_unlock(tk_mutex *mutex) { pthread_mutex_unlock(mutex); }
static inline void tk_condition_open(tk_condition *condition) { pthread_cond_init(condition, NULL); }
static inline void tk_condition_close(tk_condition *condition) { pthread_cond_destroy(condition); }
static inline void tk_wait(tk_condition *condition, tk_mutex *mutex) { pthread_cond_wait(condition, mutex); }
static inline void tk_wake_one(tk_condition *condition) { pthread_cond_signal(condition); }
static inline void tk_wake_all(tk_condition *condition) { pthread_cond_broadcast(condition); }
static inline int tk_thread_start(tk_thread *thread, void *(*start)(void *), void *given) {
    return pthread_create(thread, NULL, start, given) == 0;
}
static inline void tk_thread_join(tk_thread thread) { pthread_join(thread, NULL); }
static inline tk_process tk_this_process(void) { return getpid(); }
static inline void *tk_aligned_alloc(size_t size) {
    void *found = NULL;
    return posix_memalign(&found, 64, size) == 0 ? found : NULL;
}
static inline void tk_aligned_free(void *memory) { free(memory); }
#endif

/* A hint to the processor that a loop only waits for another thread. */
static inline void tk_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
