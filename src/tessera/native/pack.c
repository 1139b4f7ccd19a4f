/* Weights as the products want them: seen through the points, in chunks of outputs, rounded where they are bf16. */
#include <stdlib.h>
#include <string.h>

#include "convolution.h"
#include "threads.h"

static void *aligned(size_t size) { return tk_aligned_alloc((size + 63) / 64 * 64); }

/* G of Winograd's F(m, 3): what each point sees of three taps. */
static void sights(tk_kind kind, double g[6][3]) {
    if (kind == TK_F2_BF16) {
        const double of_two[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
        memcpy(g, of_two, sizeof of_two);
        return;
    }
    const double a2 = TK_A * TK_A, b2 = TK_B * TK_B;
    const double points[5] = {0, TK_A, -TK_A, TK_B, -TK_B};
    const double norms[5] = {a2 * b2, 2 * a2 * (a2 - b2), 2 * a2 * (a2 - b2), 2 * b2 * (b2 - a2), 2 * b2 * (b2 - a2)};
    for (int p = 0; p < 5; p++)
        for (int k = 0; k < 3; k++) g[p][k] = (k == 0 ? 1 : k == 1 ? points[p] : points[p] * points[p]) / norms[p];
    g[5][0] = g[5][1] = 0;
    g[5][2] = 1;
}

/* Which of the three taps at low resolution a tap of the upsampled picture falls on: tap k of phase p, upsampled by s. */
static int tap_before(int s, int phase, int k) {
    const int at = phase + k - 1;
    return at < 0 ? 0 : at / s + 1;
}

/* The 3x3 weights of one output and one input that phase (i, j) has before the upsampling. */
static void gathered(const float *weights, int s, int phase, double taps[9]) {
    memset(taps, 0, 9 * sizeof *taps);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            taps[tap_before(s, phase / s, i) * 3 + tap_before(s, phase % s, j)] += weights[i * 3 + j];
}

/* Taps, and what the points see of them, for the outputs of a chunk side by side. */
typedef double taps_of_chunk[9][TK_CHUNK];
typedef float points_of_chunk[TK_MOST_POINTS][TK_CHUNK];

static void seen(double g[6][3], int side, taps_of_chunk taps, double factor, points_of_chunk out) {
    double half[18][TK_CHUNK];
    for (int p = 0; p < side; p++)
        for (int j = 0; j < 3; j++)
            for (int n = 0; n < TK_CHUNK; n++)
                half[p * 3 + j][n] = g[p][0] * taps[j][n] + g[p][1] * taps[3 + j][n] + g[p][2] * taps[6 + j][n];
    for (int p = 0; p < side; p++)
        for (int q = 0; q < side; q++) {
            const double *at = half[p * 3], *middle = half[p * 3 + 1], *last = half[p * 3 + 2];
            for (int n = 0; n < TK_CHUNK; n++)
                out[p * side + q][n] = (float)((at[n] * g[q][0] + middle[n] * g[q][1] + last[n] * g[q][2]) * factor);
        }
}

/* Two inputs of a chunk, behind one another in each point; gives the points that are not zero throughout. */
static uint64_t put(const tk_convolution *conv, int chunk, int pair, points_of_chunk found[2]) {
    const int points = tk_points(conv->kind), width = tk_chunk_width(conv, chunk);
    const size_t start = (size_t)chunk * TK_CHUNK * points * conv->inputs;
    uint64_t used = 0;
    for (int p = 0; p < points; p++) {
        const int together = conv->kind == TK_F4_FP32 ? 2 : conv->together;
        const size_t row = start + ((size_t)p * conv->inputs + 2 * pair / together * together) * width;
        const float *even = found[0][p], *odd = found[1][p];
        for (int n = 0; n < width; n++)
            if (even[n] != 0 || odd[n] != 0) used |= (uint64_t)1 << p;
        if (conv->kind == TK_F4_FP32) {
            float *to = (float *)conv->weights + row;
            memcpy(to, even, width * sizeof *to);
            memcpy(to + width, odd, width * sizeof *to);
            continue;
        }
        uint16_t *to = (uint16_t *)conv->weights + row;
        for (int n = 0; n < width; n++) {
            to[together * n + 2 * pair % together] = tk_bf16(even[n]);
            to[together * n + 2 * pair % together + 1] = tk_bf16(odd[n]);
        }
    }
    return used;
}

int tk_pack(tk_convolution *conv, const float *weights, const float *bias, const float *slope, float common_slope,
            int inputs_given, int outputs_given, int upsample, float factor) {
    const int side = tk_outer(conv->kind) + 2, chunks = (conv->outputs + TK_CHUNK - 1) / TK_CHUNK;
    /* An upsampling convolution has its outputs once for each phase. */
    const int each = conv->outputs / (upsample * upsample);
    double g[6][3];
    sights(conv->kind, g);
    conv->weights = aligned((size_t)side * side * conv->inputs * conv->outputs * tk_value_bytes(conv->kind));
    conv->bias = aligned(conv->outputs * sizeof(float));
    conv->slope = slope || common_slope != 1 ? aligned(conv->outputs * sizeof(float)) : NULL;
    conv->points = calloc(chunks, sizeof *conv->points);
    if (!conv->weights || !conv->bias || !conv->points || (!conv->slope && (slope || common_slope != 1)))
        return TK_NO_MEMORY;
    for (int n = 0; n < conv->outputs; n++) {
        const int given = n % each, there = given < outputs_given;
        conv->bias[n] = there ? bias[given] * factor : 0;
        if (conv->slope) conv->slope[n] = !there ? 0 : slope ? slope[given] : common_slope;
    }
    for (int chunk = 0; chunk < chunks; chunk++)
        for (int pair = 0; pair < conv->inputs / 2; pair++) {
            points_of_chunk found[2];
            for (int i = 0; i < 2; i++) {
                taps_of_chunk taps;
                memset(taps, 0, sizeof taps);
                for (int n = 0; n < tk_chunk_width(conv, chunk) && 2 * pair + i < inputs_given; n++) {
                    const int output = chunk * TK_CHUNK + n, given = output % each;
                    if (given >= outputs_given) continue;
                    double of_one[9];
                    gathered(weights + ((size_t)given * inputs_given + 2 * pair + i) * 9, upsample, output / each, of_one);
                    for (int tap = 0; tap < 9; tap++) taps[tap][n] = of_one[tap];
                }
                seen(g, side, taps, factor, found[i]);
            }
            conv->points[chunk] |= put(conv, chunk, pair, found);
        }
    return TK_OK;
}

void tk_unpack(tk_convolution *conv) {
    tk_aligned_free(conv->weights);
    tk_aligned_free(conv->bias);
    tk_aligned_free(conv->slope);
    free(conv->points);
}
