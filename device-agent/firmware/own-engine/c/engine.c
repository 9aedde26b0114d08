/* The smallest engine there is: `out = saturate(in * factor / 16 + addend)`, element by element.
   A model of it: "AFF1", elements (u16, little endian), factor (i8), addend (i8).
   TFLite Micro or a vendor's library goes here: its interpreter made in engine_load, its Invoke() called in engine_run. */
#include "engine.h"

int32_t engine_load(const uint8_t *bytes, uint32_t length, uint8_t *arena, uint32_t room, struct engine_model *model)
{
    uint32_t elements;
    (void)arena;
    if (length != 8 || bytes[0] != 'A' || bytes[1] != 'F' || bytes[2] != 'F' || bytes[3] != '1')
        return ENGINE_NO_MODEL;
    elements = (uint32_t)bytes[4] | (uint32_t)bytes[5] << 8;
    model->bytes = bytes;
    model->length = length;
    model->inputs = 1;
    model->outputs = 1;
    model->own[0] = elements;
    model->arena_bytes = 2 * elements;
    return model->arena_bytes <= room ? ENGINE_OK : ENGINE_NO_ROOM;
}

void engine_tensor(const struct engine_model *model, int32_t output, uint32_t index, struct engine_tensor *tensor)
{
    (void)index;
    tensor->name = output ? "y" : "x";
    tensor->dtype = ENGINE_I8;
    tensor->rank = 1;
    tensor->dims[0] = model->own[0];
    tensor->offset = output ? model->own[0] : 0;
    tensor->bytes = model->own[0];
    tensor->scale = 1.0f;
    tensor->zero_point = 0;
}

int32_t engine_run(const struct engine_model *model, uint8_t *arena)
{
    const int8_t *in = (const int8_t *)arena;
    int8_t *out = (int8_t *)arena + model->own[0];
    int32_t factor = (int8_t)model->bytes[6], addend = (int8_t)model->bytes[7];
    uint32_t i;
    if (factor == 0)
        return ENGINE_FAILED;
    for (i = 0; i < model->own[0]; i++) {
        int32_t value = in[i] * factor / 16 + addend;
        out[i] = (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
    }
    return ENGINE_OK;
}

const char *engine_reason(int32_t code)
{
    switch (code) {
    case ENGINE_NO_MODEL:
        return "it does not begin with AFF1, or is not 8 bytes long";
    case ENGINE_FAILED:
        return "its factor is 0";
    default:
        return "unknown";
    }
}
