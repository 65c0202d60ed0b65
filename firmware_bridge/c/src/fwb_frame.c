#include "fwb_frame.h"

#include <string.h>

#define FULL_BLOCK 0xFFU /* 254 bytes, and no zero after them */
#define CRC_SIZE 2U
#define SPARE 2U /* behind a byte there is room for one more block's length, and for the delimiter */

/* A byte at a time without a table: for this polynomial, what eight steps of the shift register do to the
 * byte that falls out of it can be written down (x^16 = x^12 + x^5 + 1, twice over). */
uint16_t fwb_crc16(uint16_t crc, const uint8_t *data, uint16_t size)
{
    uint_fast16_t sum = crc; /* may be wider than 16 bits: what lies above them is masked away */
    for (uint16_t i = 0U; i < size; i++) {
        uint_fast16_t out = ((sum >> 8) ^ data[i]) & 0xFFU;
        out ^= out >> 4;
        sum = (sum << 8) ^ (out << 12) ^ (out << 5) ^ out;
    }
    return (uint16_t)(sum & 0xFFFFU);
}

/* Writing -------------------------------------------------------------------------------------------- */

/* A block's length byte is also how far on the next block's one stands. */
static void end_block(fwb_frame *frame)
{
    frame->out[frame->code_at] = (uint8_t)(frame->length - frame->code_at);
    frame->code_at = frame->length;
    frame->length++;
}

static void put_encoded(fwb_frame *frame, const uint8_t *data, uint16_t size)
{
    fwb_frame f = *frame; /* a copy, which a store to `out` cannot change: that saves loads and stores */
    for (uint16_t i = 0U; i < size; i++) {
        if (f.length >= f.limit) {
            f.full = true;
            break;
        }
        if ((uint16_t)(f.length - f.code_at) == FULL_BLOCK) {
            end_block(&f);
        }
        if (data[i] == 0U) {
            end_block(&f);
        } else {
            f.out[f.length] = data[i];
            f.length++;
        }
    }
    *frame = f;
}

void fwb_open(fwb_frame *frame, uint8_t *out, uint16_t size, uint8_t code)
{
    frame->out = out;
    frame->length = 1U;
    frame->code_at = 0U;
    frame->content = 0U;
    frame->crc = FWB_CRC_START;
    frame->full = size < FWB_ENCODED_SIZE(0U);
    frame->limit = (uint16_t)(size - SPARE);
    fwb_put_u8(frame, code);
}

void fwb_put(fwb_frame *frame, const uint8_t *data, uint16_t size)
{
    if (frame->full || (size > FWB_MAX_TO_HOST_BYTES - CRC_SIZE - frame->content)) {
        frame->full = true;
        return;
    }
    frame->content = (uint16_t)(frame->content + size);
    frame->crc = fwb_crc16(frame->crc, data, size);
    put_encoded(frame, data, size);
}

void fwb_put_u8(fwb_frame *frame, uint8_t value)
{
    fwb_put(frame, &value, 1U);
}

void fwb_put_u16(fwb_frame *frame, uint16_t value)
{
    const uint8_t bytes[2] = {(uint8_t)(value & 0xFFU), (uint8_t)(value >> 8)};
    fwb_put(frame, bytes, sizeof bytes);
}

void fwb_put_u32(fwb_frame *frame, uint32_t value)
{
    fwb_put_u16(frame, (uint16_t)(value & 0xFFFFU));
    fwb_put_u16(frame, (uint16_t)(value >> 16));
}

void fwb_put_f32(fwb_frame *frame, float value)
{
    uint32_t bits;
    (void)memcpy(&bits, &value, sizeof bits);
    fwb_put_u32(frame, bits);
}

void fwb_put_text(fwb_frame *frame, const char *text)
{
    uint8_t length = 0U;
    while ((length < UINT8_MAX) && (text[length] != '\0')) {
        length++;
    }
    fwb_put_u8(frame, length);
    fwb_put(frame, (const uint8_t *)text, length);
}

uint16_t fwb_close(fwb_frame *frame)
{
    const uint8_t crc[CRC_SIZE] = {(uint8_t)(frame->crc >> 8), (uint8_t)(frame->crc & 0xFFU)};
    if (!frame->full) {
        put_encoded(frame, crc, CRC_SIZE);
    }
    if (frame->full) {
        return 0U;
    }
    frame->out[frame->code_at] = (uint8_t)(frame->length - frame->code_at);
    frame->out[frame->length] = 0U;
    return (uint16_t)(frame->length + 1U);
}

/* Reading -------------------------------------------------------------------------------------------- */

void fwb_decoder_begin(fwb_decoder *decoder, uint8_t *content, uint16_t size)
{
    (void)memset(decoder, 0, sizeof *decoder);
    decoder->content = content;
    decoder->size = size;
}

static void keep(fwb_decoder *decoder, uint8_t byte)
{
    if (decoder->length < decoder->size) {
        decoder->content[decoder->length] = byte;
        decoder->length++;
    } else {
        decoder->bad = true;
    }
}

static uint16_t end_frame(fwb_decoder *decoder)
{
    uint16_t length = 0U;
    if (!decoder->bad && (decoder->left == 0U) && (decoder->length > CRC_SIZE)
        && (fwb_crc16(FWB_CRC_START, decoder->content, decoder->length) == 0U)) {
        length = (uint16_t)(decoder->length - CRC_SIZE);
    } else if ((decoder->length != 0U) || (decoder->left != 0U) || decoder->zero_due) {
        decoder->bad_frames++;
    } else {
        /* an empty frame is nothing: a lone zero that ends whatever went before */
    }
    decoder->length = 0U;
    decoder->left = 0U;
    decoder->zero_due = false;
    decoder->bad = false;
    return length;
}

static void begin_block(fwb_decoder *decoder, uint8_t length)
{
    if (decoder->zero_due) {
        keep(decoder, 0U);
    }
    decoder->left = (uint8_t)(length - 1U);
    decoder->zero_due = length != FULL_BLOCK;
}

uint16_t fwb_decode(fwb_decoder *decoder, const uint8_t *data, uint16_t size)
{
    uint16_t taken = 0U;
    decoder->ready = 0U;
    while (taken < size) {
        const uint8_t byte = data[taken];
        taken++;
        if (byte == 0U) {
            decoder->ready = end_frame(decoder);
            break;
        }
        if (decoder->left == 0U) {
            begin_block(decoder, byte);
        } else {
            keep(decoder, byte);
            decoder->left--;
        }
    }
    return taken;
}

uint16_t fwb_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | (uint16_t)(at[1] << 8));
}

uint32_t fwb_get_u32(const uint8_t *at)
{
    return fwb_get_u16(at) | ((uint32_t)fwb_get_u16(&at[2]) << 16);
}

float fwb_get_f32(const uint8_t *at)
{
    const uint32_t bits = fwb_get_u32(at);
    float value;
    (void)memcpy(&value, &bits, sizeof value);
    return value;
}
