/* A webcam of the kernel that is not there, for LD_PRELOAD.
 *
 * open("/dev/videoN") gives a connection to the simulator whose Unix socket EDGEAGENT_CAMERA_SOCKET names:
 *   -> a byte for each buffer that is queued
 *   <- for a queued buffer a picture: time in us u64, its number u32, length u32, the bytes
 * The end of the connection is the end of the camera. All else of the process is left alone. Structures and numbers are
 * those of linux/videodev2.h; only what linuxpy and the agent use is answered.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFERS 8
#define BUFFER_BYTES (1u << 20)
#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

typedef void *(*mmap_type)(void *, size_t, int, int, int, off_t);

static struct {
    int fd, memory;
    char *bytes;
    uint32_t width, height, format, requested, queue[BUFFERS], queued;
} camera = {.fd = -1};

static int fail(int error)
{
    errno = error;
    return -1;
}

static int all(void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t more = recv(camera.fd, (char *)data + done, n - done, 0);
        if (more <= 0)
            return 0;
        done += (size_t)more;
    }
    return 1;
}

static int connect_camera(void)
{
    const char *path = getenv("EDGEAGENT_CAMERA_SOCKET"), *format = getenv("EDGEAGENT_CAMERA_FORMAT");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (path)
        strncpy(name.sun_path, path, sizeof name.sun_path - 1);
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof name)) {
        close(fd);
        return fail(ENOENT);
    }
    camera.memory = memfd_create("pictures", MFD_CLOEXEC);
    if (ftruncate(camera.memory, BUFFERS * BUFFER_BYTES))
        return fail(ENOMEM);
    camera.bytes = REAL("mmap", mmap_type)(NULL, BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                                           camera.memory, 0);
    camera.format = format ? v4l2_fourcc(format[0], format[1], format[2], format[3]) : V4L2_PIX_FMT_MJPEG;
    camera.queued = camera.requested = 0;
    camera.fd = fd;
    return fd;
}

static int capabilities(struct v4l2_capability *known)
{
    strcpy((char *)known->driver, "uvcvideo");
    strcpy((char *)known->card, "a webcam that is not there");
    known->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    known->capabilities = known->device_caps | V4L2_CAP_DEVICE_CAPS;
    return 0;
}

static int format(struct v4l2_format *asked, int setting)
{
    if (setting) {
        camera.width = asked->fmt.pix.width;
        camera.height = asked->fmt.pix.height;
    }
    asked->fmt.pix.width = camera.width;
    asked->fmt.pix.height = camera.height;
    asked->fmt.pix.pixelformat = camera.format; /* a driver gives what it has, not what it is asked for */
    asked->fmt.pix.bytesperline = camera.format == V4L2_PIX_FMT_YUYV ? 2 * camera.width : 0;
    asked->fmt.pix.sizeimage = BUFFER_BYTES;
    return 0;
}

static int describe(struct v4l2_buffer *buffer)
{
    if (buffer->index >= camera.requested)
        return fail(EINVAL);
    buffer->length = BUFFER_BYTES;
    buffer->m.offset = buffer->index * BUFFER_BYTES;
    return 0;
}

static int enqueue(struct v4l2_buffer *buffer)
{
    if (send(camera.fd, "q", 1, MSG_NOSIGNAL) != 1)
        return fail(ENODEV);
    camera.queue[camera.queued++] = buffer->index;
    return 0;
}

static int dequeue(struct v4l2_buffer *buffer)
{
    struct { uint64_t us; uint32_t number, length; } head;
    if (!all(&head, sizeof head) || head.length > BUFFER_BYTES || camera.queued == 0)
        return fail(ENODEV);
    buffer->index = camera.queue[0];
    memmove(camera.queue, camera.queue + 1, --camera.queued * sizeof camera.queue[0]);
    if (!all(camera.bytes + buffer->index * BUFFER_BYTES, head.length))
        return fail(ENODEV);
    buffer->bytesused = head.length;
    buffer->sequence = head.number;
    buffer->timestamp.tv_sec = (time_t)(head.us / 1000000);
    buffer->timestamp.tv_usec = (suseconds_t)(head.us % 1000000);
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    return 0;
}

static int answer(uint32_t request, void *argument)
{
    switch (request) {
    case (uint32_t)VIDIOC_QUERYCAP:
        return capabilities(argument);
    case (uint32_t)VIDIOC_S_FMT:
        return format(argument, 1);
    case (uint32_t)VIDIOC_G_FMT:
        return format(argument, 0);
    case (uint32_t)VIDIOC_REQBUFS:
        camera.requested = ((struct v4l2_requestbuffers *)argument)->count;
        return camera.requested > BUFFERS ? fail(ENOMEM) : 0;
    case (uint32_t)VIDIOC_QUERYBUF:
        return describe(argument);
    case (uint32_t)VIDIOC_QBUF:
        return enqueue(argument);
    case (uint32_t)VIDIOC_DQBUF:
        return dequeue(argument);
    case (uint32_t)VIDIOC_STREAMON:
    case (uint32_t)VIDIOC_STREAMOFF:
        return 0;
    default:
        return fail(EINVAL); /* as a driver does at the end of each of its lists */
    }
}

#define OURS_IN "EDGEAGENT_CAMERA"
#define CONNECT connect_camera
#include "opens.h"

int ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (camera.fd >= 0 && fd == camera.fd && _IOC_TYPE(request) == 'V')
        return answer((uint32_t)request, argument);
    return REAL("ioctl", int (*)(int, unsigned long, ...))(fd, request, argument);
}

void *mmap(void *where, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (camera.fd >= 0 && fd == camera.fd)
        fd = camera.memory;
    return REAL("mmap", mmap_type)(where, length, protection, flags, fd, offset);
}

void *mmap64(void *where, size_t length, int protection, int flags, int fd, off64_t offset)
{
    return mmap(where, length, protection, flags, fd, offset);
}

int close(int fd)
{
    if (fd == camera.fd)
        camera.fd = -1;
    return REAL("close", int (*)(int))(fd);
}
