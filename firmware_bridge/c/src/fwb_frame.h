/* Frames: COBS around one message and its CRC, a zero byte after each (PROTOCOL.md, "Framing").
 *
 *     frame = COBS( code | body | crc ) 00
 *
 * Both ways work byte by byte in memory that the caller owns: no heap, no globals, no recursion.
 */
#ifndef FWB_FRAME_H
#define FWB_FRAME_H

#include "fwb_messages.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The room for a frame of `content` bytes: COBS adds one byte in 254, the delimiter is one, and one is spare. */
#define FWB_ENCODED_SIZE(content) ((content) + (content) / 254U + 3U)

/* CRC-16/CCITT-FALSE of `size` bytes, going on from `crc`; start with FWB_CRC_START. */
#define FWB_CRC_START 0xFFFFU
uint16_t fwb_crc16(uint16_t crc, const uint8_t *data, uint16_t size);

/* One frame on its way out, encoded as it is written: there is no copy of the plain message anywhere. */
typedef struct {
    uint8_t *out;
    uint16_t limit;   /* where at `out` no more byte may be put */
    uint16_t length;  /* bytes there so far */
    uint16_t code_at; /* where the open COBS block begins */
    uint16_t content; /* bytes before encoding */
    uint16_t crc;
    bool full;
} fwb_frame;

void fwb_open(fwb_frame *frame, uint8_t *out, uint16_t size, uint8_t code);
void fwb_put(fwb_frame *frame, const uint8_t *data, uint16_t size);
void fwb_put_u8(fwb_frame *frame, uint8_t value);
void fwb_put_u16(fwb_frame *frame, uint16_t value);
void fwb_put_u32(fwb_frame *frame, uint32_t value);
void fwb_put_f32(fwb_frame *frame, float value);
void fwb_put_text(fwb_frame *frame, const char *text); /* at most 255 bytes of it */

/* Write CRC and delimiter. The bytes to send; 0 if the frame did not fit (then there is nothing to send). */
uint16_t fwb_close(fwb_frame *frame);

/* Finds the good frames in a stream of bytes, however it is cut and whatever lies between them. */
typedef struct {
    uint8_t *content; /* the frame's code, body and CRC */
    uint16_t size;    /* room there: a longer frame is thrown away up to the next zero */
    uint16_t length;
    uint16_t ready; /* code and body of a good frame, as long as the last call of fwb_decode ended one; else 0 */
    uint32_t bad_frames;
    uint8_t left;  /* bytes of the block still to come */
    bool zero_due; /* a zero stands between this block and the next */
    bool bad;
} fwb_decoder;

void fwb_decoder_begin(fwb_decoder *decoder, uint8_t *content, uint16_t size);

/* Take up to `size` bytes, no further than the end of a frame. The number of bytes taken; `ready` and `content`
 * hold what they ended. */
uint16_t fwb_decode(fwb_decoder *decoder, const uint8_t *data, uint16_t size);

/* A number of a message, from its first byte on. */
uint16_t fwb_get_u16(const uint8_t *at);
uint32_t fwb_get_u32(const uint8_t *at);
float fwb_get_f32(const uint8_t *at);

#ifdef __cplusplus
}
#endif

#endif
