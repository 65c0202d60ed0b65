/* Coverage-guided fuzz of what a line can do to a board, for libFuzzer: `make fuzz`.
 *
 * The input is a stream as it comes from the line; and again, each of its pieces (a length, and so many bytes) a
 * message in a good frame, since no fuzzer guesses a CRC.
 */
#include "fwb_board.h"

#include <stdlib.h>
#include <string.h>

#define MUST(holds) \
    do { \
        if (!(holds)) { \
            abort(); \
        } \
    } while (0)

static uint32_t random_state;

/* Whatever the line, the fuzzer's bytes decide whether it has room. */
static bool take_some(void *io, const uint8_t *frame, uint16_t size)
{
    uint8_t content[FWB_MAX_TO_HOST_BYTES];
    fwb_decoder decoder;
    (void)io;
    fwb_decoder_begin(&decoder, content, sizeof content);
    MUST(fwb_decode(&decoder, frame, size) == size);
    MUST(size == 1U || (decoder.ready > 0U && (content[0] & 0x80U) != 0U));
    random_state = random_state * 1664525U + 1013904223U;
    return (random_state >> 30) != 0U;
}

static void drive(void *io, uint8_t output, float value)
{
    (void)io;
    MUST(output < 2U && value >= -10.0F && value <= 100.0F);
}

static float set_rate(void *io, float rate_hz)
{
    (void)io;
    MUST(rate_hz > 0.0F && rate_hz <= 100.0F);
    return rate_hz;
}

static fwb_board *begin(void)
{
    static const fwb_channel CHANNELS[] = {
        {"a", "1", FWB_TYPE_INT16, 1.0F}, {"b", "1", FWB_TYPE_INT32, 1.0F}, {"c", "1", FWB_TYPE_FLOAT32, 1.0F}};
    static const fwb_output OUTPUTS[] = {{"d", 0.0F, 0.0F, 1.0F, 100U}, {"e", 20.0F, -10.0F, 100.0F, 0U}};
    static uint8_t tx[200], batch[40];
    static const fwb_setup SETUP = {
        .firmware = "f", .firmware_version = "1", .build_id = "0", .unique_id = "1", .channels = CHANNELS,
        .outputs = OUTPUTS, .channel_count = 3U, .output_count = 2U, .failsafe_ms = 50U, .receive_bytes = 64U,
        .rate_hz = 10.0F, .max_rate_hz = 100.0F, .tx = tx, .tx_size = sizeof tx, .batch = batch,
        .batch_size = sizeof batch, .send = take_some, .drive = drive, .set_rate = set_rate};
    static fwb_board board;
    MUST(fwb_begin(&board, &SETUP, 0U));
    return &board;
}

static void work(fwb_board *board, const uint8_t *data, uint16_t size, uint32_t now_us)
{
    const fwb_value values[3] = {{.i = (int32_t)now_us}, {.i = -1}, {.f = 1.5F}};
    fwb_receive(board, data, size, now_us);
    fwb_sample(board, now_us, values);
    fwb_step(board, now_us);
}

/* However a stream is cut, the same frames come out; and each is what its content encodes to. */
static void decode_both_ways(const uint8_t *data, uint16_t size)
{
    uint8_t whole[FWB_MAX_TO_HOST_BYTES], cut[FWB_MAX_TO_HOST_BYTES], again[FWB_ENCODED_SIZE(FWB_MAX_TO_HOST_BYTES)];
    fwb_decoder a, b;
    fwb_frame frame;
    fwb_decoder_begin(&a, whole, sizeof whole);
    fwb_decoder_begin(&b, cut, sizeof cut);
    for (uint16_t at = 0U; at < size;) {
        const uint16_t taken = fwb_decode(&a, &data[at], (uint16_t)(size - at));
        MUST(taken > 0U);
        for (uint16_t end = (uint16_t)(at + taken); at < end; at++) {
            MUST(fwb_decode(&b, &data[at], 1U) == 1U);
        }
        MUST(a.ready == b.ready && a.bad_frames == b.bad_frames && memcmp(whole, cut, a.ready) == 0);
        if (a.ready > 0U) {
            fwb_open(&frame, again, sizeof again, whole[0]);
            fwb_put(&frame, &whole[1], (uint16_t)(a.ready - 1U));
            const uint16_t encoded = fwb_close(&frame);
            MUST(fwb_decode(&b, again, encoded) == encoded && b.ready == a.ready);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    const uint16_t size = (uint16_t)((length < 4096U) ? length : 4096U);
    random_state = size;
    decode_both_ways(data, size);
    work(begin(), data, size, 1000U);

    fwb_board *const board = begin();
    uint32_t now_us = 0U;
    for (uint16_t at = 0U; at < size;) {
        const uint8_t piece = data[at] % (FWB_MAX_TO_BOARD_BYTES + 4U);
        uint8_t encoded[FWB_ENCODED_SIZE(FWB_MAX_TO_BOARD_BYTES + 4U)];
        fwb_frame frame;
        at++;
        const uint16_t left = (uint16_t)(size - at);
        const uint16_t taken = (piece < left) ? piece : left;
        if (taken > 0U) {
            fwb_open(&frame, encoded, sizeof encoded, data[at]);
            fwb_put(&frame, &data[at + 1U], (uint16_t)(taken - 1U));
            work(board, encoded, fwb_close(&frame), now_us);
        }
        at = (uint16_t)(at + taken);
        now_us += 7000U;
    }
    return 0;
}
