/* Random networks, sizes and threads through the kernels, compared with the portable set on one thread.
 *
 * driver SEED RUNS [SIDE [SET]]: built with a sanitizer by scripts/sanitize, and for Arm by scripts/test_arm. Buffers have
 * exactly the length that they need. SIDE: most pixels on a side, but for a few long pictures; SET: a tk_set, else any.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static uint64_t state;
static uint32_t most_side = 70;
static int only_set = -1;

static uint32_t chance(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static tk_description some_network(void) {
    tk_description d = {.in_channels = chance(2) ? 3 : 1, .features = 16 * (1 + chance(3)), .unshuffle = 1, .slope = 0.2f};
    d.out_channels = d.in_channels == 1 && chance(2) ? 3 : d.in_channels;
    if (chance(3) == 0) {
        d.network = TK_SRVGG;
        d.blocks = chance(5);
        d.scale = 1 + chance(4);
        d.learned_slopes = chance(2);
        return d;
    }
    d.network = TK_RRDBNET;
    d.blocks = 1 + chance(3);
    d.growth = 16 * (1 + chance(2));
    d.stages = chance(3);
    d.scale = 1;
    for (int i = 0; i < d.stages; i++) d.scale *= d.stage[i] = 2 + chance(2);
    if (d.scale % 2 == 0 && chance(2)) {
        d.unshuffle = 2;
        d.scale /= 2;
    }
    return d;
}

/* Mostly small; now and then large and odd, so that the rings go round. */
static int some_side(void) { return 1 + chance(chance(12) ? most_side : most_side * 7 / 2); }

static int fail(const char *what, const tk_description *d, int height, int width, int set, int threads) {
    fprintf(stderr, "%s: network %d, features %d, blocks %d, scale %d, %dx%d, set %d, %d threads\n", what, d->network,
            d->features, d->blocks, d->scale, width, height, set, threads);
    return 1;
}

static int one_run(void) {
    const tk_description d = some_network();
    const uint64_t count = tk_count_weights(&d);
    float *weights = malloc(count * sizeof *weights);
    for (uint64_t i = 0; i < count; i++) weights[i] = ((int)chance(2001) - 1000) / 16000.0f;
    uint8_t kinds[8] = {0};
    int set = only_set >= 0 ? only_set : (int)chance(TK_SETS), reduced = 0;
    if (!tk_has_set(set) && only_set < 0) set = tk_best_set();
    if (set == TK_PORTABLE || tk_has_bf16(set))
        for (int i = 0; i <= d.blocks; i++) reduced |= kinds[i] = chance(TK_KINDS);
    const uint8_t exact[8] = {0};
    const int threads = 1 + chance(6);
    tk_network *network = NULL, *reference = NULL;
    int height = some_side(), width = some_side(), failed = 0;
    if (tk_create(&d, weights, count, kinds, d.blocks + 1, set, threads, &network) ||
        tk_create(&d, weights, count, exact, d.blocks + 1, TK_PORTABLE, 1, &reference))
        failed = fail("not made", &d, 0, 0, set, threads);
    free(weights);
    for (int run = 0; run < 2 && !failed; run++, height = some_side(), width = 1 + chance(most_side)) {
        height *= d.unshuffle;
        width *= d.unshuffle;
        const uint64_t in = (uint64_t)height * width * d.in_channels;
        const uint64_t out = (uint64_t)height * width * d.scale * d.scale * d.out_channels;
        float *x = malloc(in * sizeof *x), *y = malloc(out * sizeof *y), *z = malloc(out * sizeof *z);
        uint8_t *pixels = malloc(in), *result = malloc(out);
        for (uint64_t i = 0; i < in; i++) x[i] = (pixels[i] = chance(256)) / 255.0f;
        if (tk_run(network, TK_FLOAT32, x, in, y, out, height, width) ||
            tk_run(network, TK_UINT8, pixels, in, result, out, height, width) ||
            tk_run(reference, TK_FLOAT32, x, in, z, out, height, width))
            failed = fail("not run", &d, height, width, set, threads);
        if (tk_run(network, TK_FLOAT32, x, in - 1, y, out, height, width) != TK_BAD_SIZE)
            failed = fail("too short a picture was taken", &d, height, width, set, threads);
        double largest = 0, most = 0;
        for (uint64_t i = 0; i < out && !failed; i++) {
            largest = fmax(largest, fabs(z[i]));
            most = fmax(most, isfinite(y[i]) ? fabs(y[i] - z[i]) : HUGE_VAL);
        }
        if (!failed && !(most <= (reduced ? 3e-2 : 2e-5) * largest)) failed = fail("not the same", &d, height, width, set, threads);
        free(x), free(y), free(z), free(pixels), free(result);
    }
    tk_destroy(network);
    tk_destroy(reference);
    return failed;
}

int main(int count, char **words) {
    state = count > 1 ? strtoull(words[1], NULL, 10) : 1;
    const int runs = count > 2 ? atoi(words[2]) : 20;
    if (count > 3) most_side = (uint32_t)atoi(words[3]);
    if (count > 4) only_set = atoi(words[4]);
    for (int i = 0; i < runs; i++)
        if (one_run()) return 1;
    printf("%d random networks, each at two sizes, set %d\n", runs, only_set < 0 ? tk_best_set() : only_set);
    return 0;
}
