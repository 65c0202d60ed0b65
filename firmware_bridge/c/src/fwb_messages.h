/* The message table of firmware_bridge (PROTOCOL.md). Made by `python -m firmware_bridge.generate --write`:
 * change firmware_bridge/messages.py instead.
 *
 * FWB_MSG_X is a message's code, FWB_X_AT_FIELD a field's offset from the code (in a group: from its start), as
 * far as it is fixed, and FWB_X_BYTES the length of the fixed part, the code included. Numbers are little-endian.
 */
#ifndef FWB_MESSAGES_H
#define FWB_MESSAGES_H

#define FWB_PROTOCOL_VERSION 1U
#define FWB_MAX_TO_HOST_BYTES 1024U
#define FWB_MAX_TO_BOARD_BYTES 64U
#define FWB_MAX_CHANNELS 32U

/* How one sample of a channel lies in SAMPLES. The least integer, or NaN, says that there was no reading. */
#define FWB_TYPE_INT16 1U
#define FWB_TYPE_INT32 2U
#define FWB_TYPE_FLOAT32 3U

/* How a SET or CONFIG ended. */
#define FWB_RESULT_OK 0U
#define FWB_RESULT_NO_SUCH_OUTPUT 1U
#define FWB_RESULT_OUT_OF_RANGE 2U
#define FWB_RESULT_DEAD_MAN 3U

/* How much a LOG matters. */
#define FWB_LEVEL_ERROR 1U
#define FWB_LEVEL_WARNING 2U
#define FWB_LEVEL_INFO 3U
#define FWB_LEVEL_DEBUG 4U

/* What a FAULT is about, and so what its index counts: outputs, channels or nothing. */
#define FWB_FAULT_KIND_DEAD_MAN 1U
#define FWB_FAULT_KIND_MAX_ON 2U
#define FWB_FAULT_KIND_CHANNEL 3U
#define FWB_FAULT_KIND_OVERRUN 4U
#define FWB_FAULT_KIND_OTHER 5U

/* 0x01 host -> board: Who are you? Sent when the port is opened and each 250 ms until HELLO comes. */
#define FWB_MSG_HELLO_REQUEST 0x01U
#define FWB_HELLO_REQUEST_AT_NEWEST 1U /* u8: the newest version that the host speaks: 1; stays first in every version */
#define FWB_HELLO_REQUEST_AT_OLDEST 2U /* u8: the oldest version that the host speaks: 1; stays second */
#define FWB_HELLO_REQUEST_BYTES 3U

/* 0x02 host -> board: Drive an output. It names a state, not a change, so that obeying it twice does no harm. */
#define FWB_MSG_SET 0x02U
#define FWB_SET_AT_CORRELATION 1U /* u16: comes back in the ACK; a retry keeps it */
#define FWB_SET_AT_OUTPUT 3U /* u8: index in HELLO's outputs, from 0 */
#define FWB_SET_AT_VALUE 4U /* f32: what to drive */
#define FWB_SET_AT_MAX_ON_MS 8U /* u32: safe again after this long without a new SET; 0: the output's own limit alone */
#define FWB_SET_BYTES 12U

/* 0x03 host -> board: The host is alive: this alone feeds the dead-man switch. Empty. */
#define FWB_MSG_HOST_HEARTBEAT 0x03U
#define FWB_HOST_HEARTBEAT_BYTES 1U

/* 0x05 host -> board: How to sample, from the next sample on. The board forgets it at a reset. */
#define FWB_MSG_CONFIG 0x05U
#define FWB_CONFIG_AT_CORRELATION 1U /* u16: comes back in the CONFIG_ACK; a retry keeps it */
#define FWB_CONFIG_AT_RATE_HZ 3U /* f32: samples a second; 0: the board's own choice */
#define FWB_CONFIG_AT_ENABLED 7U /* u32: bit i: channel i is in SAMPLES; 0: all are */
#define FWB_CONFIG_BYTES 11U

/* 0x06 host -> board: What time is it? As long as its answer, so that the way there takes as long as the way back. */
#define FWB_MSG_TIME_REQUEST 0x06U
#define FWB_TIME_REQUEST_AT_ID 1U /* u16: comes back in the TIME */
#define FWB_TIME_REQUEST_AT_ROOM 3U /* 8 bytes: zeros */
#define FWB_TIME_REQUEST_BYTES 11U

/* 0x07 host -> board: Say this back. */
#define FWB_MSG_PING 0x07U
#define FWB_PING_AT_DATA 1U /* bytes: anything, up to the bound */
#define FWB_PING_BYTES 1U /* before data */

/* 0x08 host -> board: The host leaves: outputs safe and SAMPLES off at once, as before its first HOST_HEARTBEAT. Empty. */
#define FWB_MSG_BYE 0x08U
#define FWB_BYE_BYTES 1U

/* 0x81 board -> host: Who the board is, what it has and how it samples. Sent at its start and when asked. */
#define FWB_MSG_HELLO 0x81U
#define FWB_HELLO_AT_PROTOCOL 1U /* u8: the version that the board speaks: 1; stays first in every version */
#define FWB_HELLO_AT_UPTIME_MS 2U /* u32: since the board's start; less than before means that it was reset */
#define FWB_HELLO_AT_FAILSAFE_MS 6U /* u16: the dead-man switch acts when the host has been silent this long */
#define FWB_HELLO_AT_RECEIVE_BYTES 8U /* u16: how many unanswered bytes the board can hold: 64 at least */
#define FWB_HELLO_AT_MAX_RATE_HZ 10U /* f32: the highest rate that CONFIG may ask for; 0: the rate is fixed */
#define FWB_HELLO_AT_CONFIG 14U /* u8: as in SAMPLES */
#define FWB_HELLO_AT_FIRMWARE 15U /* text: name of the firmware */
#define FWB_HELLO_BYTES 15U /* before firmware */
/* then firmware_version, text: numbers with dots: `1.4.2` */
/* then build_id, text: of this very build: a commit or a hash */
/* then unique_id, text: of this one board: its chip's serial number */
/* then channels, u8 n, n of ChannelInfo: at most 32, in the order of SAMPLES */
/* then outputs, u8 n, n of OutputInfo: in the order of SET and HEARTBEAT */

/* 0x82 board -> host: The answer to SET. */
#define FWB_MSG_ACK 0x82U
#define FWB_ACK_AT_CORRELATION 1U /* u16: of the SET */
#define FWB_ACK_AT_OUTPUT 3U /* u8: of the SET */
#define FWB_ACK_AT_RESULT 4U /* u8: 0 done, 1 no such output, 2 value out of range, 3 refused by the dead-man switch */
#define FWB_ACK_AT_VALUE 5U /* f32: what the output does now; 0 if there is no such output */
#define FWB_ACK_BYTES 9U

/* 0x83 board -> host: The board is alive, and this is what its outputs do. At least once a second, and at each change. */
#define FWB_MSG_HEARTBEAT 0x83U
#define FWB_HEARTBEAT_AT_UPTIME_MS 1U /* u32: as in HELLO */
#define FWB_HEARTBEAT_AT_FAILSAFES 5U /* u32: how often the dead-man switch has acted since the board's start */
#define FWB_HEARTBEAT_AT_BAD_FRAMES 9U /* u32: damaged frames that reached the board since its start */
#define FWB_HEARTBEAT_AT_OUTPUTS 13U /* u8 n, n of OutputValue: all, in the order of HELLO */
#define FWB_HEARTBEAT_BYTES 13U /* before outputs */

/* 0x84 board -> host: Consecutive samples of the enabled channels. Sent while the host's heartbeats come. */
#define FWB_MSG_SAMPLES 0x84U
#define FWB_SAMPLES_AT_SEQ 1U /* u32: number of the first sample, counted from the board's start, sent or not */
#define FWB_SAMPLES_AT_T_US 5U /* u32: the board's time of the first sample; wraps */
#define FWB_SAMPLES_AT_DROPPED 9U /* u32: samples that the board did not send since its start, for want of room or of a host */
#define FWB_SAMPLES_AT_CONFIG 13U /* u8: how often CONFIG was obeyed since the board's start, modulo 256 */
#define FWB_SAMPLES_AT_COUNT 14U /* u16: n, at least 1 */
#define FWB_SAMPLES_AT_DATA 16U /* bytes: n samples, one after the other: a number of each enabled channel, without padding */
#define FWB_SAMPLES_BYTES 16U /* before data */

/* 0x85 board -> host: The answer to CONFIG: how the board samples from now on. Comes before the first SAMPLES that are so. */
#define FWB_MSG_CONFIG_ACK 0x85U
#define FWB_CONFIG_ACK_AT_CORRELATION 1U /* u16: of the CONFIG */
#define FWB_CONFIG_ACK_AT_RESULT 3U /* u8: 0 done, 2 rate or channels out of range: all is as before */
#define FWB_CONFIG_ACK_AT_CONFIG 4U /* u8: as in SAMPLES */
#define FWB_CONFIG_ACK_AT_RATE_HZ 5U /* f32: now: the nearest to what was asked that the board can do */
#define FWB_CONFIG_ACK_AT_ENABLED 9U /* u32: now: bit i for channel i */
#define FWB_CONFIG_ACK_BYTES 13U

/* 0x86 board -> host: The answer to TIME_REQUEST, by the clock of SAMPLES. */
#define FWB_MSG_TIME 0x86U
#define FWB_TIME_AT_ID 1U /* u16: of the TIME_REQUEST */
#define FWB_TIME_AT_RECEIVED_US 3U /* u32: when the request was there */
#define FWB_TIME_AT_SENT_US 7U /* u32: when this answer left */
#define FWB_TIME_BYTES 11U

/* 0x87 board -> host: The answer to PING. */
#define FWB_MSG_PONG 0x87U
#define FWB_PONG_AT_DATA 1U /* bytes: of the PING */
#define FWB_PONG_BYTES 1U /* before data */

/* 0x89 board -> host: What the firmware has to say to people. */
#define FWB_MSG_LOG 0x89U
#define FWB_LOG_AT_LEVEL 1U /* u8: 1 error, 2 warning, 3 info, 4 debug */
#define FWB_LOG_AT_TEXT 2U /* text: one line */
#define FWB_LOG_BYTES 2U /* before text */

/* 0x8A board -> host: Something went wrong on the board, said once when it happens. */
#define FWB_MSG_FAULT 0x8AU
#define FWB_FAULT_AT_KIND 1U /* u8: 1 dead-man switch acted, 2 max_on ran out, 3 channel cannot be read, 4 samples overrun, 5 other */
#define FWB_FAULT_AT_INDEX 2U /* u8: of the output (2) or channel (3) in HELLO; else 0 */
#define FWB_FAULT_AT_TEXT 3U /* text: what, for people; may be empty */
#define FWB_FAULT_BYTES 3U /* before text */

/* a part of a message: One measured quantity. */
#define FWB_CHANNEL_INFO_AT_NAME 0U /* text: for example `current` */
#define FWB_CHANNEL_INFO_BYTES 0U /* before name */
/* then unit, text: of a value, in UCUM: `A`, `Cel`, `m/s2` */
/* then type, u8: 1 int16, 2 int32, 3 float32 */
/* then enabled, u8: 1 if it is in SAMPLES, 0 if CONFIG has taken it out */
/* then scale, f32: value = number in SAMPLES * scale */
/* then rate_hz, f32: samples a second, as they are taken now; the same for all channels */

/* a part of a message: One output that the host may set. */
#define FWB_OUTPUT_INFO_AT_NAME 0U /* text: for example `relay` */
#define FWB_OUTPUT_INFO_BYTES 0U /* before name */
/* then safe, f32: what the board drives at its start, after BYE and when the host falls silent */
/* then low, f32: the least value; 0 for a switch */
/* then high, f32: the greatest value; 1 for a switch */
/* then max_on_ms, u32: the longest that a SET to another value than `safe` holds; 0: no limit */

/* a part of a message: What one output is doing, by the board's own account. */
#define FWB_OUTPUT_VALUE_AT_VALUE 0U /* f32: driven at this moment */
#define FWB_OUTPUT_VALUE_AT_CHANGES 4U /* u32: how often the value has changed since the board's start */
#define FWB_OUTPUT_VALUE_BYTES 8U

#endif
