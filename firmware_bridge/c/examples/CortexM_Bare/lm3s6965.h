/* The few registers of an LM3S6965 that main.c needs, by the names of its datasheet. */
#ifndef LM3S6965_H
#define LM3S6965_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define CLOCK_HZ 12500000U /* out of reset, in QEMU: the 200 MHz PLL divided by 16 */

#define SYSCTL_RCGC1 REGISTER(0x400FE104U)
#define SYSCTL_RCGC1_UART0 (1U << 0)
#define SYSCTL_RCGC1_I2C0 (1U << 12)
#define SYSCTL_RCGC2 REGISTER(0x400FE108U)
#define SYSCTL_RCGC2_GPIOA (1U << 0)
#define SYSCTL_RCGC2_GPIOB (1U << 1)
#define SYSCTL_RCGC2_GPIOF (1U << 5)

#define SYST_CSR REGISTER(0xE000E010U)
#define SYST_CSR_ENABLE (1U << 0)
#define SYST_CSR_PROCESSOR_CLOCK (1U << 2)
#define SYST_RVR REGISTER(0xE000E014U)
#define SYST_CVR REGISTER(0xE000E018U)
#define SYST_MAX 0x0003FFFFU /* of 24 bits: QEMU keeps pace with its host's clock only where a timer ends, each 21 ms */

#define GPIOA_AFSEL REGISTER(0x40004420U)
#define GPIOA_DEN REGISTER(0x4000451CU)
#define GPIOB_AFSEL REGISTER(0x40005420U)
#define GPIOB_ODR REGISTER(0x4000550CU)
#define GPIOB_DEN REGISTER(0x4000551CU)
#define GPIOF_DATA_BIT0 REGISTER(0x40025004U) /* the address is the mask: bit 0 alone */
#define GPIOF_DIR REGISTER(0x40025400U)
#define GPIOF_DEN REGISTER(0x4002551CU)

#define UART0_DR REGISTER(0x4000C000U)
#define UART0_FR REGISTER(0x4000C018U)
#define UART0_FR_RXFE (1U << 4)
#define UART0_FR_TXFF (1U << 5)
#define UART0_IBRD REGISTER(0x4000C024U)
#define UART0_FBRD REGISTER(0x4000C028U)
#define UART0_LCRH REGISTER(0x4000C02CU)
#define UART0_LCRH_8_BITS_AND_FIFO 0x70U
#define UART0_CTL REGISTER(0x4000C030U)
#define UART0_CTL_ON 0x301U

#define I2C0_MSA REGISTER(0x40020000U)
#define I2C0_MSA_READ 1U
#define I2C0_MCS REGISTER(0x40020004U)
#define I2C0_MCS_RUN (1U << 0)
#define I2C0_MCS_START (1U << 1)
#define I2C0_MCS_STOP (1U << 2)
#define I2C0_MCS_ACK (1U << 3)
#define I2C0_MCS_BUSY (1U << 0)
#define I2C0_MCS_ERROR (1U << 1)
#define I2C0_MDR REGISTER(0x40020008U)
#define I2C0_MTPR REGISTER(0x4002000CU)
#define I2C0_MCR REGISTER(0x40020020U)
#define I2C0_MCR_MASTER (1U << 4)

#endif
