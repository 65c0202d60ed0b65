/* As large as a board's state without its receive buffer; the tx and batch buffers are the caller's anyway. */
#include "fwb_board.h"

uint8_t ram[sizeof(fwb_board) - FWB_MAX_TO_BOARD_BYTES];
