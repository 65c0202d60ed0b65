/* `open` and `open64` of a library for LD_PRELOAD. Before it is included: OURS_IN, the environment variable with the
 * path that is not opened but connected, and CONNECT, the function that does so and returns a descriptor or -1. */
static int open_any(const char *real_name, const char *path, int flags, va_list args)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, real_name);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    const char *wanted = getenv(OURS_IN);
    if (wanted && path && strcmp(path, wanted) == 0)
        return CONNECT();
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_any("open", path, flags, args);
    va_end(args);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int fd = open_any("open64", path, flags, args);
    va_end(args);
    return fd;
}
