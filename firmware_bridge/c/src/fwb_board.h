/* The board's side of the link (PROTOCOL.md): answers its host, sends its samples, and keeps its outputs safe when
 * the host falls silent. Everything is called from one loop, never from an interrupt:
 *
 *     fwb_begin(&board, &setup, micros());
 *     for (;;) {
 *         fwb_receive(&board, bytes, how_many, micros());   what the UART has, if anything
 *         fwb_sample(&board, t_us, values);                 whenever a sample is due
 *         fwb_step(&board, micros());                       as often as can be: this is the dead-man switch
 *     }
 *
 * A loop that hangs cannot switch anything off: let the chip's watchdog reset it. Out of reset the outputs are safe.
 */
#ifndef FWB_BOARD_H
#define FWB_BOARD_H

#include "fwb_frame.h"
#include "fwb_messages.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef FWB_MAX_OUTPUTS
#define FWB_MAX_OUTPUTS 4U
#endif

/* One measured quantity; value = number * scale, in `unit` (UCUM). */
typedef struct {
    const char *name;
    const char *unit;
    uint8_t type; /* FWB_TYPE_INT16, FWB_TYPE_INT32 or FWB_TYPE_FLOAT32 */
    float scale;
} fwb_channel;

/* One output: 0 and 1 are a switch's `low` and `high`. */
typedef struct {
    const char *name;
    float safe; /* driven at the start, after BYE, and when the host falls silent */
    float low;
    float high;
    uint32_t max_on_ms; /* the longest that it stays at anything but `safe` by one SET; 0: no limit */
} fwb_output;

/* What a board is. All of it stays where it is for as long as the board runs. */
typedef struct {
    const char *firmware;
    const char *firmware_version; /* numbers with dots */
    const char *build_id;
    const char *unique_id; /* of this one board */
    const fwb_channel *channels;
    const fwb_output *outputs;
    uint8_t channel_count; /* at most FWB_MAX_CHANNELS */
    uint8_t output_count;  /* at most FWB_MAX_OUTPUTS */
    uint16_t failsafe_ms;
    uint16_t receive_bytes; /* what the UART's buffer holds: 64 at least */
    float rate_hz;          /* the board's own choice */
    float max_rate_hz;      /* 0: the rate is fixed */

    uint8_t *tx; /* one frame; HELLO must fit, so FWB_ENCODED_SIZE(its length) */
    uint16_t tx_size;
    uint8_t *batch; /* samples on their way into one frame */
    uint16_t batch_size;

    void *io; /* handed to the functions below */
    /* Take the whole frame for sending, or nothing of it (false). Never waits. */
    bool (*send)(void *io, const uint8_t *frame, uint16_t size);
    void (*drive)(void *io, uint8_t output, float value);
    /* Sample at this rate from now on; 0 if it cannot be, else the rate that it is. NULL if max_rate_hz is 0. */
    float (*set_rate)(void *io, float rate_hz);
} fwb_setup;

/* A number of a channel: `i` for the integer types, `f` for FWB_TYPE_FLOAT32. */
typedef union {
    int32_t i; /* FWB_NO_READING: there was none. An int16 channel takes -32767..32767, and clips */
    float f;   /* NaN: there was none */
} fwb_value;

#define FWB_NO_READING INT32_MIN

typedef struct {
    float value;
    uint32_t changes;
    uint32_t set_ms;
    uint32_t limit_ms; /* of the last SET; 0: none */
} fwb_output_state;

/* The whole state of a board, for the caller to keep. Nothing outside fwb_board.c writes to it. */
typedef struct {
    const fwb_setup *setup;
    fwb_decoder decoder;
    uint8_t received[FWB_MAX_TO_BOARD_BYTES];
    fwb_output_state outputs[FWB_MAX_OUTPUTS];

    uint32_t now_us;
    uint32_t uptime_ms;
    uint32_t part_us; /* of a millisecond, not counted in uptime_ms yet */

    uint32_t host_ms;      /* when the host's last heartbeat came */
    uint32_t heartbeat_ms; /* when ours went */
    uint32_t failsafes;
    bool host_alive;
    bool heartbeat_due;

    float rate_hz;
    uint32_t enabled;
    uint8_t config;

    uint32_t seq; /* of the next sample */
    uint32_t dropped;
    uint32_t batch_t_us;
    uint16_t batch_count;
    uint16_t batch_length; /* bytes */
    uint16_t sample_size;  /* bytes, of the enabled channels */
} fwb_board;

/* Drive all outputs safe and say HELLO. False if the setup cannot work: HELLO does not fit `tx`, a sample does not
 * fit `batch`, too many channels or outputs. */
bool fwb_begin(fwb_board *board, const fwb_setup *setup, uint32_t now_us);

/* Obey what came. `now_us` is when it came: any clock that counts microseconds and wraps at 2^32. */
void fwb_receive(fwb_board *board, const uint8_t *data, uint16_t size, uint32_t now_us);

/* Watch over the host and the outputs, and send what is due. Every half hour at the very least. */
void fwb_step(fwb_board *board, uint32_t now_us);

/* One sample, taken at `t_us`: a number of every channel, enabled or not, in the setup's order. */
void fwb_sample(fwb_board *board, uint32_t t_us, const fwb_value *values);

/* So many samples were due and were not taken: the loop was busy elsewhere. They are counted as dropped. */
void fwb_missed(fwb_board *board, uint32_t samples);

/* Tell people something, at a FWB_LEVEL_. False if the line had no room for it. */
bool fwb_log(const fwb_board *board, uint8_t level, const char *text);

/* Say that something went wrong: FWB_FAULT_KIND_CHANNEL and the channel's index, or FWB_FAULT_KIND_OTHER and 0. */
bool fwb_fault(const fwb_board *board, uint8_t kind, uint8_t index, const char *text);

#ifdef __cplusplus
}
#endif

#endif
