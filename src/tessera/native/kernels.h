/* Super-resolution networks on the CPU: the public interface of the library.
 *
 * A network is created once from a description and its weights, and runs on pictures of any size. Every function that
 * can fail returns a status; 0 is success. Handles are opaque, and one handle serves one call at a time (others wait).
 */
#ifndef TESSERA_KERNELS_H
#define TESSERA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define TK_INTERFACE 2 /* goes up whenever a signature or the meaning of a field changes */

#if defined(_WIN32)
#define TK_PUBLIC __declspec(dllexport)
#elif defined(__GNUC__)
#define TK_PUBLIC __attribute__((visibility("default")))
#else
#define TK_PUBLIC
#endif

enum tk_status {
    TK_OK = 0,
    TK_BAD_DESCRIPTION = 1, /* a field is out of range, or a combination is not supported */
    TK_BAD_WEIGHTS = 2,     /* the number of weights is not what the description needs */
    TK_BAD_SIZE = 3,        /* height, width or a buffer's length does not fit */
    TK_NO_MEMORY = 4,
    TK_NO_THREADS = 5,
    TK_NO_SUCH_SET = 6, /* an instruction set that this build or this processor does not have */
};

enum tk_network_kind { TK_RRDBNET = 0, TK_SRVGG = 1 };

/* How a convolution is computed: the size of the Winograd tiles, and the type of the factors. Sums are always fp32. */
typedef enum { TK_F4_FP32 = 0, TK_F2_BF16 = 1, TK_F4_BF16 = 2, TK_KINDS = 3 } tk_kind;

/* Instruction sets; of those of one architecture, the best last. */
enum tk_set {
    TK_PORTABLE = 0,
    TK_AVX2 = 1,
    TK_AVX512 = 2,
    TK_AVX512_BF16 = 3,
    TK_NEON = 4,
    TK_NEON_BF16 = 5,
    TK_SETS = 6,
};

enum tk_sample { TK_FLOAT32 = 0, TK_UINT8 = 1, TK_UINT16 = 2 };

typedef struct {
    int32_t network;      /* tk_network_kind */
    int32_t in_channels;  /* of the picture: 1 to 4 */
    int32_t out_channels; /* of the picture: 1 to 4 */
    int32_t features;     /* a multiple of 16 */
    int32_t growth;       /* a multiple of 16 (RRDBNet) */
    int32_t blocks;       /* residual-in-residual blocks, or inner convolutions (SRVGG) */
    int32_t unshuffle;    /* 1 to 4 (RRDBNet) */
    int32_t stages;       /* how many upsampling stages follow the trunk (RRDBNet) */
    int32_t stage[4];     /* 2 or 3 each */
    int32_t scale;        /* what all of it makes of height and width */
    int32_t learned_slopes; /* SRVGG: 1 when each activation has a slope for each channel among the weights */
    float slope;          /* of the leaky ReLU otherwise */
} tk_description;

typedef struct tk_network tk_network;

TK_PUBLIC int32_t tk_interface(void);

/* The best instruction set that this build has and this processor runs. */
TK_PUBLIC int32_t tk_best_set(void);

/* Whether this processor and this system run the set, whether or not this build has it. */
TK_PUBLIC int32_t tk_offers_set(int32_t set);

/* Whether this build has the set and this processor runs it. */
TK_PUBLIC int32_t tk_has_set(int32_t set);

/* Whether a set multiplies bf16 in hardware. The portable set computes the same in software, for tests. */
TK_PUBLIC int32_t tk_has_bf16(int32_t set);

/* How many floats a description needs: of each convolution the weights (O, I, 3, 3), the biases (O) and, where slopes
 * are learned, the slopes (O), in the order in which the network runs them. 0 when the description is not supported. */
TK_PUBLIC uint64_t tk_count_weights(const tk_description *description);

/* Create a network. `weights` is copied. `kinds` has a tk_kind for each of the `blocks` and one for what lies between
 * them and the last convolution; the first and the last are in fp32. `set` is a tk_set, or -1 for the best. */
TK_PUBLIC int32_t tk_create(const tk_description *description, const float *weights, uint64_t count,
                            const uint8_t *kinds, uint64_t kinds_count, int32_t set, int32_t threads,
                            tk_network **made);

/* Run a network. `in` holds in_length and `out` out_length samples of the type: floats are planes (C, h, w), integers pixels
 * (h, w, C), of which 255 or 65535 are 1.0; integers are clipped and rounded to the nearest. */
TK_PUBLIC int32_t tk_run(tk_network *network, int32_t sample, const void *in, uint64_t in_length, void *out,
                         uint64_t out_length, int32_t height, int32_t width);

/* Working memory of a run on this size in bytes, without input and output; 0 if the size is not supported. */
TK_PUBLIC uint64_t tk_working_bytes(tk_network *network, int32_t height, int32_t width);

TK_PUBLIC void tk_destroy(tk_network *network);

/* End the process some seconds after the second SIGINT or SIGTERM whose number comes out of this pipe. */
TK_PUBLIC int32_t tk_watch_signals(int32_t descriptor, int32_t seconds);

#endif
