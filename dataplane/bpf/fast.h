/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The common case in the fewest steps: a whole TCP or UDP packet by plain IPv4 to a vserver that this CPU remembers, whose
 * choice follows from the packet alone or is remembered too. Nothing is written but counters and MAC addresses, and
 * nothing is decided differently: whatever is the least bit unusual is left to forward.h, which begins anew. */
#ifndef HALFPIPE_FAST_H
#define HALFPIPE_FAST_H

#include <linux/if_ether.h>
#include <linux/ip.h>

#include "context.h"
#include "count.h"
#include "find.h"
#include "flow.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "send.h"

#define UNDECIDED 100			/* no verdict of tc or XDP */
#define PLAIN_IPV4 0x45			/* version 4, five words of header: no options */

/* The service of a flow that goes on, by the rules of recall() in flow.h, or NULL: not that simple. */
static __always_inline struct service_value *going_on(void *data_end, const struct iphdr *ip, const __be16 *ports,
						      const struct recent *recent, __u32 *index)
{
	struct service_value *service;
	/* Words: a word that was stored in halves is slow to load */
	struct {
		__u64 addresses;
		__u32 ports;
		__u32 protocol;
	} key = {ip->saddr | (__u64)ip->daddr << 32, *(const __u32 *)ports, ip->protocol};
	struct flow *flow;
	__u64 now, age;

	_Static_assert(sizeof(key) == sizeof(struct flow_key), "the same key by words");

	if (ip->protocol == IPPROTO_TCP) {
		__u8 *tcp = (__u8 *)ports;

		if ((void *)(tcp + TCP_FLAGS_OFFSET + 1) > data_end ||
		    tcp[TCP_FLAGS_OFFSET] & (TCP_FIN | TCP_SYN | TCP_RST))
			return 0;
	}
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || flow->closing || flow->vserver != recent->value.config_id)
		return 0;
	now = bpf_ktime_get_coarse_ns();
	age = now - flow->seen;
	if (age > recent->idle_timeout)
		return 0;
	*index = flow->service;
	service = bpf_map_lookup_elem(&services, index);
	if (!service || service->config_id != flow->config_id || service->flags & SERVICE_CLOSED)
		return 0;
	if (age > SECOND)
		flow->seen = now;
	return service;
}

static __always_inline int forward_plain_ipv4(context_t *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__be16 *ports = (void *)(ip + 1);
	__u32 zero = 0, length = frame_length(ctx), total, index, slot, vserver_id;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);
	struct counter seen = {.packets = 1, .bytes = length};
	struct service_value *service;
	struct recent *recent;
	struct ring *ring;
	int done, begins = 0;
	void *inner;

	/* While somebody listens to samples, see events.h, frames go the way where they are told of */
	if ((void *)(ports + 2) > data_end || !setting || setting->sampled)
		return UNDECIDED;
	total = bpf_ntohs(ip->tot_len);
	if (*(__u8 *)ip != PLAIN_IPV4 || ip->frag_off & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS) ||
	    (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP) || merged_frames(ctx) > 1 ||
	    total < sizeof(*ip) + 2 * sizeof(*ports) || sizeof(struct ethhdr) + total > length)
		return UNDECIDED;
	recent = recent_ipv4(ctx, data, ip->daddr, ports[1], ip->protocol);
	if (!recent || is_tapped(recent->value.config_id))
		return UNDECIDED;
	vserver_id = recent->value.vserver_id;
	if (recent->value.flags) {
		if (recent->value.flags != VSERVER_SESSIONS)
			return UNDECIDED;
		service = going_on(data_end, ip, ports, recent, &index);
		if (!service)
			return UNDECIDED;
	} else {
		inner = bpf_map_lookup_elem(&rings, &vserver_id);
		ring = inner ? bpf_map_lookup_elem(inner, &zero) : 0;
		if (!ring)
			return UNDECIDED;
		slot = ring_slot_ipv4(setting, &recent->value, ip->saddr, ip->daddr, ports[0]);
		/* Keeps the compiler, which knows the bound, from leaving out the test that the verifier needs */
		asm volatile("" : "+r"(slot));
		if (slot >= RING_SLOTS)
			return UNDECIDED;
		index = ring->slot[slot];
		if (!index)
			return UNDECIDED;
		service = bpf_map_lookup_elem(&services, &index);
		if (ip->protocol == IPPROTO_TCP) {
			__u8 *tcp = (__u8 *)ports + TCP_FLAGS_OFFSET;

			if ((void *)(tcp + 1) > data_end)
				return UNDECIDED;
			begins = (*tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
		}
	}
	done = send_to(ctx, data, recent->settings, vserver_id, index, service, &seen, 1);
	if (begins && done != verdict(REASON_DROP_TABLE))
		note_flow(vserver_id, index);
	return done;
}

#endif
