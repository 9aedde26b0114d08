/* An inference engine as the agent wants it. Nothing here allocates or keeps a state of its own: what a model needs between calls is in
   `struct engine_model`, which the caller keeps, and in the arena. */
#ifndef BOARDPROOF_ENGINE_H
#define BOARDPROOF_ENGINE_H

#include <stdint.h>

/* What engine_load, engine_run and engine_reason say. */
enum {
    ENGINE_OK = 0,
    ENGINE_NO_MODEL = 1,
    ENGINE_NO_ROOM = 2,
    ENGINE_FAILED = 3
};

enum { ENGINE_I8 = 0, ENGINE_F32 = 1 };

struct engine_model {
    const uint8_t *bytes;
    uint32_t length;
    uint32_t arena_bytes; /* from the start of the arena; also set with ENGINE_NO_ROOM, 0 when not known */
    uint32_t inputs;
    uint32_t outputs;
    uint32_t own[4];
};

struct engine_tensor {
    const char *name; /* ends with a zero, lives as long as the program or the model */
    uint32_t dtype;
    uint32_t rank; /* at most 4, the sample is no dimension */
    uint32_t dims[4];
    uint32_t offset; /* in the arena */
    uint32_t bytes;
    float scale; /* what one step of an 8-bit value is worth */
    int32_t zero_point;
};

/* Looks at a model once. It may write into the arena, whose `room` bytes are the same at every call. */
int32_t engine_load(const uint8_t *bytes, uint32_t length, uint8_t *arena, uint32_t room, struct engine_model *model);
/* An input, or an output when `output` is not 0. */
void engine_tensor(const struct engine_model *model, int32_t output, uint32_t index, struct engine_tensor *tensor);
/* One inference: inputs lie in the arena before, outputs after. */
int32_t engine_run(const struct engine_model *model, uint8_t *arena);
/* A code in words. */
const char *engine_reason(int32_t code);

#endif
