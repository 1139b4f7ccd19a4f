/* The memory of a run, and the pipelines on it, for pictures of one size. */
#ifndef TESSERA_WORKSPACE_H
#define TESSERA_WORKSPACE_H

#include "description.h"
#include "pipeline.h"

enum { TK_MOST_MAPS = 160 };

typedef struct {
    int height, width; /* of the picture */
    char *memory, *start;
    size_t size; /* bytes taken from `start`, which lies on a line of the cache */
    tk_map maps[TK_MOST_MAPS];
    int maps_count;
    tk_map *input;
    float *zeros;
    char **scratch;
    size_t scratch_values, longest_row;
    tk_step *steps;
    tk_pipeline *passes; /* one after the other */
    int passes_count;
    tk_stage *stages; /* of all passes */
    int stages_count;
#ifdef __SANITIZE_ADDRESS__
    uintptr_t *gaps; /* where forbidden lines begin */
    int gaps_count;
#endif
} tk_workspace;

/* Lay out everything and, unless only the size is needed, allocate the memory; returns a tk_status. */
int tk_workspace_open(tk_workspace *space, const tk_description *description, const tk_layer *layers, int threads,
                      int height, int width, int only_size);
void tk_workspace_close(tk_workspace *space);

#endif
