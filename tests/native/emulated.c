/* One network on one picture, from standard input to standard output: for processors that are emulated.
 *
 * In: tk_description, then int32 set, threads, height, width and counts of kinds, weights and samples; kinds, weights,
 * the picture. Out: the result.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

static void *read_items(size_t size, size_t count) {
    void *items = malloc(size * count);
    if (!items || fread(items, size, count, stdin) != count) exit(2);
    return items;
}

int main(void) {
    const tk_description *d = read_items(sizeof *d, 1);
    const int32_t *n = read_items(sizeof *n, 7);
    const uint8_t *kinds = read_items(1, (size_t)n[4]);
    const float *weights = read_items(sizeof *weights, (size_t)n[5]);
    const float *picture = read_items(sizeof *picture, (size_t)n[6]);
    tk_network *network;
    int status = tk_create(d, weights, (uint64_t)n[5], kinds, (uint64_t)n[4], n[0], n[1], &network);
    if (status) return 10 + status;
    const size_t count = (size_t)n[2] * n[3] * d->scale * d->scale * d->out_channels;
    float *out = malloc(count * sizeof *out);
    status = tk_run(network, TK_FLOAT32, picture, (uint64_t)n[6], out, count, n[2], n[3]);
    if (status) return 20 + status;
    tk_destroy(network);
    return fwrite(out, sizeof *out, count, stdout) == count ? 0 : 3;
}
