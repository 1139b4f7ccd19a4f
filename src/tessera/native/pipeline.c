#include "pipeline.h"

#include <stdatomic.h>
#include <string.h>

#include "threads.h"

enum { WINDOW = 60, SPINS = 4000 };

static int lesser(int a, int b) { return a < b ? a : b; }

void tk_stage_tiles(tk_stage *stage, int height, int width, tk_kind kind, int shuffle) {
    stage->height = height;
    stage->width = width;
    stage->outer = tk_outer(kind);
    stage->shuffle = shuffle;
    stage->across = (width + stage->outer - 1) / stage->outer;
    stage->down = (height + stage->outer - 1) / stage->outer;
    stage->groups = (int)(((int64_t)stage->across * stage->down + TK_TILES - 1) / TK_TILES);
}

/* Rows of tiles that a group may touch. */
static int rows_touched(const tk_stage *stage) {
    return lesser((TK_TILES - 1 + stage->across - 1) / stage->across + 1, stage->down);
}

int tk_ring_rows(const tk_stage *writer, const tk_stage *reader) {
    /* A reader wants all rows of its tiles and one row around them, which lie in as many rows of the writer's tiles,
     * which may be begun above and end below. */
    const int step = writer->outer * writer->shuffle;
    return reader->outer * (rows_touched(reader) + 1) + step * rows_touched(writer) + reader->outer;
}

int tk_value_slots(const tk_stage *stage, int stages, int threads) {
    return stages * ((stage->across + TK_TILES) / TK_TILES + 1) + 2 + threads;
}

/* How many groups of a stage have to be done, in one block, so that pixel (y, x) of its output is there. */
static int64_t groups_until(const tk_stage *stage, int y, int x) {
    y = lesser(y, stage->height * stage->shuffle - 1) / stage->shuffle / stage->outer;
    x = lesser(x, stage->width * stage->shuffle - 1) / stage->shuffle / stage->outer;
    return ((int64_t)y * stage->across + x) / TK_TILES + 1;
}

static int tiles_in(const tk_stage *stage, int group) {
    const int64_t left = (int64_t)stage->across * stage->down - (int64_t)group * TK_TILES;
    return left < TK_TILES ? (int)left : TK_TILES;
}

/* Is what the group reads there? */
static int is_fed(const tk_pipeline *pipeline, const tk_stage *stage, int block, int group) {
    const int last = group * TK_TILES + tiles_in(stage, group) - 1;
    const int row = last / stage->across, column = last % stage->across, m = stage->outer;
    for (int i = 0; i < stage->needs_count; i++) {
        const tk_stage *writer = &pipeline->stages[stage->needs[i].stage];
        const int of = block - stage->needs[i].behind;
        if (of < 0) continue;
        int64_t wanted = groups_until(writer, (row + 1) * m, (column + 1) * m);
        if (row > group * TK_TILES / stage->across) { /* the row of tiles above ends at the right edge */
            const int64_t above = groups_until(writer, row * m, stage->width);
            wanted = above > wanted ? above : wanted;
        }
        if (writer->finished < (int64_t)of * writer->groups + wanted) return 0;
    }
    return 1;
}

/* Is there room for what the group writes? */
static int has_room(const tk_pipeline *pipeline, const tk_stage *stage, int block, int group) {
    if (stage->slots > 0) {
        const int64_t before = (int64_t)block * stage->groups + group - stage->slots;
        if (pipeline->stages[stage->values_reader].finished <= before) return 0;
    }
    if (stage->ring_rows == 0) return 1;
    const int last = group * TK_TILES + tiles_in(stage, group) - 1;
    const int end = lesser((last / stage->across + 1) * stage->outer * stage->shuffle, stage->ring_height);
    const int64_t lost = (int64_t)block * stage->ring_height + end - 1 - stage->ring_rows;
    if (lost < 0) return 1;
    const int64_t of = lost / stage->ring_height, y = lost % stage->ring_height;
    for (int i = 0; i < stage->readers_count; i++) {
        const tk_stage *reader = &pipeline->stages[stage->readers[i]];
        /* Row y is read by the tiles it lies in and, from the row above it on, by those below. */
        const int64_t row = lesser((int)((y + 1) / reader->outer), reader->down - 1);
        const int64_t groups = ((row + 1) * reader->across + TK_TILES - 1) / TK_TILES;
        if (reader->finished < of * reader->groups + groups) return 0;
    }
    return 1;
}

typedef struct {
    tk_pipeline *pipeline;
    tk_mutex lock;
    tk_condition changed;
    atomic_uint version;
    int sleeping;
} shared;

/* The stage that can go on and is furthest behind the others; -1 when none can, -2 when all is done. */
static int next_stage(const tk_pipeline *pipeline) {
    int done = 1;
    for (int s = pipeline->count - 1; s >= 0; s--) {
        const tk_stage *stage = &pipeline->stages[s];
        if (stage->begun >= (int64_t)stage->groups * pipeline->blocks) continue;
        done = 0;
        if (stage->begun - stage->finished >= WINDOW) continue;
        const int block = (int)(stage->begun / stage->groups), group = (int)(stage->begun % stage->groups);
        if (is_fed(pipeline, stage, block, group) && has_room(pipeline, stage, block, group)) return s;
    }
    return done ? -2 : -1;
}

static void compute(const tk_pipeline *pipeline, const tk_stage *stage, int64_t index, int thread) {
    const int block = (int)(index / stage->groups), group = (int)(index % stage->groups);
    const tk_step *step = &stage->steps[(size_t)block * stage->stride];
    const tk_convolution *conv = step->conv;
    tk_task task = {
        .conv = conv,
        .first_tile = group * TK_TILES,
        .tiles = tiles_in(stage, group),
        .across = stage->across,
        .from = step->from,
        .from_row = step->from->ring ? (int64_t)block * step->from->height : 0,
        .to = step->to,
        .picture = pipeline->picture,
        .zeros = pipeline->zeros,
        .products = (float *)(pipeline->scratch[thread] + pipeline->scratch_values),
    };
    /* Earlier sources were transformed by the stages before this one, of which each has kept its own. */
    for (int s = 0; s < conv->sources; s++) {
        const tk_stage *keeper = stage - (conv->sources - 1 - s);
        task.values[s] =
            keeper->slots > 0 ? keeper->values + (size_t)(index % keeper->slots) * keeper->values_size : pipeline->scratch[thread];
    }
    if (task.to) task.to_row = task.to->ring ? (int64_t)block * task.to->height : 0;
    for (int i = 0; i < 2; i++) {
        task.plus[i] = step->plus[i];
        task.plus_factor[i] = step->plus_factor[i];
    }
    pipeline->operations->group[conv->kind](&task);
}

static void work(void *argument, int thread) {
    shared *shared = argument;
    tk_pipeline *pipeline = shared->pipeline;
    tk_lock(&shared->lock);
    for (;;) {
        const int s = next_stage(pipeline);
        if (s == -2) break;
        if (s == -1) { /* another thread is about to finish what is missing */
            const unsigned seen = atomic_load_explicit(&shared->version, memory_order_relaxed);
            tk_unlock(&shared->lock);
            int spins = 0;
            while (spins < SPINS && atomic_load_explicit(&shared->version, memory_order_relaxed) == seen) {
                spins++;
                tk_pause();
            }
            tk_lock(&shared->lock);
            if (spins == SPINS && atomic_load_explicit(&shared->version, memory_order_relaxed) == seen) {
                shared->sleeping++;
                tk_wait(&shared->changed, &shared->lock);
                shared->sleeping--;
            }
            continue;
        }
        tk_stage *stage = &pipeline->stages[s];
        const int64_t index = stage->begun++;
        tk_unlock(&shared->lock);
        compute(pipeline, stage, index, thread);
        tk_lock(&shared->lock);
        stage->beyond |= (uint64_t)1 << (index - stage->finished);
        while (stage->beyond & 1) {
            stage->beyond >>= 1;
            stage->finished++;
        }
        atomic_fetch_add_explicit(&shared->version, 1, memory_order_relaxed);
        if (shared->sleeping > 0) tk_wake_all(&shared->changed);
    }
    tk_unlock(&shared->lock);
}

int tk_pipeline_run(tk_pipeline *pipeline, tk_pool **pool) {
    shared shared = {.pipeline = pipeline};
    for (int s = 0; s < pipeline->count; s++) {
        pipeline->stages[s].begun = pipeline->stages[s].finished = 0;
        pipeline->stages[s].beyond = 0;
    }
    tk_mutex_open(&shared.lock);
    tk_condition_open(&shared.changed);
    const int status = tk_pool_run(pool, work, &shared);
    tk_mutex_close(&shared.lock);
    tk_condition_close(&shared.changed);
    return status;
}
