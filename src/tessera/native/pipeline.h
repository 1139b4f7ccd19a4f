/* A pipeline of convolutions; each runs only as far ahead as the next one needs.
 *
 * A pipeline has stages, a stage one convolution for each block (RRDBNet's trunk is one pipeline of five stages that is
 * passed by 69 blocks). Work is split into groups of tiles in raster order. An idle thread
 * takes, under one lock, the next group of the last stage that can go on: one whose input is there, and whose output
 * overwrites nothing that is still needed. So little is alive at any time, and no thread waits at a barrier.
 */
#ifndef TESSERA_PIPELINE_H
#define TESSERA_PIPELINE_H

#include "convolution.h"
#include "pool.h"

/* Inputs and outputs of one convolution of a block. */
typedef struct {
    const tk_convolution *conv;
    const tk_map *from, *to, *plus[2];
    float plus_factor[2];
} tk_step;

typedef struct {
    const tk_step *steps; /* of block b: steps[b * stride] */
    int stride;
    int height, width, outer, shuffle; /* of the input; the output is `shuffle` times as large */
    int across, down, groups;
    /* Stages that have to be ahead: `behind` 1 means that the block before is meant. */
    struct {
        int stage, behind;
    } needs[2];
    int needs_count;
    /* Stages that read the ring which this one writes; ring_rows 0: a whole map. */
    int readers[2], readers_count, ring_rows;
    int ring_height;
    /* Transformed input, kept for later stages up to `values_reader`; slots 0: used at once and forgotten. */
    char *values;
    size_t values_size;
    int slots, values_reader;
    /* Progress, over all blocks. */
    int64_t begun, finished;
    uint64_t beyond; /* bit i: group `finished` + i is done */
} tk_stage;

typedef struct {
    tk_stage *stages;
    int count, blocks;
    const tk_operations *operations;
    const tk_picture *picture;
    const float *zeros;
    char **scratch; /* for each thread: values, then products */
    size_t scratch_values;
} tk_pipeline;

/* Fill in the layout of a stage's tiles. */
void tk_stage_tiles(tk_stage *stage, int height, int width, tk_kind kind, int shuffle);

/* Rows of the ring between two stages: the minimum that avoids a deadlock, and a few more. */
int tk_ring_rows(const tk_stage *writer, const tk_stage *reader);

/* Groups of values that are stored over a number of stages of the same tiles, and a few more. */
int tk_value_slots(const tk_stage *stage, int stages, int threads);

int tk_pipeline_run(tk_pipeline *pipeline, tk_pool **pool);

#endif
