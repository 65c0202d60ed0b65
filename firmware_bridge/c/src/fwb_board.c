#include "fwb_board.h"

#include <string.h>

#define HEARTBEAT_EVERY_MS 500U
#define BATCH_US 50000U /* samples wait this long for company in their frame */

static fwb_frame open_frame(const fwb_board *board, uint8_t code)
{
    fwb_frame frame;
    fwb_open(&frame, board->setup->tx, board->setup->tx_size, code);
    return frame;
}

static bool send_frame(const fwb_board *board, fwb_frame *frame)
{
    const uint16_t size = fwb_close(frame);
    return (size != 0U) && board->setup->send(board->setup->io, board->setup->tx, size);
}

static bool say(const fwb_board *board, uint8_t code, const uint8_t *numbers, uint16_t size, const char *text)
{
    fwb_frame frame = open_frame(board, code);
    fwb_put(&frame, numbers, size);
    fwb_put_text(&frame, text);
    return send_frame(board, &frame);
}

bool fwb_log(const fwb_board *board, uint8_t level, const char *text)
{
    return say(board, FWB_MSG_LOG, &level, 1U, text);
}

bool fwb_fault(const fwb_board *board, uint8_t kind, uint8_t index, const char *text)
{
    const uint8_t numbers[2] = {kind, index};
    return say(board, FWB_MSG_FAULT, numbers, sizeof numbers, text);
}

/* A float as an integer that is ordered as the floats are (-0 is 0, NaN lies outside every range): it spares chips
 * without an FPU half a kilobyte of library for comparing. */
static int32_t rank(float value)
{
    int32_t bits;
    (void)memcpy(&bits, &value, sizeof bits);
    return (bits < 0) ? (INT32_MIN - bits) : bits;
}

/* A time that went backwards moves nothing: an interrupt's time stamp may be older than the last step. */
static void keep_time(fwb_board *board, uint32_t now_us)
{
    const uint32_t passed_us = now_us - board->now_us;
    if (passed_us <= (uint32_t)INT32_MAX) {
        board->now_us = now_us;
        board->part_us += passed_us;
        while (board->part_us >= 1000U) { /* a few times round: cheaper than a division where there is none */
            board->part_us -= 1000U;
            board->uptime_ms++;
        }
    }
}

/* Outputs -------------------------------------------------------------------------------------------- */

static void drive(fwb_board *board, uint8_t output, float value)
{
    fwb_output_state *const state = &board->outputs[output];
    if (rank(state->value) != rank(value)) {
        state->changes++;
        board->heartbeat_due = true;
    }
    state->value = value;
    board->setup->drive(board->setup->io, output, value);
}

static void drive_all_safe(fwb_board *board)
{
    for (uint8_t i = 0U; i < board->setup->output_count; i++) {
        drive(board, i, board->setup->outputs[i].safe);
    }
}

/* The shorter of two limits, of which 0 is none. */
static uint32_t stricter(uint32_t a, uint32_t b)
{
    return ((a == 0U) || ((b != 0U) && (b < a))) ? b : a;
}

static uint8_t obey_set(fwb_board *board, uint8_t output, float value, uint32_t max_on_ms)
{
    uint8_t result = FWB_RESULT_OK;
    if (output >= board->setup->output_count) {
        result = FWB_RESULT_NO_SUCH_OUTPUT;
    } else if ((rank(value) < rank(board->setup->outputs[output].low))
               || (rank(value) > rank(board->setup->outputs[output].high))) {
        result = FWB_RESULT_OUT_OF_RANGE;
    } else if (!board->host_alive) {
        result = FWB_RESULT_DEAD_MAN;
    } else {
        board->outputs[output].set_ms = board->uptime_ms;
        board->outputs[output].limit_ms = stricter(board->setup->outputs[output].max_on_ms, max_on_ms);
        drive(board, output, value);
    }
    return result;
}

static void on_set(fwb_board *board, const uint8_t *message)
{
    const uint8_t output = message[FWB_SET_AT_OUTPUT];
    const uint8_t result = obey_set(board, output, fwb_get_f32(&message[FWB_SET_AT_VALUE]),
                                    fwb_get_u32(&message[FWB_SET_AT_MAX_ON_MS]));
    fwb_frame frame = open_frame(board, FWB_MSG_ACK);
    fwb_put(&frame, &message[FWB_SET_AT_CORRELATION], 3U); /* and the output */
    fwb_put_u8(&frame, result);
    fwb_put_f32(&frame, (result == FWB_RESULT_NO_SUCH_OUTPUT) ? 0.0F : board->outputs[output].value);
    (void)send_frame(board, &frame);
}

static void watch_outputs(fwb_board *board)
{
    for (uint8_t i = 0U; i < board->setup->output_count; i++) {
        const fwb_output *const output = &board->setup->outputs[i];
        const fwb_output_state *const state = &board->outputs[i];
        if ((state->limit_ms != 0U) && (rank(state->value) != rank(output->safe))
            && (board->uptime_ms - state->set_ms >= state->limit_ms)) {
            drive(board, i, output->safe);
            (void)fwb_fault(board, FWB_FAULT_KIND_MAX_ON, i, output->name);
        }
    }
}

/* Samples -------------------------------------------------------------------------------------------- */

static uint32_t all_channels(const fwb_board *board)
{
    const uint8_t count = board->setup->channel_count;
    return (count == 0U) ? 0U : (UINT32_MAX >> (FWB_MAX_CHANNELS - count));
}

static bool is_enabled(const fwb_board *board, uint8_t channel)
{
    return ((board->enabled >> channel) & 1U) != 0U;
}

static uint16_t number_size(const fwb_board *board, uint8_t channel)
{
    return (board->setup->channels[channel].type == FWB_TYPE_INT16) ? 2U : 4U;
}

static void enable(fwb_board *board, uint32_t channels)
{
    board->enabled = channels;
    board->sample_size = 0U;
    for (uint8_t i = 0U; i < board->setup->channel_count; i++) {
        if (is_enabled(board, i)) {
            board->sample_size = (uint16_t)(board->sample_size + number_size(board, i));
        }
    }
}

static void drop_batch(fwb_board *board)
{
    board->dropped += board->batch_count;
    board->batch_count = 0U;
    board->batch_length = 0U;
}

static void send_batch(fwb_board *board)
{
    if (board->batch_count == 0U) {
        return;
    }
    fwb_frame frame = open_frame(board, FWB_MSG_SAMPLES);
    fwb_put_u32(&frame, board->seq - board->batch_count);
    fwb_put_u32(&frame, board->batch_t_us);
    fwb_put_u32(&frame, board->dropped);
    fwb_put_u8(&frame, board->config);
    fwb_put_u16(&frame, board->batch_count);
    fwb_put(&frame, board->setup->batch, board->batch_length);
    if (send_frame(board, &frame)) {
        board->batch_count = 0U;
        board->batch_length = 0U;
    } else {
        drop_batch(board);
    }
}

static uint32_t number(const fwb_value *value, uint8_t type)
{
    uint32_t bits;
    (void)memcpy(&bits, value, sizeof bits);
    if (type == FWB_TYPE_INT16) {
        if (value->i > INT16_MAX) {
            bits = (uint32_t)INT16_MAX;
        } else if (value->i < -INT16_MAX) {
            bits = (uint32_t)((value->i == FWB_NO_READING) ? INT16_MIN : -INT16_MAX);
        } else {
            /* fits */
        }
    }
    return bits;
}

static void append(fwb_board *board, uint8_t channel, const fwb_value *value)
{
    uint8_t *const at = &board->setup->batch[board->batch_length];
    const uint16_t size = number_size(board, channel);
    uint32_t bits = number(value, board->setup->channels[channel].type);
    for (uint16_t i = 0U; i < size; i++) {
        at[i] = (uint8_t)(bits & 0xFFU);
        bits >>= 8;
    }
    board->batch_length = (uint16_t)(board->batch_length + size);
}

void fwb_sample(fwb_board *board, uint32_t t_us, const fwb_value *values)
{
    board->seq++;
    if (!board->host_alive) {
        board->dropped++;
        return;
    }
    if (board->batch_count == 0U) {
        board->batch_t_us = t_us;
    }
    board->batch_count++;
    for (uint8_t i = 0U; i < board->setup->channel_count; i++) {
        if (is_enabled(board, i)) {
            append(board, i, &values[i]);
        }
    }
    if ((uint16_t)(board->setup->batch_size - board->batch_length) < board->sample_size) {
        send_batch(board);
    }
}

void fwb_missed(fwb_board *board, uint32_t samples)
{
    send_batch(board);
    board->seq += samples;
    board->dropped += samples;
}

/* The rate that the board can do; 0 if what is asked is out of range. */
static float choose_rate(const fwb_board *board, float asked_hz)
{
    const fwb_setup *const setup = board->setup;
    const float rate_hz = (rank(asked_hz) == 0) ? setup->rate_hz : asked_hz;
    float chosen_hz = 0.0F;
    if (rank(rate_hz) == rank(board->rate_hz)) {
        chosen_hz = rate_hz;
    } else if ((rank(rate_hz) > 0) && (rank(rate_hz) <= rank(setup->max_rate_hz))) {
        chosen_hz = setup->set_rate(setup->io, rate_hz);
    } else {
        /* out of range, or the rate is fixed */
    }
    return chosen_hz;
}

static uint8_t obey_config(fwb_board *board, float rate_hz, uint32_t asked)
{
    const uint32_t channels = (asked == 0U) ? all_channels(board) : asked;
    const float chosen_hz = ((channels & ~all_channels(board)) == 0U) ? choose_rate(board, rate_hz) : 0.0F;
    if (rank(chosen_hz) <= 0) {
        return FWB_RESULT_OUT_OF_RANGE;
    }
    send_batch(board); /* what was sampled the old way */
    board->rate_hz = chosen_hz;
    enable(board, channels);
    board->config++;
    return FWB_RESULT_OK;
}

static void on_config(fwb_board *board, const uint8_t *message)
{
    const uint8_t result = obey_config(board, fwb_get_f32(&message[FWB_CONFIG_AT_RATE_HZ]),
                                       fwb_get_u32(&message[FWB_CONFIG_AT_ENABLED]));
    fwb_frame frame = open_frame(board, FWB_MSG_CONFIG_ACK);
    fwb_put(&frame, &message[FWB_CONFIG_AT_CORRELATION], 2U);
    fwb_put_u8(&frame, result);
    fwb_put_u8(&frame, board->config);
    fwb_put_f32(&frame, board->rate_hz);
    fwb_put_u32(&frame, board->enabled);
    (void)send_frame(board, &frame);
}

/* The link ------------------------------------------------------------------------------------------- */

static void put_channel(fwb_frame *frame, const fwb_board *board, uint8_t channel)
{
    const fwb_channel *const info = &board->setup->channels[channel];
    fwb_put_text(frame, info->name);
    fwb_put_text(frame, info->unit);
    fwb_put_u8(frame, info->type);
    fwb_put_u8(frame, is_enabled(board, channel) ? 1U : 0U);
    fwb_put_f32(frame, info->scale);
    fwb_put_f32(frame, board->rate_hz);
}

static void put_output(fwb_frame *frame, const fwb_output *output)
{
    fwb_put_text(frame, output->name);
    fwb_put_f32(frame, output->safe);
    fwb_put_f32(frame, output->low);
    fwb_put_f32(frame, output->high);
    fwb_put_u32(frame, output->max_on_ms);
}

/* False only if it does not fit: with no room on the line now, the host asks again. */
static bool say_hello(fwb_board *board)
{
    const fwb_setup *const setup = board->setup;
    fwb_frame frame = open_frame(board, FWB_MSG_HELLO);
    fwb_put_u8(&frame, FWB_PROTOCOL_VERSION);
    fwb_put_u32(&frame, board->uptime_ms);
    fwb_put_u16(&frame, setup->failsafe_ms);
    fwb_put_u16(&frame, setup->receive_bytes);
    fwb_put_f32(&frame, setup->max_rate_hz);
    fwb_put_u8(&frame, board->config);
    fwb_put_text(&frame, setup->firmware);
    fwb_put_text(&frame, setup->firmware_version);
    fwb_put_text(&frame, setup->build_id);
    fwb_put_text(&frame, setup->unique_id);
    fwb_put_u8(&frame, setup->channel_count);
    for (uint8_t i = 0U; i < setup->channel_count; i++) {
        put_channel(&frame, board, i);
    }
    fwb_put_u8(&frame, setup->output_count);
    for (uint8_t i = 0U; i < setup->output_count; i++) {
        put_output(&frame, &setup->outputs[i]);
    }
    (void)send_frame(board, &frame);
    return !frame.full;
}

static void say_heartbeat(fwb_board *board)
{
    fwb_frame frame = open_frame(board, FWB_MSG_HEARTBEAT);
    fwb_put_u32(&frame, board->uptime_ms);
    fwb_put_u32(&frame, board->failsafes);
    fwb_put_u32(&frame, board->decoder.bad_frames);
    fwb_put_u8(&frame, board->setup->output_count);
    for (uint8_t i = 0U; i < board->setup->output_count; i++) {
        fwb_put_f32(&frame, board->outputs[i].value);
        fwb_put_u32(&frame, board->outputs[i].changes);
    }
    board->heartbeat_due = !send_frame(board, &frame);
    board->heartbeat_ms = board->uptime_ms;
}

static void on_host_heartbeat(fwb_board *board)
{
    board->heartbeat_due = board->heartbeat_due || !board->host_alive; /* a host that is back hears how things stand */
    board->host_alive = true;
    board->host_ms = board->uptime_ms;
}

static void part_from_host(fwb_board *board)
{
    board->host_alive = false;
    drop_batch(board);
    drive_all_safe(board);
}

static void watch_host(fwb_board *board)
{
    if (board->host_alive && (board->uptime_ms - board->host_ms >= board->setup->failsafe_ms)) {
        board->failsafes++;
        part_from_host(board);
        (void)fwb_fault(board, FWB_FAULT_KIND_DEAD_MAN, 0U, "host silent");
    }
}

static void on_time_request(fwb_board *board, const uint8_t *message)
{
    fwb_frame frame = open_frame(board, FWB_MSG_TIME);
    fwb_put(&frame, &message[FWB_TIME_REQUEST_AT_ID], 2U);
    fwb_put_u32(&frame, board->now_us);
    fwb_put_u32(&frame, board->now_us);
    (void)send_frame(board, &frame);
}

static void on_ping(const fwb_board *board, const uint8_t *message, uint16_t length)
{
    fwb_frame frame = open_frame(board, FWB_MSG_PONG);
    fwb_put(&frame, &message[FWB_PING_AT_DATA], (uint16_t)(length - FWB_PING_BYTES));
    (void)send_frame(board, &frame);
}

/* What is unknown, or has not its message's length, is skipped. */
static void obey(fwb_board *board, const uint8_t *message, uint16_t length)
{
    switch (message[0]) {
    case FWB_MSG_HELLO_REQUEST: /* of any version: ours is in the answer */
        (void)say_hello(board);
        break;
    case FWB_MSG_SET:
        if (length == FWB_SET_BYTES) {
            on_set(board, message);
        }
        break;
    case FWB_MSG_HOST_HEARTBEAT:
        if (length == FWB_HOST_HEARTBEAT_BYTES) {
            on_host_heartbeat(board);
        }
        break;
    case FWB_MSG_CONFIG:
        if (length == FWB_CONFIG_BYTES) {
            on_config(board, message);
        }
        break;
    case FWB_MSG_TIME_REQUEST:
        if (length == FWB_TIME_REQUEST_BYTES) {
            on_time_request(board, message);
        }
        break;
    case FWB_MSG_PING:
        on_ping(board, message, length);
        break;
    case FWB_MSG_BYE:
        if (length == FWB_BYE_BYTES) {
            part_from_host(board);
        }
        break;
    default:
        break;
    }
}

bool fwb_begin(fwb_board *board, const fwb_setup *setup, uint32_t now_us)
{
    static const uint8_t nothing = 0U; /* an empty frame: it ends the half one that a reset has left on the line */
    (void)memset(board, 0, sizeof *board);
    board->setup = setup;
    board->now_us = now_us;
    board->rate_hz = setup->rate_hz;
    if ((setup->output_count > FWB_MAX_OUTPUTS) || (setup->channel_count > FWB_MAX_CHANNELS)) {
        return false;
    }
    fwb_decoder_begin(&board->decoder, board->received, sizeof board->received);
    for (uint8_t i = 0U; i < setup->output_count; i++) {
        board->outputs[i].value = setup->outputs[i].safe;
        setup->drive(setup->io, i, setup->outputs[i].safe);
    }
    enable(board, all_channels(board));
    (void)setup->send(setup->io, &nothing, 1U);
    return say_hello(board) && (board->sample_size <= setup->batch_size);
}

void fwb_receive(fwb_board *board, const uint8_t *data, uint16_t size, uint32_t now_us)
{
    uint16_t taken = 0U;
    keep_time(board, now_us);
    while (taken < size) {
        taken = (uint16_t)(taken + fwb_decode(&board->decoder, &data[taken], (uint16_t)(size - taken)));
        if (board->decoder.ready != 0U) {
            obey(board, board->received, board->decoder.ready);
        }
    }
}

void fwb_step(fwb_board *board, uint32_t now_us)
{
    keep_time(board, now_us);
    watch_host(board);
    watch_outputs(board);
    if (board->heartbeat_due || (board->uptime_ms - board->heartbeat_ms >= HEARTBEAT_EVERY_MS)) {
        say_heartbeat(board);
    }
    if (board->now_us - board->batch_t_us >= BATCH_US) {
        send_batch(board);
    }
}
