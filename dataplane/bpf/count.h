/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Per-CPU counters of frames, and the verdict that a reason stands for. */
#ifndef HALFPIPE_COUNT_H
#define HALFPIPE_COUNT_H

#include <linux/pkt_cls.h>

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

/* One buffer may stand for several frames that the kernel merged (GRO); each had headers of its own. */
static __always_inline struct counter frames(struct __sk_buff *skb, const struct packet *packet)
{
	struct counter seen = {.packets = 1, .bytes = skb->len};
	__u32 segments = skb->gso_segs, header;
	__u8 tcp_length;

	if (segments > 1) {
		header = packet->transport + 8;
		if (packet->key.protocol == IPPROTO_TCP && !bpf_skb_load_bytes(skb, packet->transport + 12, &tcp_length, 1))
			header = packet->transport + (tcp_length >> 4) * 4;
		seen.packets = segments;
		seen.bytes += (__u64)(segments - 1) * header;
	}
	return seen;
}

static __always_inline int verdict(enum reason reason)
{
	if (reason <= REASON_PING_ANSWERED)
		return TC_ACT_REDIRECT;
	return reason <= REASON_PASS_MALFORMED ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* The exit of everything but forwarding. Not inlined: forwarding jumps over it, and its type keeps enum reason in
 * the object's BTF, where the layout test reads it. */
static __noinline int finish(struct __sk_buff *skb, enum reason reason)
{
	struct counter seen = {.packets = 1, .bytes = skb->len};

	count(&reasons, reason, &seen);
	return verdict(reason);
}

#endif
