/* One 3x3 convolution on one group of tiles: the functions that each instruction set implements.
 *
 * Winograd convolution (Lavin and Gray, 2016): an output tile of m x m pixels needs (m+2) x (m+2) input pixels; both are
 * transformed to (m+2)^2 points, and at each point the convolution is a matrix product, channels x outputs.
 *
 * Layouts, with T tiles to a group and channels in blocks of 16:
 *   map      [row][1 + width + padding][channel] fp32; column -1 and the columns from `width` on are zero
 *   values   [point][channel / 16][T][16] fp32 or bf16: transformed input of a group
 *   weights  for each chunk of 32 outputs (the last may have 16): [point][channel][output], bf16 in pairs of channels, or
 *            in fours where the instruction set says so
 *   products [point][T][32] fp32
 */
#ifndef TESSERA_CONVOLUTION_H
#define TESSERA_CONVOLUTION_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

enum {
    TK_TILES = 12,      /* tiles in a group: each weight that is loaded is used so often */
    TK_CHUNK = 32,      /* outputs computed together */
    TK_LANES = 16,      /* channels come in such blocks */
    TK_MOST_SOURCES = 5,
    TK_VALUES_PAD = 32, /* values between points, so that points do not fall on the same lines of the cache */
    TK_PRODUCTS_PAD = 16,
    TK_MOST_POINTS = 36,
};

/* Loops over registers must be unrolled, or the compiler spills the registers to memory. */
#if defined(__clang__)
#define TK_UNROLL(n) _Pragma("clang loop unroll(full)")
#else
#define TK_PRAGMA(x) _Pragma(#x)
#define TK_UNROLL(n) TK_PRAGMA(GCC unroll n)
#endif

static inline int tk_outer(tk_kind kind) { return kind == TK_F2_BF16 ? 2 : 4; }
static inline int tk_points(tk_kind kind) { return kind == TK_F2_BF16 ? 16 : 36; }
static inline size_t tk_value_bytes(tk_kind kind) { return kind == TK_F4_FP32 ? 4 : 2; }

/* Values of one source of a group, in bytes. */
static inline size_t tk_values_size(tk_kind kind, int channels) {
    return (size_t)tk_points(kind) * ((size_t)channels * TK_TILES + TK_VALUES_PAD) * tk_value_bytes(kind);
}
static inline size_t tk_products_size(void) {
    return (size_t)TK_MOST_POINTS * (TK_TILES * TK_CHUNK + TK_PRODUCTS_PAD) * sizeof(float);
}

/* A feature map, or a ring of its rows: row y is stored at y modulo `rows`. */
typedef struct {
    float *data;
    int channels, height, width;
    int rows;
    int ring;     /* whether a pass begins where the one before ended, instead of at row 0 */
    size_t pitch; /* floats from row to row */
} tk_map;

/* Destination of the finished picture. */
typedef struct {
    void *out;
    int sample; /* tk_sample */
    int channels, height, width;
    const tk_map *base; /* added after nearest-neighbor upsampling, or NULL */
    int base_channels;  /* how many of the map's channels are real; a single one is added to all */
} tk_picture;

typedef struct {
    tk_kind kind;
    int together; /* as the operations have it */
    int sources;
    int channels[TK_MOST_SOURCES];
    int inputs;  /* all channels */
    int outputs; /* a multiple of 16 */
    int shuffle; /* outputs are shuffle^2 pixels, each with outputs / shuffle^2 channels */
    void *weights;
    float *bias;
    float *slope;     /* for each output, or NULL when nothing is bent */
    uint64_t *points; /* for each chunk: the points whose weights are not all zero */
} tk_convolution;

static inline int tk_chunk_width(const tk_convolution *conv, int chunk) {
    int left = conv->outputs - chunk * TK_CHUNK;
    return left < TK_CHUNK ? left : TK_CHUNK;
}

typedef struct {
    const tk_convolution *conv;
    int first_tile, tiles; /* in the order of reading; tiles <= TK_TILES */
    int across;            /* tiles in a row of tiles */
    const tk_map *from;    /* transformed into the last of `values` */
    int64_t from_row;      /* where row 0 of this pass lies in the ring */
    void *values[TK_MOST_SOURCES];
    const tk_map *to; /* NULL: the picture */
    int64_t to_row;
    const tk_map *plus[2]; /* added with their factors; read where the result is written */
    int64_t plus_row[2];
    float plus_factor[2];
    const tk_picture *picture;
    const float *zeros; /* a row of them, as long as the longest of any map */
    float *products;
} tk_task;

typedef void tk_group(const tk_task *task);

/* The functions of an instruction set; NULL where it does not have a kind. */
typedef struct {
    tk_group *group[TK_KINDS];
    int together; /* channels of an output side by side in weights of bf16: 2 or 4 */
} tk_operations;

extern const tk_operations tk_portable, tk_avx2, tk_avx512, tk_avx512_bf16, tk_neon, tk_neon_bf16;

/* Pixel 0 of a row of a map; rows outside the picture are zeros. */
static inline const float *tk_row(const tk_map *map, int64_t row0, int y, const float *zeros) {
    if (y < 0 || y >= map->height) return zeros + map->channels;
    return map->data + (size_t)((row0 + y) % map->rows) * map->pitch + map->channels;
}
static inline float *tk_row_of(const tk_map *map, int64_t row0, int y) {
    return map->data + (size_t)((row0 + y) % map->rows) * map->pitch + map->channels;
}

/* A sample of the output; integers are clipped and rounded to nearest (ties to even). */
static inline float tk_clip(float v, float most) {
    v *= most;
    return v > 0 ? (v < most ? v : most) : 0; /* NaN becomes 0 */
}
static inline void tk_put(const tk_picture *picture, int c, int y, int x, float v) {
    const size_t plane = ((size_t)c * picture->height + y) * picture->width + x;
    const size_t pixel = ((size_t)y * picture->width + x) * picture->channels + c;
    if (picture->sample == TK_FLOAT32)
        ((float *)picture->out)[plane] = v;
    else if (picture->sample == TK_UINT8)
        ((uint8_t *)picture->out)[pixel] = (uint8_t)lrintf(tk_clip(v, 255.0f));
    else
        ((uint16_t *)picture->out)[pixel] = (uint16_t)lrintf(tk_clip(v, 65535.0f));
}

/* bf16 of a float, to the nearest, ties to even; NaN stays one. */
static inline uint16_t tk_bf16(float x) {
    union {
        float f;
        uint32_t u;
    } bits = {x};
    if ((bits.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits.u >> 16) | 0x40);
    return (uint16_t)((bits.u + 0x7fffu + ((bits.u >> 16) & 1)) >> 16);
}
static inline float tk_float(uint16_t x) {
    union {
        uint32_t u;
        float f;
    } bits = {(uint32_t)x << 16};
    return bits.f;
}

/* Scale of the points of F(4x4): 0, +-a, +-b, infinity. */
#define TK_A 0.625
#define TK_B 1.5

/* Transform the weights of one convolution; returns TK_OK or TK_NO_MEMORY.
 * `weights` (outputs_given, inputs_given, 3, 3); inputs and outputs that are missing to the padded numbers are zero.
 * Weights and biases are multiplied by `factor`. With `upsample` > 1 the convolution follows a nearest-neighbor
 * upsampling, which is folded into it: it computes the upsampled pixels from those before the upsampling. */
int tk_pack(tk_convolution *conv, const float *weights, const float *bias, const float *slope, float common_slope,
            int inputs_given, int outputs_given, int upsample, float factor);
void tk_unpack(tk_convolution *conv);

#endif
