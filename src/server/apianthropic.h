/* Anthropic's messages. */
#pragma once

#include "server/apiendpoint.h"

/* A flag of calls: the reply says that nothing of the context was cleared. */
#define SL_APIANTHROPIC_CONTEXT 1u

struct sl_apilist sl_apianthropic_list(void);

/* How their replies are written (apianthropicvoice.c). */
extern const struct sl_apivoice sl_apianthropic_voice;
