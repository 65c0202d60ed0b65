/* A TMP105 on I2C and a relay on PF0, without an operating system, on the LM3S6965 that QEMU emulates. */
#include "fwb_board.h"
#include "lm3s6965.h"

#define BAUD 115200U
#define RATE_HZ 100.0F
#define MAX_RATE_HZ 1000.0F

#define TMP105 0x48U
#define TMP105_TEMPERATURE 0U
#define TMP105_CONFIG 1U
#define TMP105_CONFIG_12_BITS 0x60U

enum { TEMPERATURE, ROUNDS, CHANNELS };

static const fwb_channel channels[CHANNELS] = {
    {"temperature", "Cel", FWB_TYPE_INT16, 1.0F / 256.0F},
    {"rounds", "1", FWB_TYPE_INT32, 1.0F}, /* of the main loop since the sample before: how busy it is */
};
static const fwb_output outputs[] = {{"relay", 0.0F, 0.0F, 1.0F, 60000U}};

/* Time ----------------------------------------------------------------------------------------------- */

static uint32_t clock_us, clock_ticks, clock_last;

/* SysTick runs freely and is extended here, so it must be asked more often than it wraps: each 21 ms. */
static uint32_t now_us(void)
{
    const uint32_t counter = SYST_CVR; /* downwards */
    clock_ticks += (clock_last - counter) & SYST_MAX;
    clock_last = counter;
    clock_us += clock_ticks / 25U * 2U; /* 12.5 ticks */
    clock_ticks %= 25U;
    return clock_us;
}

/* The line ------------------------------------------------------------------------------------------- */

static uint8_t unsent[512]; /* a ring: what the UART's 16 bytes cannot take yet */
static uint16_t unsent_begin, unsent_size;

static bool send(void *io, const uint8_t *frame, uint16_t size)
{
    (void)io;
    if (size > sizeof unsent - unsent_size) {
        return false;
    }
    for (uint16_t i = 0U; i < size; i++) {
        unsent[(uint16_t)(unsent_begin + unsent_size) % sizeof unsent] = frame[i];
        unsent_size++;
    }
    return true;
}

static void serve_line(fwb_board *board)
{
    while ((UART0_FR & UART0_FR_RXFE) == 0U) {
        const uint8_t byte = (uint8_t)UART0_DR;
        fwb_receive(board, &byte, 1U, now_us());
    }
    while ((unsent_size > 0U) && ((UART0_FR & UART0_FR_TXFF) == 0U)) {
        UART0_DR = unsent[unsent_begin];
        unsent_begin = (uint16_t)((unsent_begin + 1U) % sizeof unsent);
        unsent_size--;
    }
}

/* The sensor ----------------------------------------------------------------------------------------- */

static bool i2c(uint32_t command)
{
    I2C0_MCS = command;
    while ((I2C0_MCS & I2C0_MCS_BUSY) != 0U) {
    }
    return (I2C0_MCS & I2C0_MCS_ERROR) == 0U;
}

static bool tmp105_configure(void)
{
    I2C0_MSA = TMP105 << 1;
    I2C0_MDR = TMP105_CONFIG;
    if (!i2c(I2C0_MCS_START | I2C0_MCS_RUN)) {
        return false;
    }
    I2C0_MDR = TMP105_CONFIG_12_BITS;
    return i2c(I2C0_MCS_RUN | I2C0_MCS_STOP);
}

/* The pointer is written and the bus let go, since QEMU's controller knows no repeated start. */
static int32_t tmp105_read(void)
{
    I2C0_MSA = TMP105 << 1;
    I2C0_MDR = TMP105_TEMPERATURE;
    if (!i2c(I2C0_MCS_START | I2C0_MCS_RUN | I2C0_MCS_STOP)) {
        return FWB_NO_READING;
    }
    I2C0_MSA = (TMP105 << 1) | I2C0_MSA_READ;
    if (!i2c(I2C0_MCS_START | I2C0_MCS_RUN | I2C0_MCS_ACK)) {
        return FWB_NO_READING;
    }
    const uint32_t high = I2C0_MDR & 0xFFU;
    if (!i2c(I2C0_MCS_RUN | I2C0_MCS_STOP)) {
        return FWB_NO_READING;
    }
    return (int16_t)((high << 8) | (I2C0_MDR & 0xFFU));
}

/* The board ------------------------------------------------------------------------------------------ */

static uint32_t period_us = 10000U, due_us;
static enum { UNKNOWN, THERE, GONE } sensor;

/* In 1/256 degrees; says once when the sensor is gone, and once when it is there. */
static int32_t temperature(fwb_board *board)
{
    const int32_t reading = ((sensor == THERE) || tmp105_configure()) ? tmp105_read() : FWB_NO_READING;
    if ((reading == FWB_NO_READING) && (sensor != GONE)) {
        sensor = GONE;
        (void)fwb_fault(board, FWB_FAULT_KIND_CHANNEL, TEMPERATURE, "no TMP105 at 0x48");
    } else if ((reading != FWB_NO_READING) && (sensor != THERE)) {
        sensor = THERE;
        (void)fwb_log(board, FWB_LEVEL_INFO, "TMP105 found");
    } else {
        /* as before */
    }
    return reading;
}

/* A sample is taken when it is due, or less than a period later; what was due before is missed, and counted. */
static void serve_sensor(fwb_board *board)
{
    static int32_t rounds;
    const uint32_t late_us = now_us() - due_us;
    rounds++;
    if ((int32_t)late_us >= 0) {
        const uint32_t missed = late_us / period_us;
        if (missed > 0U) {
            fwb_missed(board, missed);
            due_us += missed * period_us;
        }
        const fwb_value values[CHANNELS] = {{temperature(board)}, {rounds}};
        fwb_sample(board, due_us, values);
        due_us += period_us;
        rounds = 0;
    }
}

static void drive(void *io, uint8_t output, float value)
{
    (void)io;
    (void)output;
    GPIOF_DATA_BIT0 = (value > 0.5F) ? 1U : 0U;
}

static float set_rate(void *io, float rate_hz)
{
    (void)io;
    period_us = (uint32_t)(1e6F / rate_hz + 0.5F);
    return 1e6F / (float)period_us;
}

static void start_hardware(void)
{
    SYSCTL_RCGC1 = SYSCTL_RCGC1_UART0 | SYSCTL_RCGC1_I2C0;
    SYSCTL_RCGC2 = SYSCTL_RCGC2_GPIOA | SYSCTL_RCGC2_GPIOB | SYSCTL_RCGC2_GPIOF;
    (void)SYSCTL_RCGC2; /* the datasheet's three clocks until the ports answer */
    SYST_RVR = SYST_MAX;
    SYST_CVR = 0U;
    SYST_CSR = SYST_CSR_ENABLE | SYST_CSR_PROCESSOR_CLOCK;
    clock_last = SYST_CVR;
    GPIOA_AFSEL = 0x03U; /* PA0, PA1: UART0 */
    GPIOA_DEN = 0x03U;
    GPIOB_AFSEL = 0x0CU; /* PB2, PB3: I2C0 */
    GPIOB_ODR = 0x08U;
    GPIOB_DEN = 0x0CU;
    GPIOF_DIR = 0x01U;
    GPIOF_DEN = 0x01U;
    UART0_IBRD = CLOCK_HZ / (16U * BAUD);
    UART0_FBRD = ((CLOCK_HZ % (16U * BAUD)) * 64U + 8U * BAUD) / (16U * BAUD);
    UART0_LCRH = UART0_LCRH_8_BITS_AND_FIFO;
    UART0_CTL = UART0_CTL_ON;
    I2C0_MCR = I2C0_MCR_MASTER;
    I2C0_MTPR = CLOCK_HZ / (20U * 100000U) - 1U;
}

int main(void)
{
    static fwb_board board;
    static uint8_t tx[FWB_ENCODED_SIZE(200U)], batch[300];
    static const fwb_setup setup = {
        .firmware = "cortex-m-bare",
        .firmware_version = "1.0.0",
        .build_id = FWB_BUILD_ID,
        .unique_id = "lm3s6965-0001",
        .channels = channels,
        .outputs = outputs,
        .channel_count = CHANNELS,
        .output_count = 1U,
        .failsafe_ms = 2000U,
        .receive_bytes = 64U,
        .rate_hz = RATE_HZ,
        .max_rate_hz = MAX_RATE_HZ,
        .tx = tx,
        .tx_size = sizeof tx,
        .batch = batch,
        .batch_size = sizeof batch,
        .send = send,
        .drive = drive,
        .set_rate = set_rate,
    };
    start_hardware();
    due_us = now_us();
    (void)fwb_begin(&board, &setup, due_us);
    for (;;) {
        serve_line(&board);
        serve_sensor(&board);
        fwb_step(&board, now_us());
    }
}
