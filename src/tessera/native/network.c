#include <stdlib.h>
#include <string.h>

#include "threads.h"
#include "workspace.h"

enum { MOST_THREADS = 256 };

struct tk_network {
    tk_description description;
    int threads;
    const tk_operations *operations;
    tk_layer *layers;
    tk_pool *pool;
    tk_mutex lock; /* one run at a time */
    tk_workspace space;   /* of the last size, for the next run of that size */
};

const tk_operations *tk_operations_of(int32_t set);

int32_t tk_interface(void) { return TK_INTERFACE; }

uint64_t tk_count_weights(const tk_description *description) {
    if (!description || !tk_describes(description)) return 0;
    tk_layer *layers = calloc(tk_count_layers(description), sizeof *layers);
    const uint64_t count = layers ? tk_lay(description, NULL, NULL, layers) : 0;
    free(layers);
    return count;
}

int32_t tk_create(const tk_description *description, const float *weights, uint64_t count, const uint8_t *kinds,
                  uint64_t kinds_count, int32_t set, int32_t threads, tk_network **made) {
    if (!made) return TK_BAD_DESCRIPTION;
    *made = NULL;
    if (!description || !tk_describes(description) || threads < 1 || threads > MOST_THREADS || !kinds ||
        kinds_count != (uint64_t)description->blocks + 1)
        return TK_BAD_DESCRIPTION;
    if (!weights || count != tk_count_weights(description)) return TK_BAD_WEIGHTS;
    if (set == -1) set = tk_best_set();
    if (!tk_has_set(set)) return TK_NO_SUCH_SET;
    for (uint64_t i = 0; i < kinds_count; i++) {
        if (kinds[i] >= TK_KINDS) return TK_BAD_DESCRIPTION;
        if (!tk_operations_of(set)->group[kinds[i]]) return TK_NO_SUCH_SET;
    }
    tk_network *network = calloc(1, sizeof *network);
    if (!network) return TK_NO_MEMORY;
    network->description = *description;
    network->threads = threads;
    network->operations = tk_operations_of(set);
    tk_mutex_open(&network->lock);
    const int layers = tk_count_layers(description);
    network->layers = calloc(layers, sizeof *network->layers);
    network->pool = tk_pool_open(threads);
    int status = !network->layers ? TK_NO_MEMORY : !network->pool ? TK_NO_THREADS : TK_OK;
    if (status == TK_OK) {
        tk_lay(description, kinds, weights, network->layers);
        for (int i = 0; i < layers; i++) network->layers[i].conv.together = network->operations->together;
        status = tk_pack_layers(network->layers, layers, &network->pool);
        for (int i = 0; i < layers; i++) /* they belong to the caller */
            network->layers[i].weights = network->layers[i].bias = network->layers[i].slopes = NULL;
    }
    if (status != TK_OK) {
        tk_destroy(network);
        return status;
    }
    *made = network;
    return TK_OK;
}

void tk_destroy(tk_network *network) {
    if (!network) return;
    tk_pool_close(network->pool);
    for (int i = 0; network->layers && i < tk_count_layers(&network->description); i++)
        tk_unpack(&network->layers[i].conv);
    free(network->layers);
    tk_workspace_close(&network->space);
    tk_mutex_close(&network->lock);
    free(network);
}

/* The picture as a map: channel c*u*u + i*u + j of pixel (y, x) is channel c of pixel (u*y + i, u*x + j). */
static void read_picture(const tk_description *d, const tk_map *map, int sample, const void *in, int height,
                         int width) {
    const int u = d->network == TK_SRVGG ? 1 : d->unshuffle, channels = d->in_channels;
    for (int y = 0; y < height; y++) {
        float *row = tk_row_of(map, 0, y / u);
        for (int c = 0; c < channels; c++)
            for (int x = 0; x < width; x++) {
                const size_t plane = ((size_t)c * height + y) * width + x;
                const size_t pixel = ((size_t)y * width + x) * channels + c;
                const float value = sample == TK_FLOAT32 ? ((const float *)in)[plane]
                                    : sample == TK_UINT8 ? (float)((const uint8_t *)in)[pixel] / 255.0f
                                                         : (float)((const uint16_t *)in)[pixel] / 65535.0f;
                row[(size_t)(x / u) * map->channels + c * u * u + y % u * u + x % u] = value;
            }
    }
}

static int run(tk_network *network, int sample, const void *in, void *out, int height, int width) {
    const tk_description *d = &network->description;
    tk_workspace *space = &network->space;
    if (space->height != height || space->width != width) {
        tk_workspace_close(space);
        const int status = tk_workspace_open(space, d, network->layers, network->threads, height, width, 0);
        if (status != TK_OK) {
            tk_workspace_close(space);
            return status;
        }
    }
    read_picture(d, space->input, sample, in, height, width);
    const tk_picture picture = {
        .out = out,
        .sample = sample,
        .channels = d->out_channels,
        .height = height * d->scale,
        .width = width * d->scale,
        .base = d->network == TK_SRVGG ? space->input : NULL,
        .base_channels = d->in_channels,
    };
    int status = TK_OK;
    for (int p = 0; p < space->passes_count && status == TK_OK; p++) {
        space->passes[p].operations = network->operations;
        space->passes[p].picture = &picture;
        status = tk_pipeline_run(&space->passes[p], &network->pool);
    }
    return status;
}

int32_t tk_run(tk_network *network, int32_t sample, const void *in, uint64_t in_length, void *out,
               uint64_t out_length, int32_t height, int32_t width) {
    if (!network || !in || !out || sample < TK_FLOAT32 || sample > TK_UINT16 || height < 1 || width < 1)
        return TK_BAD_SIZE;
    const tk_description *d = &network->description;
    const uint64_t pixels = (uint64_t)height * width;
    if (in_length != pixels * d->in_channels || out_length != pixels * d->scale * d->scale * d->out_channels)
        return TK_BAD_SIZE;
    tk_lock(&network->lock);
    const int status = run(network, sample, in, out, height, width);
    tk_unlock(&network->lock);
    return status;
}

uint64_t tk_working_bytes(tk_network *network, int32_t height, int32_t width) {
    if (!network) return 0;
    tk_workspace space;
    const int status =
        tk_workspace_open(&space, &network->description, network->layers, network->threads, height, width, 1);
    const uint64_t size = status == TK_OK ? space.size : 0;
    tk_workspace_close(&space);
    return size;
}
