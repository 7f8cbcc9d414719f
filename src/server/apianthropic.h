/* Anthropic's messages. */
#pragma once

#include "server/apiendpoint.h"

struct sl_apilist sl_apianthropic_list(void);

/* How their replies are written (apianthropicvoice.c). */
extern const struct sl_apivoice sl_apianthropic_voice;
