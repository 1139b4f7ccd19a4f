/* Convolutions of a description: their order, how each is computed, and where its weights are. */
#ifndef TESSERA_DESCRIPTION_H
#define TESSERA_DESCRIPTION_H

#include "convolution.h"
#include "pool.h"

typedef struct {
    tk_convolution conv;
    int inputs, outputs; /* real ones, before they are padded to blocks */
    int upsample;
    float factor;
    float slope;
    const float *weights, *bias, *slopes; /* in what the caller gave, while the network is made */
} tk_layer;

/* Convolutions of a network in the order in which it runs them:
 * RRDBNet: first, blocks x 3 x 5, body, one for each stage, hr, last. SRVGG: first, blocks, last. */
int tk_count_layers(const tk_description *description);

int tk_describes(const tk_description *description);

/* Fill in zeroed layers; without `kinds` and `weights`, only count. Returns the number of floats. */
uint64_t tk_lay(const tk_description *description, const uint8_t *kinds, const float *weights, tk_layer *layers);

int tk_pack_layers(tk_layer *layers, int count, tk_pool **pool);

static inline int tk_padded(int channels) { return (channels + TK_LANES - 1) / TK_LANES * TK_LANES; }

#endif
