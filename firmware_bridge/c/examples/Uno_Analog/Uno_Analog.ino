/* Two analog inputs and one relay (or the LED on pin 13) of an Arduino Uno, at 115200 baud. */
#include <avr/wdt.h>
#include <fwb_board.h>

#ifndef FWB_BUILD_ID
#define FWB_BUILD_ID __DATE__
#endif

const uint8_t RELAY_PIN = LED_BUILTIN;
const float VOLTS_PER_COUNT = 5.0 / 1024;
const float MAX_RATE_HZ = 500;

const fwb_channel CHANNELS[] = {
    {"a0", "V", FWB_TYPE_INT16, VOLTS_PER_COUNT},
    {"a1", "V", FWB_TYPE_INT16, VOLTS_PER_COUNT},
};
const fwb_output OUTPUTS[] = {{"relay", 0, 0, 1, 60000}};

fwb_setup setup_;
fwb_board board;
uint8_t tx[FWB_ENCODED_SIZE(150)];
uint8_t batch[40];

uint8_t unsent[256]; // what Serial's own 64 bytes have no room for yet
uint16_t unsentSize;

uint32_t dueUs;
uint32_t periodUs = 10000;

void serveLine()
{
    uint8_t received[32];
    uint8_t n = 0;
    while (n < sizeof received && Serial.available()) {
        received[n++] = Serial.read();
    }
    fwb_receive(&board, received, n, micros());

    uint16_t room = Serial.availableForWrite(); // asked once: min() is a macro, and the room grows by itself
    uint16_t now = min(unsentSize, room);
    Serial.write(unsent, now);
    unsentSize -= now;
    memmove(unsent, unsent + now, unsentSize);
}

// A sample is taken when it is due, or less than a period later; what was due before is missed, and counted.
void serveSensors()
{
    uint32_t lateUs = micros() - dueUs;
    if ((int32_t)lateUs < 0) {
        return;
    }
    uint32_t missed = lateUs / periodUs;
    if (missed > 0) {
        fwb_missed(&board, missed);
        dueUs += missed * periodUs;
    }
    fwb_value values[2];
    values[0].i = analogRead(A0);
    values[1].i = analogRead(A1);
    fwb_sample(&board, dueUs, values);
    dueUs += periodUs;
}

bool send(void *, const uint8_t *frame, uint16_t size)
{
    if (size > sizeof unsent - unsentSize) {
        return false;
    }
    memcpy(unsent + unsentSize, frame, size);
    unsentSize += size;
    return true;
}

void drive(void *, uint8_t, float value)
{
    digitalWrite(RELAY_PIN, value > 0.5 ? HIGH : LOW);
}

float setRate(void *, float rateHz)
{
    periodUs = 1e6 / rateHz + 0.5;
    return 1e6 / periodUs;
}

void setup()
{
    pinMode(RELAY_PIN, OUTPUT);
    Serial.begin(115200);
    setup_.firmware = "uno-analog";
    setup_.firmware_version = "1.0.0";
    setup_.build_id = FWB_BUILD_ID;
    setup_.unique_id = "uno-0001"; // of this one board: write another number into each
    setup_.channels = CHANNELS;
    setup_.channel_count = 2;
    setup_.outputs = OUTPUTS;
    setup_.output_count = 1;
    setup_.failsafe_ms = 2000;
    setup_.receive_bytes = 64;
    setup_.rate_hz = 1e6 / periodUs;
    setup_.max_rate_hz = MAX_RATE_HZ;
    setup_.tx = tx;
    setup_.tx_size = sizeof tx;
    setup_.batch = batch;
    setup_.batch_size = sizeof batch;
    setup_.send = send;
    setup_.drive = drive;
    setup_.set_rate = setRate;
    if (!fwb_begin(&board, &setup_, micros())) { // a buffer above is too small
        for (;;) {
            digitalWrite(LED_BUILTIN, millis() / 100 % 2);
        }
    }
    dueUs = micros();
    wdt_enable(WDTO_500MS); // a loop that hangs is reset, and comes up safe
}

void loop()
{
    wdt_reset();
    serveLine();
    serveSensors();
    fwb_step(&board, micros());
}
