/* An Arduino Uno under simavr, in real time, its UART on a pty.
 *
 *     simavr_uno FIRMWARE.elf
 *
 * Says `port PATH`, then `relay 0` or `relay 1` whenever pin 13 changes. SIGUSR1 is the reset button. A0 sees 1 V,
 * A1 2 V.
 */
#define _GNU_SOURCE

#include <avr_adc.h>
#include <avr_ioport.h>
#include <avr_uart.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sim_avr.h>
#include <sim_elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CLOCK_HZ 16000000U
#define SLICE_CYCLES (CLOCK_HZ / 1000U)
#define SLICE_NS 1000000

/* The line between UART and pty. simavr's own (uart_pty.c) feeds the UART from a thread of its own: here everything
 * happens between two slices. */
typedef struct {
    int fd;
    avr_irq_t *input;
    bool full; /* the UART's input takes no more */
    uint8_t received[256];
    ssize_t received_size, fed;
    uint8_t sent[4096];
    size_t sent_size;
} uart_line;

static volatile sig_atomic_t reset_pressed;

static void press_reset(int signal_number)
{
    (void)signal_number;
    reset_pressed = 1;
}

static void say_relay(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    (void)param;
    (void)printf("relay %u\n", value);
    (void)fflush(stdout);
}

static void keep_sent(struct avr_irq_t *irq, uint32_t value, void *param)
{
    uart_line *const line = param;
    (void)irq;
    if (line->sent_size < sizeof line->sent) {
        line->sent[line->sent_size++] = (uint8_t)value;
    }
}

static void note_full(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    ((uart_line *)param)->full = value != 0U;
}

static void note_room(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq;
    (void)value;
    ((uart_line *)param)->full = false;
}

static const char *open_line(uart_line *line, avr_t *avr)
{
    static char path[64];
    struct termios raw;
    int near_end; /* stays open, so that the host may come and go */
    const uint32_t no_flags = 0U;
    if (openpty(&line->fd, &near_end, path, NULL, NULL) != 0 || tcgetattr(near_end, &raw) != 0) {
        perror("a pty");
        exit(EXIT_FAILURE);
    }
    cfmakeraw(&raw);
    (void)tcsetattr(near_end, TCSANOW, &raw);
    (void)fcntl(line->fd, F_SETFL, O_NONBLOCK);
    (void)avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), (void *)&no_flags); /* neither print nor sleep */
    line->input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), keep_sent, line);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), note_full, line);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), note_room, line);
    return path;
}

static void serve_line(uart_line *line)
{
    if (line->sent_size > 0U) {
        (void)!write(line->fd, line->sent, line->sent_size); /* what a pty has no room for is lost, as on a wire */
        line->sent_size = 0U;
    }
    if (line->fed == line->received_size) {
        line->fed = 0;
        line->received_size = read(line->fd, line->received, sizeof line->received);
        line->received_size = (line->received_size > 0) ? line->received_size : 0;
    }
    while (line->fed < line->received_size && !line->full) {
        avr_raise_irq(line->input, line->received[line->fed++]);
    }
}

static void run_one_ms(avr_t *avr)
{
    const avr_cycle_count_t end = avr->cycle + SLICE_CYCLES;
    while (avr->cycle < end) {
        const int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            (void)fprintf(stderr, "the firmware crashed at 0x%x\n", (unsigned)avr->pc);
            exit(EXIT_FAILURE);
        }
    }
}

/* To the next millisecond; what a busy machine has lost is not made up for, since the board's time is its own. */
static void wait_for(struct timespec *next)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    next->tv_nsec += SLICE_NS;
    if (next->tv_nsec >= 1000000000) {
        next->tv_nsec -= 1000000000;
        next->tv_sec++;
    }
    if (now.tv_sec > next->tv_sec || (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec)) {
        *next = now;
    } else {
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
    }
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware = {0};
    static uart_line line;
    struct timespec next;
    if (argc != 2 || elf_read_firmware(argv[1], &firmware) != 0) {
        (void)fprintf(stderr, "usage: %s FIRMWARE.elf\n", argv[0]);
        return 2;
    }
    avr_t *const avr = avr_make_mcu_by_name("atmega328p");
    (void)avr_init(avr);
    firmware.frequency = CLOCK_HZ;
    avr_load_firmware(avr, &firmware);
    avr->log = LOG_ERROR; /* what crashes the firmware is said */
    avr->vcc = avr->avcc = 5000;
    const char *const path = open_line(&line, avr);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), 5), say_relay, NULL);
    (void)signal(SIGUSR1, press_reset);
    (void)printf("port %s\n", path);
    (void)fflush(stdout);
    (void)clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC0), 1000U);
        avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_ADC_GETIRQ, ADC_IRQ_ADC1), 2000U);
        serve_line(&line);
        run_one_ms(avr);
        wait_for(&next);
        if (reset_pressed != 0) {
            reset_pressed = 0;
            avr_reset(avr);
        }
    }
}
