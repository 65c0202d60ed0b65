/* From reset to main, and the two functions of string.h that the library asks for where there is no libc. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern uint32_t data_in_flash[], data_begin[], data_end[], bss_begin[], bss_end[];
void stack_top(void); /* an address that the linker script gives; nobody calls it */
int main(void);
void reset(void);

static void hang(void)
{
    for (;;) { /* the watchdog of a real board ends this */
    }
}

void reset(void)
{
    const uint32_t *from = data_in_flash;
    for (uint32_t *to = data_begin; to < data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = bss_begin; to < bss_end; to++) {
        *to = 0U;
    }
    (void)main();
    hang();
}

/* Stack, reset, NMI, hard fault, and what else the core may raise before any interrupt is enabled. */
__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    stack_top, reset, hang, hang, hang, hang, hang,
};

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *const t = to;
    const uint8_t *const f = from;
    for (size_t i = 0U; i < size; i++) {
        t[i] = f[i];
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *const t = to;
    for (size_t i = 0U; i < size; i++) {
        t[i] = (uint8_t)value;
    }
    return to;
}
