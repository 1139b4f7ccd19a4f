/* Weights as the products want them: seen through the points, in chunks of outputs, rounded where they are bf16. */
#include <stdlib.h>
#include <string.h>

#include "convolution.h"

static void *aligned(size_t size) {
    void *found = NULL;
    return posix_memalign(&found, 64, (size + 63) / 64 * 64) == 0 ? found : NULL;
}

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

/* Which of the three taps at low resolution a tap of the enlarged picture falls on: tap k of phase p, enlarged s-fold. */
static int tap_before(int s, int phase, int k) {
    const int at = phase + k - 1;
    return at < 0 ? 0 : at / s + 1;
}

/* The 3x3 weights of one output and one input that phase (i, j) has before the enlargement. */
static void gathered(const float *weights, int s, int phase, double taps[9]) {
    memset(taps, 0, 9 * sizeof *taps);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            taps[tap_before(s, phase / s, i) * 3 + tap_before(s, phase % s, j)] += weights[i * 3 + j];
}

static void seen(double g[6][3], int side, const double taps[9], double *out) {
    double half[18];
    for (int p = 0; p < side; p++)
        for (int j = 0; j < 3; j++)
            half[p * 3 + j] = g[p][0] * taps[j] + g[p][1] * taps[3 + j] + g[p][2] * taps[6 + j];
    for (int p = 0; p < side; p++)
        for (int q = 0; q < side; q++)
            out[p * side + q] = half[p * 3] * g[q][0] + half[p * 3 + 1] * g[q][1] + half[p * 3 + 2] * g[q][2];
}

int tk_pack(tk_convolution *conv, const float *weights, const float *bias, const float *slope, float common_slope,
            int inputs_given, int outputs_given, int enlarge, float factor) {
    const int side = tk_outer(conv->kind) + 2, points = side * side, half = conv->kind != TK_F4_FP32;
    const int chunks = (conv->outputs + TK_CHUNK - 1) / TK_CHUNK;
    const size_t numbers = (size_t)points * conv->inputs * conv->outputs;
    double g[6][3];
    sights(conv->kind, g);
    conv->weights = aligned(numbers * tk_value_bytes(conv->kind));
    conv->bias = aligned(conv->outputs * sizeof(float));
    conv->slope = slope || common_slope != 1 ? aligned(conv->outputs * sizeof(float)) : NULL;
    conv->points = calloc(chunks, sizeof *conv->points);
    if (!conv->weights || !conv->bias || !conv->points || (!conv->slope && (slope || common_slope != 1)))
        return TK_NO_MEMORY;
    memset(conv->weights, 0, numbers * tk_value_bytes(conv->kind));
    for (int n = 0; n < conv->outputs; n++) {
        /* An enlarging convolution has its outputs once for each phase. */
        const int phases = enlarge * enlarge, each = conv->outputs / phases;
        const int phase = n / each, given = n % each, chunk = n / TK_CHUNK, width = tk_chunk_width(conv, chunk);
        const size_t start = (size_t)chunk * TK_CHUNK * points * conv->inputs;
        const int there = given < outputs_given;
        conv->bias[n] = there ? bias[given] * factor : 0;
        if (conv->slope) conv->slope[n] = !there ? 0 : slope ? slope[given] : common_slope;
        for (int k = 0; there && k < inputs_given; k++) {
            double taps[9], out[TK_MOST_POINTS];
            gathered(weights + ((size_t)given * inputs_given + k) * 9, enlarge, phase, taps);
            seen(g, side, taps, out);
            for (int p = 0; p < points; p++) {
                const float value = (float)(out[p] * factor);
                if (value == 0) continue;
                conv->points[chunk] |= (uint64_t)1 << p;
                const size_t row = start + (size_t)p * conv->inputs * width;
                if (half)
                    ((uint16_t *)conv->weights)[row + ((size_t)(k / 2) * width + n % TK_CHUNK) * 2 + k % 2] =
                        tk_bf16(value);
                else
                    ((float *)conv->weights)[row + (size_t)k * width + n % TK_CHUNK] = value;
            }
        }
    }
    return TK_OK;
}

void tk_unpack(tk_convolution *conv) {
    free(conv->weights);
    free(conv->bias);
    free(conv->slope);
    free(conv->points);
}
