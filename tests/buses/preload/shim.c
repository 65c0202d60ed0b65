/* An I2C bus of the kernel that is not there, for LD_PRELOAD.
 *
 * open("/dev/i2c-N") gives a connection to the simulator whose Unix socket EDGEAGENT_I2C_SOCKET names; each transaction
 * is one exchange on it:   -> address u16, bytes to write u16, bytes to read u16, the bytes
 *                          <- errno u32 (0: done), the bytes that were read
 * All else of the process is left alone. Only what smbus2, i2c-tools and the agent use is answered.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST_FDS 1024
#define FUNCS (I2C_FUNC_I2C | I2C_FUNC_SMBUS_QUICK | I2C_FUNC_SMBUS_BYTE | I2C_FUNC_SMBUS_BYTE_DATA \
               | I2C_FUNC_SMBUS_WORD_DATA | I2C_FUNC_SMBUS_I2C_BLOCK)

static struct { int ours; uint16_t address; } bus[MOST_FDS];

static int is_bus(int fd) { return fd >= 0 && fd < MOST_FDS && bus[fd].ours; }

static int all(int fd, void *data, size_t n, int sending)
{
    for (size_t done = 0; done < n;) {
        ssize_t more = sending ? send(fd, (char *)data + done, n - done, MSG_NOSIGNAL)
                               : recv(fd, (char *)data + done, n - done, 0);
        if (more <= 0)
            return 0;
        done += (size_t)more;
    }
    return 1;
}

static int transfer(int fd, uint16_t address, void *out, uint16_t n_out, void *in, uint16_t n_in)
{
    uint16_t head[3] = {address, n_out, n_in};
    uint32_t error;
    if (!all(fd, head, sizeof head, 1) || !all(fd, out, n_out, 1) || !all(fd, &error, sizeof error, 0))
        error = ENODEV;
    else if (error == 0 && !all(fd, in, n_in, 0))
        error = ENODEV;
    errno = (int)error;
    return error ? -1 : 0;
}

static int rdwr(int fd, struct i2c_rdwr_ioctl_data *data)
{
    struct i2c_msg *first = &data->msgs[0], *last = &data->msgs[data->nmsgs - 1];
    if (data->nmsgs == 1 && first->flags & I2C_M_RD)
        return transfer(fd, first->addr, NULL, 0, first->buf, first->len) ? -1 : 1;
    if (data->nmsgs == 1)
        return transfer(fd, first->addr, first->buf, first->len, NULL, 0) ? -1 : 1;
    if (data->nmsgs == 2 && !(first->flags & I2C_M_RD) && last->flags & I2C_M_RD && first->addr == last->addr)
        return transfer(fd, first->addr, first->buf, first->len, last->buf, last->len) ? -1 : 2;
    errno = EOPNOTSUPP;
    return -1;
}

static int smbus(int fd, struct i2c_smbus_ioctl_data *args)
{
    uint8_t out[I2C_SMBUS_BLOCK_MAX + 1] = {args->command};
    uint8_t *data = args->data ? args->data->block : NULL; /* byte and word lie where the block begins */
    int reading = args->read_write == I2C_SMBUS_READ;
    uint16_t address = bus[fd].address, n;
    switch (args->size) {
    case I2C_SMBUS_QUICK:
        return transfer(fd, address, NULL, 0, NULL, 0);
    case I2C_SMBUS_BYTE:
        return reading ? transfer(fd, address, NULL, 0, data, 1) : transfer(fd, address, out, 1, NULL, 0);
    case I2C_SMBUS_BYTE_DATA:
        n = 1;
        break;
    case I2C_SMBUS_WORD_DATA:
        n = 2;
        break;
    case I2C_SMBUS_I2C_BLOCK_DATA:
        n = data[0];
        data++;
        break;
    default:
        errno = EOPNOTSUPP;
        return -1;
    }
    if (reading)
        return transfer(fd, address, out, 1, data, n);
    memcpy(out + 1, data, n);
    return transfer(fd, address, out, (uint16_t)(n + 1), NULL, 0);
}

static int connect_bus(void)
{
    const char *path = getenv("EDGEAGENT_I2C_SOCKET");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (path)
        strncpy(name.sun_path, path, sizeof name.sun_path - 1);
    if (fd < 0 || fd >= MOST_FDS || connect(fd, (struct sockaddr *)&name, sizeof name)) {
        errno = ENOENT;
        return -1;
    }
    bus[fd].ours = 1;
    return fd;
}

#define OURS_IN "EDGEAGENT_I2C_BUS"
#define CONNECT connect_bus
#include "opens.h"

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (!is_bus(fd)) {
        int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
        return real(fd, request, argument);
    }
    switch (request) {
    case I2C_FUNCS:
        *(unsigned long *)argument = FUNCS;
        return 0;
    case I2C_SLAVE:
    case I2C_SLAVE_FORCE:
        bus[fd].address = (uint16_t)(uintptr_t)argument;
        return 0;
    case I2C_RDWR:
        return rdwr(fd, argument);
    case I2C_SMBUS:
        return smbus(fd, argument);
    case I2C_TIMEOUT:
    case I2C_RETRIES:
        return 0;
    default:
        errno = ENOTTY;
        return -1;
    }
}

int close(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (is_bus(fd))
        bus[fd].ours = 0;
    return real(fd);
}
