/* service.c: start, clock and drain of a loop's service. */
#include "service.h"

#include "counters.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

int service_start(struct service *service, const struct options *options)
{
    memset(service, 0, sizeof *service);
    service->options = options;
    loop_clock_update(&service->clock);
    timeouts_init(&service->timeouts);
    service->timeouts.duration_ms[TIMEOUT_HEADER] = options->header_timeout_ms;
    service->timeouts.duration_ms[TIMEOUT_IDLE] = options->idle_timeout_ms;
    service->timeouts.duration_ms[TIMEOUT_SEND] = options->idle_timeout_ms;
    service->timeouts.duration_ms[TIMEOUT_LINGER] = LINGER_MS;
    if (options->work_us > 0 || options->slow_us > 0)
        work_calibrate(&service->work);
    /* Descriptors are given out lowest first, so none lies above all that may be open at one time. */
    size_t descriptors = options->max_connections + options->max_open_files + DESCRIPTORS_OWN + DESCRIPTORS_INHERITED;
    service->max_descriptor = (int)descriptors - 1;
    service->connections = calloc(descriptors, sizeof *service->connections);
    if (service->connections == NULL)
        return -1;
    return files_start(&service->files, options->root, options->file_cache_bytes, (unsigned)options->max_open_files);
}

bool service_goes_on(struct service *service, struct listening *listening)
{
    loop_clock_update(&service->clock);
    if (!process_stopping())
        return true;
    if (!service->draining) {
        service->draining = true;
        service->drained_ms = service->clock.now_ms + DRAIN_MS;
        listening_stop(listening);
    }
    return counter_value(connections_open) > 0 && service->clock.now_ms < service->drained_ms;
}

int service_wait_ms(const struct service *service, const struct listening *listening)
{
    int limit_ms = service->draining || listening->paused ? ACCEPT_PAUSE_MS : GETEVENTS_MS;
    return timeouts_wait_ms(&service->timeouts, service->clock.now_ms, limit_ms);
}

void service_stop(struct service *service)
{
    for (int socket = 0; socket <= service->max_descriptor; socket++)
        if (connection_is_open(&service->connections[socket]))
            connection_close(&service->connections[socket]);
    files_stop(&service->files);
    free(service->connections);
}
