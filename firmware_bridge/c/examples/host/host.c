/* The firmware as a program: a motor's temperature and current, and one relay, on a pty instead of a UART.
 *
 *     host [--link PATH] [--rate HZ] [--failsafe MS] [--clock SPEED@ORIGIN_NS[:FILE]]
 *
 * Says `port PATH` on standard output, then `relay 0` or `relay 1` whenever the relay is driven. SIGUSR1 is the
 * reset button. `--clock` is a time that runs SPEED times as fast from ORIGIN_NS of CLOCK_MONOTONIC on. Another
 * program may hold it by FILE: two int64, the ns that it has stood still so far, and how far it may run without those.
 */
#define _GNU_SOURCE

#include "fwb_board.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define SCALE 0.01F
#define MAX_RATE_HZ 10000.0F
#define POLL_MS 5
#define NS_PER_S 1000000000ULL

typedef struct {
    int fd;
    uint8_t unsent[4096];
    size_t unsent_size;
    double speed;
    uint64_t origin_ns;
    const volatile int64_t *held; /* NULL: nobody holds the clock */
    uint64_t start_ns;
    double rate_hz;
    double first_s; /* when the first sample at this rate was due, since the start */
    uint64_t taken; /* samples at this rate */
    bool relay_on;
} machine;

static volatile sig_atomic_t reset_pressed;

static void press_reset(int signal_number)
{
    (void)signal_number;
    reset_pressed = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* The machine ---------------------------------------------------------------------------------------- */

static uint64_t now_ns(const machine *m)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t real_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    if (m->held != NULL) {
        const uint64_t may_run_ns = (uint64_t)m->held[1]; /* first, for it is written last */
        real_ns -= (uint64_t)m->held[0];
        real_ns = real_ns < may_run_ns ? real_ns : may_run_ns;
    }
    return m->origin_ns + (uint64_t)((double)(real_ns - m->origin_ns) * m->speed);
}

static const volatile int64_t *shared(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *const words = fd < 0 ? MAP_FAILED : mmap(NULL, 2U * sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (words == MAP_FAILED) {
        die(path);
    }
    (void)close(fd);
    return words;
}

static double elapsed_s(const machine *m)
{
    return (double)(now_ns(m) - m->start_ns) / (double)NS_PER_S;
}

static uint32_t micros(double seconds)
{
    return (uint32_t)(uint64_t)llround(seconds * 1e6);
}

/* A motor that runs heavy every 24 s for 7.5 s: 5 A instead of 2.4. The relay sheds a load of 1 A. */
static void measure(double t_s, bool relay_on, fwb_value values[2])
{
    const double into_s = (t_s < 12.0) ? 7.5 : fmod(t_s - 12.0, 24.0);
    const double swell = fmax(fmin(1.0, fmin(into_s / 0.5, 7.5 - into_s)), 0.0);
    const double current_a = 2.4 + 2.6 * swell - (relay_on ? 1.0 : 0.0) + 0.05 * sin(9.0 * t_s);
    const double temperature_c = 42.0 - 3.0 * cos(2.0 * M_PI * (t_s - 14.0) / 24.0);
    values[0].i = (int32_t)lround(temperature_c / (double)SCALE);
    values[1].i = (int32_t)lround(current_a / (double)SCALE);
}

static void take_samples(machine *m, fwb_board *board)
{
    for (;;) {
        const double due_s = m->first_s + (double)m->taken / m->rate_hz;
        fwb_value values[2];
        if (due_s > elapsed_s(m)) {
            return;
        }
        measure(due_s, m->relay_on, values);
        fwb_sample(board, micros(due_s), values);
        m->taken++;
    }
}

/* The board's hands ---------------------------------------------------------------------------------- */

static void flush_unsent(machine *m)
{
    const ssize_t written = write(m->fd, m->unsent, m->unsent_size);
    if (written > 0) {
        m->unsent_size -= (size_t)written;
        (void)memmove(m->unsent, &m->unsent[written], m->unsent_size);
    } else if (written < 0 && errno != EAGAIN) {
        die("write");
    }
}

static bool send(void *io, const uint8_t *frame, uint16_t size)
{
    machine *const m = io;
    if (size > sizeof m->unsent - m->unsent_size) {
        return false;
    }
    (void)memcpy(&m->unsent[m->unsent_size], frame, size);
    m->unsent_size += size;
    flush_unsent(m);
    return true;
}

static void drive(void *io, uint8_t output, float value)
{
    machine *const m = io;
    (void)output;
    m->relay_on = value > 0.5F;
    (void)printf("relay %d\n", m->relay_on ? 1 : 0);
    (void)fflush(stdout);
}

static float set_rate(void *io, float rate_hz)
{
    machine *const m = io;
    m->first_s = elapsed_s(m);
    m->taken = 0U;
    m->rate_hz = (double)rate_hz;
    return rate_hz;
}

/* The program ---------------------------------------------------------------------------------------- */

static void open_pty(machine *m, const char *link_path)
{
    struct termios raw;
    m->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (m->fd < 0 || grantpt(m->fd) != 0 || unlockpt(m->fd) != 0) {
        die("a pty");
    }
    const char *const path = ptsname(m->fd);
    const int near_end = open(path, O_RDWR | O_NOCTTY); /* stays open, so that the host may come and go */
    if (near_end < 0 || tcgetattr(near_end, &raw) != 0) {
        die(path);
    }
    cfmakeraw(&raw);
    (void)tcsetattr(near_end, TCSANOW, &raw);
    if (link_path != NULL) {
        (void)unlink(link_path);
        if (symlink(path, link_path) != 0) {
            die(link_path);
        }
    }
    (void)printf("port %s\n", path);
    (void)fflush(stdout);
}

static void run_until_reset(machine *m, const fwb_setup *setup)
{
    static fwb_board board;
    m->start_ns = now_ns(m);
    m->first_s = 0.0;
    m->taken = 0U;
    m->rate_hz = (double)setup->rate_hz;
    if (!fwb_begin(&board, setup, 0U)) {
        (void)fputs("the setup does not fit its buffers\n", stderr);
        exit(EXIT_FAILURE);
    }
    while (reset_pressed == 0) {
        struct pollfd line = {.fd = m->fd, .events = (short)(POLLIN | ((m->unsent_size > 0U) ? POLLOUT : 0))};
        uint8_t bytes[256];
        (void)poll(&line, 1, POLL_MS);
        const ssize_t size = read(m->fd, bytes, sizeof bytes);
        if (size > 0) {
            fwb_receive(&board, bytes, (uint16_t)size, micros(elapsed_s(m)));
        }
        if (m->unsent_size > 0U) {
            flush_unsent(m);
        }
        take_samples(m, &board);
        fwb_step(&board, micros(elapsed_s(m)));
    }
    reset_pressed = 0;
    m->unsent_size = 0U; /* a reset takes the UART's buffer along */
}

int main(int argc, char **argv)
{
    static const fwb_channel CHANNELS[] = {
        {"temperature", "Cel", FWB_TYPE_INT16, SCALE},
        {"current", "A", FWB_TYPE_INT16, SCALE},
    };
    static const fwb_output OUTPUTS[] = {{"relay", 0.0F, 0.0F, 1.0F, 60000U}};
    static uint8_t tx[FWB_MAX_TO_HOST_BYTES], batch[800];
    static machine m = {.speed = 1.0};
    fwb_setup setup = {
        .firmware = "host-motor", .firmware_version = "1.0.0", .build_id = FWB_BUILD_ID, .unique_id = "host-0001",
        .channels = CHANNELS, .channel_count = 2U, .outputs = OUTPUTS, .output_count = 1U,
        .failsafe_ms = 2000U, .receive_bytes = 4096U, .rate_hz = 100.0F, .max_rate_hz = MAX_RATE_HZ,
        .tx = tx, .tx_size = sizeof tx, .batch = batch, .batch_size = sizeof batch,
        .io = &m, .send = send, .drive = drive, .set_rate = set_rate,
    };
    const char *link_path = NULL;
    for (int i = 1; i < argc; i += 2) {
        unsigned long long origin_ns = 0U;
        int parsed = 0;
        if (i + 1 < argc && strcmp(argv[i], "--link") == 0) {
            link_path = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--rate") == 0) {
            setup.rate_hz = strtof(argv[i + 1], NULL);
        } else if (i + 1 < argc && strcmp(argv[i], "--failsafe") == 0) {
            setup.failsafe_ms = (uint16_t)strtoul(argv[i + 1], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--clock") == 0
                   && sscanf(argv[i + 1], "%lf@%llu%n", &m.speed, &origin_ns, &parsed) == 2) {
            m.origin_ns = origin_ns;
            m.held = argv[i + 1][parsed] == ':' ? shared(&argv[i + 1][parsed + 1]) : NULL;
        } else {
            (void)fprintf(stderr,
                          "usage: %s [--link PATH] [--rate HZ] [--failsafe MS] [--clock SPEED@ORIGIN_NS[:FILE]]\n",
                          argv[0]);
            return 2;
        }
    }
    (void)signal(SIGUSR1, press_reset);
    open_pty(&m, link_path);
    for (;;) {
        run_until_reset(&m, &setup);
    }
}
