/* bounds.h: every fixed size and time of the servers, in one place. (Not limits.h: that name is the C library's.) */
#ifndef NAI_BOUNDS_H
#define NAI_BOUNDS_H

/* HTTP */
#define HTTP_MAX_TARGET 4096           /* bytes of a request target; longer → 414 */
#define HTTP_MAX_METHOD 32             /* bytes of a method; longer → 501 */
#define HTTP_MAX_HEAD 8192             /* bytes of request line + fields; more → 431 */
#define HTTP_MAX_FIELDS 100            /* fields of a request; more → 431 */
#define HTTP_MAX_BODY (1 << 20)        /* bytes of a GET's body that are read and ignored; more → 413 */
#define REPLY_HEAD_BYTES 640           /* room for the head of any reply */

/* Connections */
#define INPUT_BYTES 16384              /* one read, shared by all connections; at least HTTP_MAX_HEAD + 1 */
#define DISCARD_BYTES 65536            /* thrown away per visit of a connection that is being closed */
#define LINGER_MS 2000                 /* a refused client has this long to read why */
#define DRAIN_MS 1000                  /* after SIGTERM replies may take this long */
#define GETEVENTS_MS 500               /* longest sleep: bounds the reaction to a signal that just missed the call */
#define WORK_BATCH 16                  /* connections taken off a queue of work at a time */

/* Processes */
#define WORKERS_MAX 64                 /* that share one port */

/* Listening */
#define ACCEPT_PAUSE_MS 100            /* accepting rests this long when a resource is exhausted and nothing closes */

/* Threads */
#define FIBER_STACK_BYTES 131072       /* of one thread; only the pages it touches exist. Multiples of any page */
#define FIBER_GUARD_BYTES 65536        /* below it; wider than a page, so that no large frame steps over it */
#define SIGNAL_STACK_BYTES 65536       /* where a fault is handled whose own stack is full */
#define SENDFILE_BYTES 262144          /* the most that one blocking sendfile is asked to send */
#define JANITOR_MS 20                  /* how late a time-out of kernel threads may be noticed */

/* io_uring */
#define RING_SUBMISSIONS 512           /* asked for before the kernel must be entered; a power of two, like the next two */
#define RING_COMPLETIONS 8192          /* taken in one turn; the kernel keeps what is beyond, at a price */
#define RING_BUFFERS 512               /* requests received in one turn; with more, receives are asked for anew */
#define RING_BUFFER_BYTES 2048         /* of one; most requests fit */
#define RING_ACCEPTS 1024              /* accepts armed at a time, whatever the accept limit */

/* Lazy I/O */
#define LAZY_OPERATIONS 2048           /* in progress at a time; with --network lazy one for each connection */
#define LAZY_EVENTS 256                /* sockets served in a turn */
#define LAZY_BEGUN 32                  /* replies whose first read is begun at a time: their memory would else be files' */
#define LAZY_LOOKED 4                  /* of those, looked at in a turn: between them come requests that need no disk */
#define LAZY_LOOKS 8                   /* at one of them, until it is waited for */
#define LAZY_INPUT_BYTES 4096          /* received at a time with --network lazy, where each connection has its own */
#define LAZY_CHUNK_BYTES 65536         /* read at a time; a file up to this size leaves in one call with its head */

/* Files */
#define FILES_MAX 2048                 /* files kept, in memory or open */
#define FILE_IN_MEMORY_BYTES 32768     /* up to this size a file is kept in memory, above it goes out by sendfile */
#define FILE_RECHECK_MS 1000           /* a kept file is compared with the file system this often */
#define FILE_FIELDS_BYTES 160          /* its Content-Type, Content-Length and Last-Modified */

/* Descriptors. Kept files get a quarter of the limit at most, so that files and connections cannot starve each other. */
#define DESCRIPTORS_OWN 16             /* standard streams, listener, epoll set, root, a file being opened */
#define DESCRIPTORS_INHERITED 64       /* what a parent may have left open; room for it in the tables */

#endif
