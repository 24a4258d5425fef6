/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Per-CPU counters of frames. */
#ifndef HALFPIPE_COUNT_H
#define HALFPIPE_COUNT_H

#include "context.h"
#include "maps.h"
#include "parse.h"

static __always_inline void count(void *map, __u32 index, const struct counter *seen)
{
	struct counter *counter = bpf_map_lookup_elem(map, &index);

	if (counter) {
		counter->packets += seen->packets;
		counter->bytes += seen->bytes;
	}
}

/* Count a flow that began, of a frame that was forwarded: one that is remembered from now on, or, where nobody keeps
 * flows, a TCP connection (a SYN without ACK). Not static: the verifier looks at it once. */
__noinline int note_flow(__u32 vserver_id, __u32 index)
{
	__u64 *begun = bpf_map_lookup_elem(&vserver_begun, &vserver_id);

	if (begun)
		(*begun)++;
	begun = bpf_map_lookup_elem(&service_begun, &index);
	if (begun)
		(*begun)++;
	return 0;
}

/* One buffer may stand for several frames that the kernel merged (GRO); each had headers of its own. */
static __always_inline struct counter frames(context_t *ctx, const struct packet *packet)
{
	struct counter seen = {.packets = 1, .bytes = frame_length(ctx)};
	__u32 segments = merged_frames(ctx), header;
	__u8 tcp_length;

	if (segments > 1) {
		header = packet->transport + 8;
		if (packet->key.protocol == IPPROTO_TCP && !load_bytes(ctx, packet->transport + 12, &tcp_length, 1))
			header = packet->transport + (tcp_length >> 4) * 4;
		seen.packets = segments;
		seen.bytes += (__u64)(segments - 1) * header;
	}
	return seen;
}

/* The exit of everything but forwarding. Not inlined: forwarding jumps over it, and its type keeps enum reason in
 * the object's BTF, where the layout test reads it. */
static __noinline int finish(context_t *ctx, enum reason reason)
{
	struct counter seen = {.packets = 1, .bytes = frame_length(ctx)};

#ifdef HALFPIPE_XDP
	/* tc counts what is passed on to it */
	if (reason <= REASON_PASS_MALFORMED)
		return verdict(reason);
#endif
	count(&reasons, reason, &seen);
	return verdict(reason);
}

#endif
