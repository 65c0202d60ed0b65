/* What one frame of 64 int16 costs: run under callgrind by `make figures`. Argument: encode or decode. */
#include "fwb_frame.h"

#include <stdio.h>
#include <string.h>

#define COUNTS 64U

static uint8_t encoded[FWB_ENCODED_SIZE(2U * COUNTS + 3U)];

__attribute__((noinline)) uint16_t encode_64_int16(const uint8_t *counts)
{
    fwb_frame frame;
    fwb_open(&frame, encoded, sizeof encoded, 0x84U);
    fwb_put(&frame, counts, 2U * COUNTS);
    return fwb_close(&frame);
}

__attribute__((noinline)) uint16_t decode_64_int16(uint16_t size)
{
    uint8_t content[2U * COUNTS + 3U];
    fwb_decoder decoder;
    fwb_decoder_begin(&decoder, content, sizeof content);
    (void)fwb_decode(&decoder, encoded, size);
    return decoder.ready;
}

int main(void)
{
    uint8_t counts[2U * COUNTS];
    for (unsigned i = 0U; i < COUNTS; i++) { /* a current of some amperes: low bytes of all kinds, high ones mostly 0 */
        const int16_t count = (int16_t)((int)(i * 37U % 600U) - 300);
        (void)memcpy(&counts[2U * i], &count, sizeof count);
    }
    const uint16_t size = encode_64_int16(counts);
    return (size != 0U) && (decode_64_int16(size) == 2U * COUNTS + 1U) ? 0 : 1;
}
