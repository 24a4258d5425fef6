/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The core of both programs: from a parsed packet to the server that gets it. */
#ifndef HALFPIPE_FORWARD_H
#define HALFPIPE_FORWARD_H

#include <linux/if_ether.h>

#include "count.h"
#include "find.h"
#include "flow.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "reject.h"
#include "types.h"
#ifndef HALFPIPE_XDP
#include "icmp.h"
#include "probe.h"
#endif

/* Does the frame come from where it would go, or from this director? Then somebody sends it back to us: a server that
 * is a director itself, or a bridge loop. Six octets of source MAC begin in the middle of the second word. */
static __always_inline int is_loop(const __u32 *eth, const __u32 *macs)
{
	__u32 high = eth[1] >> 16 | eth[2] << 16, low = eth[2] >> 16;

	return !((high ^ macs[0]) | (low ^ (macs[1] & 0xffff))) ||	/* from the server */
	       !((eth[1] ^ macs[1]) >> 16 | (eth[2] ^ macs[2])) ||	/* from our egress interface */
	       !((high ^ eth[0]) | (low ^ (eth[1] & 0xffff)));		/* from our ingress interface */
}

/* To this service. Counts and returns the verdict. */
static __always_inline int send_to(context_t *ctx, const struct packet *packet, const struct settings *setting,
				   __u32 vserver_id, __u32 index, int ipv4)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct counter seen = frames(ctx, packet);
	struct service_value *service = bpf_map_lookup_elem(&services, &index);
	__u32 *macs, *eth = data;

	if (!service || !service->config_id || data + IPV4_TTL + 1 > data_end)
		return finish(ctx, REASON_DROP_TABLE);
	/* mac and source_mac lie side by side as the Ethernet header has them: three words */
	macs = (__u32 *)service->mac;
	if (macs[0] == (macs[1] >> 16 | macs[2] << 16) && (macs[1] & 0xffff) == macs[2] >> 16)
		return finish(ctx, REASON_DROP_OWN_MAC);
	if (is_loop(eth, macs))
		return finish(ctx, REASON_DROP_LOOP);
	if (setting->flags & SETTING_TTL && *((__u8 *)data + (ipv4 ? IPV4_TTL : IPV6_HOP_LIMIT)) <= 1)
		return finish(ctx, REASON_DROP_TTL);
	eth[0] = macs[0];
	eth[1] = macs[1];
	eth[2] = macs[2];
	count(&vserver_stats, vserver_id, &seen);
	count(&service_stats, index, &seen);
	count(&reasons, REASON_FORWARDED, &seen);
	return send_out(ctx, service->ifindex);
}

/* To the service that is remembered, or that the ring names. */
static __always_inline int forward(context_t *ctx, const struct packet *packet,
				   const struct vserver_value *vserver, int ipv4)
{
	__u32 zero = 0, slot, index, vserver_id = vserver->vserver_id;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);
	struct ring *ring;
	void *inner;
	__s32 chosen;

	inner = bpf_map_lookup_elem(&rings, &vserver_id);
	if (!setting || !inner)
		return finish(ctx, REASON_DROP_TABLE);
	ring = bpf_map_lookup_elem(inner, &zero);
	if (!ring)
		return finish(ctx, REASON_DROP_TABLE);
	if (vserver->flags || packet->flags & PACKET_FRAGMENT) {
		chosen = ipv4 ? choose_ipv4(ctx, packet, vserver, ring) : choose_ipv6(ctx, packet, vserver, ring);
		if (chosen == -REASON_DROP_NO_SERVICE)
			return no_service(ctx, packet, vserver_id, ipv4);
		if (chosen <= 0)
			return finish(ctx, -chosen);
		return send_to(ctx, packet, setting, vserver_id, chosen, ipv4);
	}
	slot = ring_slot(setting, vserver, packet, ipv4);
	/* Keeps the compiler, which knows the bound, from leaving out the test that the verifier needs */
	asm volatile("" : "+r"(slot));
	if (slot >= RING_SLOTS)
		return finish(ctx, REASON_DROP_TABLE);
	index = ring->slot[slot];
	if (!index)
		return no_service(ctx, packet, vserver_id, ipv4);
	return send_to(ctx, packet, setting, vserver_id, index, ipv4);
}

/* A fragment without ports: where its first one went. */
static __always_inline int follow_first(context_t *ctx, const struct packet *packet, __u32 vserver_id,
					__u32 index, int ipv4)
{
	__u32 zero = 0;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	if (!setting)
		return finish(ctx, REASON_DROP_TABLE);
	return send_to(ctx, packet, setting, vserver_id, index, ipv4);
}

/* Does a capture listen to this vserver? Only XDP needs to know: packet sockets hear the frames of tc. */
static __always_inline int is_tapped(const struct vserver_value *vserver)
{
#ifdef HALFPIPE_XDP
	__u32 zero = 0;
	struct tap *tap = bpf_map_lookup_elem(&taps, &zero);

	return tap && tap->until && (!tap->vserver || tap->vserver == vserver->config_id) &&
	       bpf_ktime_get_ns() < tap->until;
#else
	(void)vserver;
	return 0;
#endif
}

/* Not for a VIP, but perhaps the answer to a probe. */
static __always_inline int handle_others(context_t *ctx, const struct packet *packet, int ipv4)
{
#ifdef HALFPIPE_XDP
	(void)ctx;
	(void)packet;
	(void)ipv4;
	return XDP_PASS;
#else
	return finish(ctx, handle_answer(ctx, packet, ipv4));
#endif
}

static __always_inline int handle_ip(context_t *ctx, struct packet *packet, int ipv4)
{
	__u32 number = current_generation(), flags, vserver_id, index;
	struct recent *recent = recent_entry(packet);
	struct vserver_value *vserver;
	enum reason reason;
	struct vip_value *vip;

	if (recent && is_recent(recent, packet, number)) {
		vserver = &recent->value;
		goto found;
	}
	vip = bpf_map_lookup_elem(&vips, &packet->key.address);
	if (!vip)
		return handle_others(ctx, packet, ipv4);
	if (packet->flags & PACKET_BROKEN)
		return finish(ctx, REASON_DROP_MALFORMED);
	flags = vip->flags;
	if (packet->key.protocol == (ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) && !(packet->flags & PACKET_LATER)) {
#ifdef HALFPIPE_XDP
		return XDP_PASS;
#else
		reason = ipv4 ? handle_icmp_ipv4(ctx, packet, flags) : handle_icmp_ipv6(ctx, packet, flags);
		if (reason != REASON_FORWARDED)
			return finish(ctx, reason);
#endif
	}
	if (packet->flags & PACKET_LATER && !(packet->flags & PACKET_QUOTED) &&
	    recall_fragment(packet, ipv4, &vserver_id, &index))
		return follow_first(ctx, packet, vserver_id, index, ipv4);
	vserver = find_vserver(packet, flags);
	if (vserver && packet->flags & PACKET_LATER && needs_first_fragment(vserver))
		return finish(ctx, REASON_DROP_FRAGMENT);
	if (!vserver) {
		reason = REASON_DROP_NO_VSERVER;
		if (packet->flags & PACKET_LATER && flags & VIP_BY_PORT)
			reason = REASON_DROP_FRAGMENT;
		return finish(ctx, reason);
	}
	if (recent)
		remember(recent, packet, vserver, number);
found:
	if (is_tapped(vserver))
		return XDP_PASS;
	return forward(ctx, packet, vserver, ipv4);
}

#endif
