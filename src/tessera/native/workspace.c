#include "workspace.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64, MOST_SIDE = 1 << 20 };

/* Under AddressSanitizer, forbidden lines between the pieces of the one block of memory show who leaves his own. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GAP = 4 * LINE };
#else
enum { GAP = 0 };
#endif

/* Memory is laid out before it is taken: until then a pointer holds its distance from the start, plus one line. */
static void *take(tk_workspace *space, size_t bytes) {
    space->size = (space->size + LINE - 1) / LINE * LINE;
    void *found = (void *)(uintptr_t)(space->size + LINE);
    space->size += bytes + GAP;
#ifdef __SANITIZE_ADDRESS__
    space->gaps = realloc(space->gaps, (size_t)(space->gaps_count + 1) * sizeof *space->gaps);
    space->gaps[space->gaps_count++] = (uintptr_t)found + bytes;
#endif
    return found;
}
static void *settled(const tk_workspace *space, void *place) {
    return place ? space->start + (uintptr_t)place - LINE : NULL;
}

static tk_map *map(tk_workspace *space, int channels, int height, int width) {
    tk_map *map = &space->maps[space->maps_count++];
    /* Room for one column before the first, and for what tiles of any size read beyond the last. */
    const size_t pitch = (size_t)((width + 3) / 4 * 4 + 2) * channels;
    *map = (tk_map){.channels = channels, .height = height, .width = width, .rows = height, .pitch = pitch};
    if (pitch > space->longest_row) space->longest_row = pitch;
    return map;
}

static tk_stage *stage(tk_workspace *space, tk_pipeline *pipeline, tk_step *steps, int stride, const tk_map *from) {
    tk_stage *stage = &pipeline->stages[pipeline->count++];
    space->stages_count++;
    stage->steps = steps;
    stage->stride = stride;
    tk_stage_tiles(stage, from->height, from->width, steps->conv->kind, steps->conv->shuffle);
    return stage;
}

/* `reader` of the same pipeline needs what `writer` writes; through a ring, unless the map is whole. */
static void connect(tk_pipeline *pipeline, int writer, int reader, int behind, tk_map *ring) {
    tk_stage *from = &pipeline->stages[writer], *to = &pipeline->stages[reader];
    to->needs[to->needs_count].stage = writer;
    to->needs[to->needs_count++].behind = behind;
    if (!ring) return;
    from->readers[from->readers_count++] = reader;
    from->ring_height = ring->height;
    ring->ring = 1;
    const int rows = tk_ring_rows(from, to);
    from->ring_rows = ring->rows = rows;
    if (pipeline->blocks == 1 && rows >= ring->height) {
        from->ring_rows = ring->ring = 0;
        ring->rows = ring->height;
    }
}

static tk_pipeline *pass(tk_workspace *space, int blocks) {
    tk_pipeline *pipeline = &space->passes[space->passes_count++];
    pipeline->stages = space->stages + space->stages_count;
    pipeline->blocks = blocks;
    return pipeline;
}

/* What the dense blocks of one kind share: rings of grown maps, and of transformed ones. */
typedef struct {
    tk_map *grown[4];
    void *values[4];
} dense;

/* What the five convolutions of dense block n read and write. */
static void dense_steps(tk_step *steps, const tk_layer *layers, int n, const dense *dense, tk_map *a, tk_map *b) {
    for (int k = 0; k < 5; k++) {
        tk_step *step = &steps[k];
        step->conv = &layers[k].conv;
        step->from = k > 0 ? dense->grown[k - 1] : n % 3 == 0 ? a : b;
        step->to = k < 4 ? dense->grown[k] : n % 3 == 2 ? a : b;
    }
    /* The three dense blocks of a residual: b = a + y, b = b + y, a = a + 0.2 b + y. */
    steps[4].plus[0] = n % 3 == 1 ? b : a;
    steps[4].plus_factor[0] = 1;
    if (n % 3 == 2) {
        steps[4].plus[1] = b;
        steps[4].plus_factor[1] = 0.2f;
    }
}

/* Dense blocks of one kind, one behind the other. */
static void dense_pass(tk_workspace *space, dense *dense, tk_step *steps, int blocks, tk_map *a, int threads) {
    tk_pipeline *pipeline = pass(space, blocks);
    for (int k = 0; k < 5; k++) stage(space, pipeline, &steps[k], 5, a);
    connect(pipeline, 4, 0, 1, NULL);
    for (int k = 0; k < 4; k++) {
        connect(pipeline, k, k + 1, 0, dense->grown[k]);
        tk_stage *keeper = &pipeline->stages[k];
        keeper->slots = tk_value_slots(keeper, 4 - k, threads);
        keeper->values_reader = 4;
        keeper->values_size =
            (tk_values_size(steps[k].conv->kind, steps[k].from->channels) + LINE - 1) / LINE * LINE;
        if (!dense->values[k]) dense->values[k] = take(space, keeper->values_size * keeper->slots);
        keeper->values = dense->values[k];
    }
}

/* The trunk: one pass for each run of blocks of one kind. */
static void trunk(tk_workspace *space, const tk_description *d, const tk_layer *layers, tk_step *steps, tk_map *a,
                  tk_map *b, int threads) {
    const int blocks = 3 * d->blocks;
    dense of_kind[TK_KINDS];
    memset(of_kind, 0, sizeof of_kind);
    for (int n = 0, end; n < blocks; n = end) {
        const tk_kind kind = layers[n * 5].conv.kind;
        dense *dense = &of_kind[kind];
        for (int k = 0; k < 4 && !dense->grown[k]; k++) dense->grown[k] = map(space, d->growth, a->height, a->width);
        for (end = n; end < blocks && layers[end * 5].conv.kind == kind; end++)
            dense_steps(&steps[end * 5], &layers[end * 5], end, dense, a, b);
        dense_pass(space, dense, &steps[n * 5], end - n, a, threads);
    }
}

/* A convolution at the end of a chain: gives the map that it writes, or NULL for the picture. */
static tk_map *chain(tk_workspace *space, tk_pipeline *pipeline, const tk_layer *layer, tk_step *step, tk_map *from,
                     int writer, int to_picture) {
    const tk_convolution *conv = &layer->conv;
    const int s = conv->shuffle;
    step->conv = conv;
    step->from = from;
    step->to = to_picture ? NULL : map(space, conv->outputs / (s * s), from->height * s, from->width * s);
    stage(space, pipeline, step, 0, from);
    if (writer >= 0) connect(pipeline, writer, pipeline->count - 1, 0, from);
    return (tk_map *)step->to;
}

static void rrdbnet(tk_workspace *space, const tk_description *d, const tk_layer *layers, int threads) {
    const int rows = space->height / d->unshuffle, columns = space->width / d->unshuffle;
    tk_step *steps = space->steps;
    tk_map *input = map(space, tk_padded(d->in_channels * d->unshuffle * d->unshuffle), rows, columns);
    space->input = input;
    tk_map *a = chain(space, pass(space, 1), layers, steps, input, -1, 0), *b = map(space, d->features, rows, columns);
    trunk(space, d, layers + 1, steps + 1, a, b, threads);
    const tk_layer *layer = layers + 1 + 15 * d->blocks;
    tk_step *step = steps + 1 + 15 * d->blocks;
    /* The first convolution is done again, row by row, which is cheaper than to keep its result all the time. */
    tk_pipeline *tail = pass(space, 1);
    tk_map *first = chain(space, tail, layers, steps + tk_count_layers(d), input, -1, 0);
    tk_map *found = chain(space, tail, layer++, step, a, -1, 0);
    step->plus[0] = first;
    step->plus_factor[0] = 1;
    step++;
    connect(tail, 0, 1, 0, first);
    for (int i = 0; i < d->stages; i++)
        found = chain(space, tail, layer++, step++, found, tail->count - 1, 0);
    found = chain(space, tail, layer++, step++, found, tail->count - 1, 0);
    chain(space, tail, layer, step, found, tail->count - 1, 1);
}

static void srvgg(tk_workspace *space, const tk_description *d, const tk_layer *layers) {
    tk_pipeline *pipeline = pass(space, 1);
    tk_map *found = map(space, tk_padded(d->in_channels), space->height, space->width);
    space->input = found;
    for (int i = 0; i < d->blocks + 2; i++)
        found = chain(space, pipeline, &layers[i], &space->steps[i], found, i - 1, i == d->blocks + 1);
}

static void settle(tk_workspace *space, int threads) {
#ifdef __SANITIZE_ADDRESS__
    for (int i = 0; i < space->gaps_count; i++)
        __asan_poison_memory_region(space->start + space->gaps[i] - LINE, GAP);
#endif
    space->zeros = settled(space, space->zeros);
    for (int i = 0; i < space->maps_count; i++) space->maps[i].data = settled(space, space->maps[i].data);
    for (int p = 0; p < space->passes_count; p++) {
        tk_pipeline *pipeline = &space->passes[p];
        for (int s = 0; s < pipeline->count; s++)
            pipeline->stages[s].values = settled(space, pipeline->stages[s].values);
        pipeline->scratch = space->scratch;
        pipeline->scratch_values = space->scratch_values;
        pipeline->zeros = space->zeros;
    }
    for (int i = 0; i < threads; i++) space->scratch[i] = settled(space, space->scratch[i]);
}

int tk_workspace_open(tk_workspace *space, const tk_description *d, const tk_layer *layers, int threads, int height,
                      int width, int only_size) {
    const int count = tk_count_layers(d);
    memset(space, 0, sizeof *space);
    if (height < 1 || width < 1 || height > MOST_SIDE || width > MOST_SIDE || height % d->unshuffle ||
        width % d->unshuffle || (int64_t)height * width * d->scale * d->scale > (int64_t)1 << 34)
        return TK_BAD_SIZE;
    space->height = height;
    space->width = width;
    space->steps = calloc(count + 1, sizeof *space->steps);
    space->scratch = calloc(threads, sizeof *space->scratch);
    space->passes = calloc(d->blocks + 2, sizeof *space->passes); /* at most: each block, what is before and after */
    space->stages = calloc(count + 1, sizeof *space->stages);
    if (!space->steps || !space->scratch || !space->passes || !space->stages) return TK_NO_MEMORY;
    if (d->network == TK_SRVGG)
        srvgg(space, d, layers);
    else
        rrdbnet(space, d, layers, threads);
    for (int i = 0; i < space->maps_count; i++) {
        tk_map *map = &space->maps[i];
        map->data = take(space, map->pitch * map->rows * sizeof(float));
    }
    space->zeros = take(space, space->longest_row * sizeof(float));
    for (int i = 0; i < count; i++) {
        const tk_convolution *conv = &layers[i].conv;
        const size_t size = tk_values_size(conv->kind, conv->channels[conv->sources - 1]);
        if (size > space->scratch_values) space->scratch_values = (size + LINE - 1) / LINE * LINE;
    }
    for (int i = 0; i < threads; i++) space->scratch[i] = take(space, space->scratch_values + tk_products_size());
    if (only_size) return TK_OK;
    space->memory = calloc(space->size + LINE, 1);
    if (!space->memory) return TK_NO_MEMORY;
    space->start = (char *)(((uintptr_t)space->memory + LINE - 1) / LINE * LINE);
    settle(space, threads);
    return TK_OK;
}

void tk_workspace_close(tk_workspace *space) {
#ifdef __SANITIZE_ADDRESS__
    if (space->memory) __asan_unpoison_memory_region(space->memory, space->size + LINE);
    free(space->gaps);
#endif
    free(space->memory);
    free(space->steps);
    free(space->scratch);
    free(space->passes);
    free(space->stages);
    memset(space, 0, sizeof *space);
}
