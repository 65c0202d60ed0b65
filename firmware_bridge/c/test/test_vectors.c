/* Holds the C side against the golden vectors, which come as lines from vectors.py on standard input. */
#include "../src/fwb_frame.c" /* the paper's examples are COBS alone, which no public function is */

#include <stdio.h>
#include <stdlib.h>

#define MOST 8192U
#define MOST_CONTENTS 8U

typedef struct {
    uint8_t data[MOST];
    uint16_t size;
} bytes;

static unsigned lines, failures;

static void check(bool holds, const char *what)
{
    if (!holds) {
        failures++;
        (void)printf("line %u: %s\n", lines, what);
    }
}

static bool same(const uint8_t *data, uint16_t size, const bytes *expected)
{
    return (size == expected->size) && (memcmp(data, expected->data, size) == 0);
}

/* The next word of the line as a text; NULL at its end. */
static char *word(char *line)
{
    return strtok(line, " \n");
}

static bool hex(bytes *out)
{
    const char *text = word(NULL);
    out->size = 0U;
    if (text == NULL) {
        return false;
    }
    for (; text[0] != '\0' && text[0] != '-'; text += 2) {
        const char digits[3] = {text[0], text[1], '\0'};
        out->data[out->size] = (uint8_t)strtoul(digits, NULL, 16);
        out->size++;
    }
    return true;
}

static void test_cobs(void)
{
    bytes plain, encoded;
    uint8_t out[MOST];
    (void)hex(&plain);
    (void)hex(&encoded);
    fwb_frame frame = {.out = out, .limit = sizeof out - 2U, .length = 1U};
    put_encoded(&frame, plain.data, plain.size);
    out[frame.code_at] = (uint8_t)(frame.length - frame.code_at);
    check(same(out, frame.length, &encoded), "COBS encodes otherwise");

    fwb_decoder decoder;
    fwb_decoder_begin(&decoder, out, sizeof out);
    (void)fwb_decode(&decoder, encoded.data, encoded.size);
    check(same(out, decoder.length, &plain) && (decoder.left == 0U), "COBS decodes otherwise");
}

static void test_crc(void)
{
    bytes data;
    (void)hex(&data);
    check(fwb_crc16(FWB_CRC_START, data.data, data.size) == strtoul(word(NULL), NULL, 10), "another CRC");
}

/* Encode into every room from none to enough: a frame that does not fit is refused, and nothing written outside. */
static void test_rooms(const uint8_t *content, uint16_t length)
{
    const uint16_t enough = (uint16_t)FWB_ENCODED_SIZE(length + 2U);
    uint16_t encoded = 0U;
    for (uint16_t room = 0U; room <= enough; room++) {
        uint8_t *const exact = malloc(room); /* AddressSanitizer watches its end */
        uint8_t decoded[FWB_MAX_TO_HOST_BYTES];
        fwb_decoder decoder;
        fwb_frame frame;
        fwb_open(&frame, exact, room, content[0]);
        fwb_put(&frame, &content[1], (uint16_t)(length - 1U));
        encoded = fwb_close(&frame);
        fwb_decoder_begin(&decoder, decoded, sizeof decoded);
        (void)fwb_decode(&decoder, exact, encoded);
        check(encoded == 0U || encoded <= room, "more bytes than room");
        check(encoded == 0U || (decoder.ready == length && memcmp(decoded, content, length) == 0), "another frame");
        free(exact);
    }
    check(encoded != 0U, "a frame does not fit the room that is meant for it");
}

/* Decode, encode again, and compare. */
static void test_message(void)
{
    bytes frame_bytes;
    uint8_t content[FWB_MAX_TO_HOST_BYTES], again[MOST];
    fwb_decoder decoder;
    fwb_frame frame;
    (void)hex(&frame_bytes);
    fwb_decoder_begin(&decoder, content, sizeof content);
    (void)fwb_decode(&decoder, frame_bytes.data, frame_bytes.size);
    check(decoder.ready != 0U, "a good frame is not good");
    fwb_open(&frame, again, sizeof again, content[0]);
    fwb_put(&frame, &content[1], (uint16_t)(decoder.ready - 1U));
    check(same(again, fwb_close(&frame), &frame_bytes), "a frame is encoded otherwise");
}

static void test_stream(void)
{
    static const uint16_t PIECES[] = {1U, 2U, 7U, MOST};
    const uint16_t bound = (uint16_t)strtoul(word(NULL), NULL, 10);
    const uint32_t bad_frames = (uint32_t)strtoul(word(NULL), NULL, 10);
    static bytes stream, contents[MOST_CONTENTS];
    (void)hex(&stream);
    unsigned count = 0U;
    while (hex(&contents[count])) {
        count++;
    }
    for (unsigned p = 0U; p < sizeof PIECES / sizeof PIECES[0]; p++) {
        uint8_t *const content = malloc(bound);
        fwb_decoder decoder;
        unsigned found = 0U;
        uint16_t at = 0U;
        fwb_decoder_begin(&decoder, content, bound);
        while (at < stream.size) {
            const uint16_t left = (uint16_t)(stream.size - at);
            at = (uint16_t)(at + fwb_decode(&decoder, &stream.data[at], (left < PIECES[p]) ? left : PIECES[p]));
            if (decoder.ready != 0U) {
                check((found < count) && same(content, decoder.ready, &contents[found]), "another content");
                found++;
            }
        }
        check(found == count, "another number of good frames");
        check(decoder.bad_frames == bad_frames, "another number of bad frames");
        free(content);
    }
    for (unsigned i = 0U; i < count; i++) {
        test_rooms(contents[i].data, contents[i].size);
    }
}

int main(void)
{
    static char line[4U * MOST];
    while (fgets(line, sizeof line, stdin) != NULL) {
        const char *const kind = word(line);
        lines++;
        if (strcmp(kind, "cobs") == 0) {
            test_cobs();
        } else if (strcmp(kind, "crc") == 0) {
            test_crc();
        } else if (strcmp(kind, "message") == 0) {
            test_message();
        } else if (strcmp(kind, "stream") == 0) {
            test_stream();
        } else {
            check(false, "a kind of vector that this test does not know");
        }
    }
    (void)printf("golden vectors in C: %u lines, %u failures\n", lines, failures);
    return ((lines > 50U) && (failures == 0U)) ? 0 : 1;
}
