/* lwip_headers.h: what is used of lwIP: the callback ("raw") interface of its TCP, the interface layer, the timers. Its
 * sockets are not: they need its thread. */
#ifndef NAI_LWIP_HEADERS_H
#define NAI_LWIP_HEADERS_H

#include <lwip/etharp.h>
#include <lwip/inet_chksum.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <lwip/priv/tcp_priv.h> /* tcp_active_pcbs, tcp_tw_pcbs */
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#endif
