/* The board's side on a virtual clock: what takes hours, or a full line, or a wrapped counter. */
#include "fwb_board.h"

#include <stdio.h>
#include <string.h>

static unsigned failures;

#define CHECK(holds) \
    do { \
        if (!(holds)) { \
            failures++; \
            (void)printf("%s:%d: %s\n", __func__, __LINE__, #holds); \
        } \
    } while (0)

/* The bench: a line that keeps the last frame of each kind, and a relay and a dimmer. */
typedef struct {
    fwb_board board;
    fwb_setup setup;
    uint8_t tx[FWB_MAX_TO_HOST_BYTES], batch[20];
    uint8_t last[256][FWB_MAX_TO_HOST_BYTES];
    unsigned count[256];
    bool line_is_full;
    float outputs[2];
    float rate_hz;
} bench;

static const fwb_channel CHANNELS[] = {
    {"small", "1", FWB_TYPE_INT16, 1.0F}, {"large", "1", FWB_TYPE_INT32, 1.0F}, {"real", "1", FWB_TYPE_FLOAT32, 1.0F}};
static const fwb_output OUTPUTS[] = {{"relay", 0.0F, 0.0F, 1.0F, 1000U}, {"dimmer", 20.0F, -10.0F, 100.0F, 0U}};

static bool bench_send(void *io, const uint8_t *frame, uint16_t size)
{
    bench *const b = io;
    uint8_t content[FWB_MAX_TO_HOST_BYTES];
    fwb_decoder decoder;
    fwb_decoder_begin(&decoder, content, sizeof content);
    CHECK(fwb_decode(&decoder, frame, size) == size && (decoder.ready > 0U || size == 1U));
    if (!b->line_is_full && decoder.ready > 0U) {
        (void)memcpy(b->last[content[0]], content, decoder.ready);
        b->count[content[0]]++;
    }
    return !b->line_is_full;
}

static void bench_drive(void *io, uint8_t output, float value)
{
    ((bench *)io)->outputs[output] = value;
}

static float bench_set_rate(void *io, float rate_hz)
{
    ((bench *)io)->rate_hz = rate_hz;
    return rate_hz;
}

static void begin(bench *b, uint32_t now_us)
{
    (void)memset(b, 0, sizeof *b);
    b->setup = (fwb_setup){
        .firmware = "bench", .firmware_version = "1.0.0", .build_id = "0", .unique_id = "1", .channels = CHANNELS,
        .outputs = OUTPUTS, .channel_count = 3U, .output_count = 2U, .failsafe_ms = 2000U, .receive_bytes = 64U,
        .rate_hz = 10.0F, .max_rate_hz = 100.0F, .tx = b->tx, .tx_size = sizeof b->tx, .batch = b->batch,
        .batch_size = sizeof b->batch, .io = b, .send = bench_send, .drive = bench_drive, .set_rate = bench_set_rate};
    CHECK(fwb_begin(&b->board, &b->setup, now_us));
}

static void hear(bench *b, const uint8_t *message, uint16_t length, uint32_t now_us)
{
    uint8_t encoded[FWB_ENCODED_SIZE(FWB_MAX_TO_BOARD_BYTES)];
    fwb_frame frame;
    fwb_open(&frame, encoded, sizeof encoded, message[0]);
    fwb_put(&frame, &message[1], (uint16_t)(length - 1U));
    fwb_receive(&b->board, encoded, fwb_close(&frame), now_us);
}

static void hear_heartbeat(bench *b, uint32_t now_us)
{
    const uint8_t message[] = {FWB_MSG_HOST_HEARTBEAT};
    hear(b, message, sizeof message, now_us);
}

static uint8_t hear_set(bench *b, uint8_t output, float value, uint32_t max_on_ms, uint32_t now_us)
{
    uint8_t message[FWB_SET_BYTES] = {FWB_MSG_SET, 7U, 0U, output};
    (void)memcpy(&message[FWB_SET_AT_VALUE], &value, sizeof value);
    (void)memcpy(&message[FWB_SET_AT_MAX_ON_MS], &max_on_ms, sizeof max_on_ms);
    hear(b, message, sizeof message, now_us);
    return b->last[FWB_MSG_ACK][FWB_ACK_AT_RESULT];
}

static void sample(bench *b, int32_t small, uint32_t t_us)
{
    const fwb_value values[3] = {{.i = small}, {.i = -2}, {.f = 0.5F}};
    fwb_sample(&b->board, t_us, values);
}

static uint32_t samples_u32(const bench *b, uint16_t at)
{
    return fwb_get_u32(&b->last[FWB_MSG_SAMPLES][at]);
}

static void uptime_goes_on_when_the_microseconds_wrap(void)
{
    static bench b;
    uint32_t now_us = UINT32_MAX - 5000U;
    begin(&b, now_us);
    for (unsigned i = 0U; i < 10000U; i++) {
        now_us += 999999U; /* 2 h 47 min in all */
        fwb_step(&b.board, now_us);
    }
    CHECK(b.board.uptime_ms == 9999990U);
    CHECK(fwb_get_u32(&b.last[FWB_MSG_HEARTBEAT][FWB_HEARTBEAT_AT_UPTIME_MS]) == 9999990U);
}

static void a_time_that_goes_backwards_moves_nothing(void)
{
    static bench b;
    begin(&b, 1000000U);
    hear_heartbeat(&b, 1500000U);
    fwb_step(&b.board, 1499000U);
    CHECK(b.board.uptime_ms == 500U);
    CHECK(b.board.failsafes == 0U);
}

static void int16_is_clipped_and_the_least_says_no_reading(void)
{
    static const struct {
        int32_t taken;
        uint16_t sent;
    } CASES[] = {{0, 0U},          {-1, 0xFFFFU},      {32767, 0x7FFFU},  {32768, 0x7FFFU},
                 {-32767, 0x8001U}, {-32768, 0x8001U}, {-70000, 0x8001U}, {FWB_NO_READING, 0x8000U}};
    static bench b;
    begin(&b, 0U);
    hear_heartbeat(&b, 0U);
    for (unsigned i = 0U; i < sizeof CASES / sizeof CASES[0]; i++) {
        sample(&b, CASES[i].taken, 0U);
        sample(&b, CASES[i].taken, 0U); /* two fill the batch */
        const uint8_t *const data = &b.last[FWB_MSG_SAMPLES][FWB_SAMPLES_AT_DATA];
        CHECK(fwb_get_u16(data) == CASES[i].sent);
        CHECK(fwb_get_u32(&data[2]) == (uint32_t)-2);
        CHECK(fwb_get_f32(&data[6]) == 0.5F);
    }
}

static void what_is_not_sent_is_counted(void)
{
    static bench b;
    begin(&b, 0U);
    sample(&b, 1, 0U);
    sample(&b, 1, 0U); /* nobody is there */
    hear_heartbeat(&b, 0U);
    b.line_is_full = true;
    sample(&b, 1, 0U);
    sample(&b, 1, 0U); /* no room */
    b.line_is_full = false;
    sample(&b, 1, 60000U);
    fwb_missed(&b.board, 5U);
    CHECK(samples_u32(&b, FWB_SAMPLES_AT_SEQ) == 4U && samples_u32(&b, FWB_SAMPLES_AT_DROPPED) == 4U);
    sample(&b, 1, 120000U);
    fwb_step(&b.board, 200000U); /* it has waited for company long enough */
    CHECK(samples_u32(&b, FWB_SAMPLES_AT_SEQ) == 10U && samples_u32(&b, FWB_SAMPLES_AT_DROPPED) == 9U);
    CHECK(b.count[FWB_MSG_SAMPLES] == 2U);
}

static void the_stricter_max_on_holds_and_each_set_begins_it_anew(void)
{
    static bench b;
    begin(&b, 0U);
    for (uint32_t now_ms = 0U; now_ms <= 3000U; now_ms += 100U) {
        hear_heartbeat(&b, now_ms * 1000U);
        if (now_ms == 0U || now_ms == 900U) {
            CHECK(hear_set(&b, 0U, 1.0F, 5000U, now_ms * 1000U) == FWB_RESULT_OK);
        }
        fwb_step(&b.board, now_ms * 1000U);
        CHECK((b.outputs[0] > 0.5F) == (now_ms < 1900U));
    }
    CHECK(b.count[FWB_MSG_FAULT] == 1U);
    CHECK(hear_set(&b, 0U, 1.0F, 0U, 3000000U) == FWB_RESULT_OK); /* the output's own limit alone */
    CHECK(b.board.outputs[0].limit_ms == 1000U);
    CHECK(hear_set(&b, 1U, 50.0F, 200U, 3000000U) == FWB_RESULT_OK); /* has no limit of its own */
    fwb_step(&b.board, 3199000U);
    CHECK(b.outputs[1] > 49.0F);
    fwb_step(&b.board, 3200000U);
    CHECK(b.outputs[1] > 19.0F && b.outputs[1] < 21.0F);
}

static void every_output_goes_to_its_own_safe_value_when_the_host_is_silent(void)
{
    static bench b;
    begin(&b, 0U);
    CHECK(hear_set(&b, 1U, 50.0F, 0U, 0U) == FWB_RESULT_DEAD_MAN);
    hear_heartbeat(&b, 0U);
    CHECK(hear_set(&b, 1U, -10.0F, 0U, 0U) == FWB_RESULT_OK);
    CHECK(hear_set(&b, 1U, -10.5F, 0U, 0U) == FWB_RESULT_OUT_OF_RANGE);
    CHECK(hear_set(&b, 0U, 1.0F, 0U, 1999000U) == FWB_RESULT_OK); /* does not feed the switch */
    fwb_step(&b.board, 1999000U);
    CHECK(b.outputs[0] > 0.5F && b.outputs[1] < -9.0F);
    fwb_step(&b.board, 2000000U);
    CHECK(b.outputs[0] < 0.5F && b.outputs[1] > 19.0F);
    CHECK(b.last[FWB_MSG_FAULT][FWB_FAULT_AT_KIND] == FWB_FAULT_KIND_DEAD_MAN);
    CHECK(b.board.failsafes == 1U);
}

static void a_setup_that_cannot_work_is_refused(void)
{
    static bench b;
    begin(&b, 0U);
    b.setup.tx_size = 40U; /* HELLO is longer */
    CHECK(!fwb_begin(&b.board, &b.setup, 0U));
    b.setup.tx_size = sizeof b.tx;
    b.setup.batch_size = 9U; /* a sample has 10 */
    CHECK(!fwb_begin(&b.board, &b.setup, 0U));
    b.setup.batch_size = sizeof b.batch;
    b.setup.output_count = FWB_MAX_OUTPUTS + 1U;
    CHECK(!fwb_begin(&b.board, &b.setup, 0U));
}

static void a_message_of_a_wrong_length_is_skipped(void)
{
    static bench b;
    begin(&b, 0U);
    for (uint8_t code = FWB_MSG_SET; code <= FWB_MSG_BYE; code++) {
        for (uint16_t length = 1U; length <= FWB_MAX_TO_BOARD_BYTES - 2U; length++) {
            const uint8_t message[FWB_MAX_TO_BOARD_BYTES] = {code};
            hear(&b, message, length, 0U);
        }
    }
    CHECK(b.count[FWB_MSG_ACK] == 1U && b.count[FWB_MSG_CONFIG_ACK] == 1U && b.count[FWB_MSG_TIME] == 1U);
    CHECK(b.count[FWB_MSG_PONG] == FWB_MAX_TO_BOARD_BYTES - 2U);
    CHECK(b.board.decoder.bad_frames == 0U);
}

int main(void)
{
    uptime_goes_on_when_the_microseconds_wrap();
    a_time_that_goes_backwards_moves_nothing();
    int16_is_clipped_and_the_least_says_no_reading();
    what_is_not_sent_is_counted();
    the_stricter_max_on_holds_and_each_set_begins_it_anew();
    every_output_goes_to_its_own_safe_value_when_the_host_is_silent();
    a_setup_that_cannot_work_is_refused();
    a_message_of_a_wrong_length_is_skipped();
    (void)printf("the board's side in C: %u failures\n", failures);
    return (failures == 0U) ? 0 : 1;
}
