/* transport_address.c: addresses as words of a command line; alike for every transport. */
#include "transport.h"

#include <arpa/inet.h>
#include <string.h>

int tp_parse_address(const char *text, struct sockaddr_in *out)
{
    const char *colon = strrchr(text, ':');
    char host[INET_ADDRSTRLEN];
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return -1;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';

    unsigned port = 0;
    const char *digit = colon + 1;
    if (*digit == '\0' || strlen(digit) > 5)
        return -1;
    for (; *digit != '\0'; digit++) {
        if (*digit < '0' || *digit > '9')
            return -1;
        port = port * 10 + (unsigned)(*digit - '0');
    }
    memset(out, 0, sizeof *out);
    out->sin_family = AF_INET;
    out->sin_port = htons((uint16_t)port);
    return port <= UINT16_MAX && inet_pton(AF_INET, host, &out->sin_addr) == 1 ? 0 : -1;
}
