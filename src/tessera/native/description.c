#include "description.h"

#include <stdatomic.h>
#include <string.h>

enum { MOST_FEATURES = 1024, MOST_BLOCKS = 256, MOST_INNER = 140 };

static int within(int value, int least, int most) { return least <= value && value <= most; }

int tk_describes(const tk_description *d) {
    if (!within(d->in_channels, 1, 4) || !within(d->out_channels, 1, 4)) return 0;
    if (!within(d->features, TK_LANES, MOST_FEATURES) || d->features % TK_LANES) return 0;
    if (d->network == TK_SRVGG) {
        if (d->out_channels != d->in_channels && d->in_channels != 1) return 0;
        return within(d->blocks, 0, MOST_INNER) && within(d->scale, 1, 8) && d->unshuffle == 1;
    }
    if (d->network != TK_RRDBNET || !within(d->growth, TK_LANES, MOST_FEATURES) || d->growth % TK_LANES) return 0;
    if (!within(d->blocks, 1, MOST_BLOCKS) || !within(d->unshuffle, 1, 4) || !within(d->stages, 0, 4)) return 0;
    int upsampled = 1;
    for (int i = 0; i < d->stages; i++) {
        if (!within(d->stage[i], 2, 3)) return 0;
        upsampled *= d->stage[i];
    }
    return within(d->scale, 1, 81) && d->scale * d->unshuffle == upsampled;
}

int tk_count_layers(const tk_description *d) {
    return d->network == TK_SRVGG ? d->blocks + 2 : 1 + d->blocks * 15 + 1 + d->stages + 2;
}

typedef struct {
    const float *weights;
    uint64_t used;
    tk_layer *layer; /* the next */
} hand;

static const float *take(hand *hand, uint64_t count) {
    const float *found = hand->weights ? hand->weights + hand->used : NULL;
    hand->used += count;
    return found;
}

static tk_layer *lay(hand *hand, tk_kind kind, int inputs, int outputs, float slope, int learned) {
    tk_layer *layer = hand->layer++;
    *layer = (tk_layer){.inputs = inputs, .outputs = outputs, .upsample = 1, .factor = 1, .slope = slope};
    layer->conv.kind = kind;
    layer->conv.sources = 1;
    layer->conv.inputs = layer->conv.channels[0] = tk_padded(inputs);
    layer->conv.outputs = tk_padded(outputs);
    layer->conv.shuffle = 1;
    layer->weights = take(hand, (uint64_t)outputs * inputs * 9);
    layer->bias = take(hand, outputs);
    layer->slopes = learned ? take(hand, outputs) : NULL;
    return layer;
}

static void lay_dense_block(hand *hand, tk_kind kind, const tk_description *d, int last_of_three) {
    for (int k = 0; k < 5; k++) {
        const int inputs = d->features + k * d->growth;
        tk_layer *layer = lay(hand, kind, inputs, k < 4 ? d->growth : d->features, k < 4 ? d->slope : 1, 0);
        layer->conv.sources = k + 1;
        layer->conv.channels[0] = d->features;
        for (int s = 1; s <= k; s++) layer->conv.channels[s] = d->growth;
        /* A fifth of what the block finds goes on; of the last of three, a fifth of a fifth. */
        if (k == 4) layer->factor = last_of_three ? 0.2f * 0.2f : 0.2f;
    }
}

static tk_kind kind_of(const uint8_t *kinds, int block) { return kinds ? (tk_kind)kinds[block] : TK_F4_FP32; }

uint64_t tk_lay(const tk_description *d, const uint8_t *kinds, const float *weights, tk_layer *layers) {
    hand hand = {.weights = weights, .layer = layers};
    const tk_kind tail = kind_of(kinds, d->blocks);
    if (d->network == TK_SRVGG) {
        lay(&hand, TK_F4_FP32, d->in_channels, d->features, d->slope, d->learned_slopes);
        for (int i = 0; i < d->blocks; i++)
            lay(&hand, kind_of(kinds, i), d->features, d->features, d->slope, d->learned_slopes);
        tk_layer *last = lay(&hand, TK_F4_FP32, d->features, d->out_channels * d->scale * d->scale, 1, 0);
        last->conv.shuffle = d->scale;
        return hand.used;
    }
    lay(&hand, TK_F4_FP32, d->in_channels * d->unshuffle * d->unshuffle, d->features, 1, 0);
    for (int b = 0; b < 3 * d->blocks; b++) lay_dense_block(&hand, kind_of(kinds, b / 3), d, b % 3 == 2);
    lay(&hand, tail, d->features, d->features, 1, 0);
    for (int i = 0; i < d->stages; i++) {
        tk_layer *layer = lay(&hand, tail, d->features, d->features, d->slope, 0);
        layer->upsample = layer->conv.shuffle = d->stage[i];
        layer->conv.outputs *= d->stage[i] * d->stage[i];
    }
    lay(&hand, tail, d->features, d->features, d->slope, 0);
    lay(&hand, TK_F4_FP32, d->features, d->out_channels, 1, 0);
    return hand.used;
}

typedef struct {
    tk_layer *layers;
    int count;
    atomic_int next, status;
} packing;

static void pack(void *argument, int thread) {
    packing *packing = argument;
    (void)thread;
    for (;;) {
        const int i = atomic_fetch_add(&packing->next, 1);
        if (i >= packing->count) return;
        tk_layer *l = &packing->layers[i];
        const int status = tk_pack(&l->conv, l->weights, l->bias, l->slopes, l->slope, l->inputs, l->outputs,
                                   l->upsample, l->factor);
        if (status != TK_OK) atomic_store(&packing->status, status);
    }
}

int tk_pack_layers(tk_layer *layers, int count, tk_pool **pool) {
    packing packing = {.layers = layers, .count = count};
    const int status = tk_pool_run(pool, pack, &packing);
    return status != TK_OK ? status : atomic_load(&packing.status);
}
