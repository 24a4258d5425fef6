/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Sizes of the tables. Each may be overridden at compile time with -DNAME=value. */
#ifndef HALFPIPE_LIMITS_H
#define HALFPIPE_LIMITS_H

/* Virtual servers of one director: NetScaler's mid-size appliances stop near this. */
#ifndef MAX_VSERVERS
#define MAX_VSERVERS 4096
#endif

/* Port prefixes of all ranges: a range needs up to 30, on the average of random ones 15. */
#ifndef MAX_PORT_PREFIXES
#define MAX_PORT_PREFIXES 16384
#endif

/* Distinct virtual IP addresses. */
#ifndef MAX_VIPS
#define MAX_VIPS 4096
#endif

/* Services; a ring slot is a __u16, so this cannot pass 65536. Index 0 means "no service". */
#ifndef MAX_SERVICES
#define MAX_SERVICES 16384
#endif

/* Probe addresses: one for each (VIP, server). */
#ifndef MAX_PROBES
#define MAX_PROBES 16384
#endif

/* Interfaces that the forwarder may be attached to. */
#ifndef MAX_INTERFACES
#define MAX_INTERFACES 256
#endif

/* 2^this look-ups that each CPU remembers, 52 bytes each. */
#ifndef RECENT_BITS
#define RECENT_BITS 10
#endif

/* Flows of probes, so that two probe addresses with one VIP and one MAC each get their answers. */
#ifndef MAX_PROBE_FLOWS
#define MAX_PROBE_FLOWS 16384
#endif

/* Who may listen to samples at the same time: the console by its worker, and commands in a shell. */
#ifndef MAX_SAMPLERS
#define MAX_SAMPLERS 4
#endif

/* Bytes of the ring buffer that one of them reads from, a power of two and whole pages. */
#ifndef EVENTS_SIZE
#define EVENTS_SIZE 131072
#endif

/* Bytes of a frame that an event keeps: the headers of TCP over IPv6 with some room. */
#ifndef EVENT_FRAME
#define EVENT_FRAME 96
#endif

/* Flows remembered; 130 bytes each with the table's own. Full, it forgets the one not used for longest. */
#ifndef MAX_FLOWS
#define MAX_FLOWS 262144
#endif

/* Flows of which one packet was seen, or SYNs only. */
#ifndef MAX_EMBRYOS
#define MAX_EMBRYOS 65536
#endif

/* Packets of which fragments may still come. */
#ifndef MAX_FRAGMENTS
#define MAX_FRAGMENTS 16384
#endif

/* Source networks whose SYNs are counted. */
#ifndef MAX_SYN_SOURCES
#define MAX_SYN_SOURCES 65536
#endif

/* (vserver, service) pairs whose flows drain or were flushed. */
#ifndef MAX_CLOSED
#define MAX_CLOSED 65536
#endif

/* Slots of a vserver's ring. A prime, as Maglev needs (Eisenbud et al., NSDI 2016, 3.4); 164 slots
 * a service at 100 services keep the imbalance near 1 %, and 2 bytes each keep a ring in 32 KiB. */
#ifndef RING_SLOTS
#define RING_SLOTS 16381
#endif

#endif
