/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The core of both programs: from a parsed packet to the server that gets it. */
#ifndef HALFPIPE_FORWARD_H
#define HALFPIPE_FORWARD_H

#include <linux/if_ether.h>

#include "count.h"
#include "events.h"
#include "find.h"
#include "flow.h"
#include "hash.h"
#include "maps.h"
#include "parse.h"
#include "reject.h"
#include "send.h"
#include "types.h"
#ifndef HALFPIPE_XDP
#include "icmp.h"
#include "probe.h"
#endif

/* Does this packet begin a flow? choose() has said so, or nobody keeps flows and it is a SYN. */
static __always_inline int begins_flow(const struct packet *packet, __u32 known)
{
	return known & CHOSEN_NEW || (!(known & CHOSEN_OLD) && (packet->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN);
}

/* To this service, if the frame holds what it must; `known`: what choose() says of its flow. */
static __always_inline int send_packet(context_t *ctx, const struct packet *packet, const struct settings *setting,
				       __u32 vserver_id, __u32 index, __u32 known, int ipv4)
{
	void *data = (void *)(long)ctx->data;
	struct counter seen = frames(ctx, packet);
	struct service_value *service = bpf_map_lookup_elem(&services, &index);
	int done;

	if (data + IPV4_TTL + 1 > (void *)(long)ctx->data_end)
		return finish_for(ctx, vserver_id, REASON_DROP_TABLE);
	if (setting->sampled)
		note_arrival(data);
	done = send_to(ctx, data, setting->flags, vserver_id, index, service, &seen, ipv4);
	if (begins_flow(packet, known) && done != verdict(REASON_DROP_TABLE))
		note_flow(vserver_id, index);
	if (setting->sampled && service && done != verdict(REASON_DROP_TABLE))
		tell(ctx, vserver_id, service->config_id, REASON_FORWARDED, known);
	return done;
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
		return finish_for(ctx, vserver_id, REASON_DROP_TABLE);
	ring = bpf_map_lookup_elem(inner, &zero);
	if (!ring)
		return finish_for(ctx, vserver_id, REASON_DROP_TABLE);
	if (vserver->flags || packet->flags & PACKET_FRAGMENT) {
		chosen = ipv4 ? choose_ipv4(packet, vserver, ring) : choose_ipv6(packet, vserver, ring);
		if (chosen == -REASON_DROP_NO_SERVICE)
			return finish_for(ctx, vserver_id, no_service(ctx, packet, vserver_id, ipv4));
		if (chosen <= 0)
			return finish_for(ctx, vserver_id, -chosen);
		if ((packet->flags & (PACKET_FRAGMENT | PACKET_LATER | PACKET_QUOTED)) == PACKET_FRAGMENT)
			remember_fragment(packet, vserver_id, chosen & CHOSEN_INDEX, ipv4);
		return send_packet(ctx, packet, setting, vserver_id, chosen & CHOSEN_INDEX, chosen & ~CHOSEN_INDEX,
				   ipv4);
	}
	slot = ring_slot(setting, vserver, packet, ipv4);
	/* Keeps the compiler, which knows the bound, from leaving out the test that the verifier needs */
	asm volatile("" : "+r"(slot));
	if (slot >= RING_SLOTS)
		return finish_for(ctx, vserver_id, REASON_DROP_TABLE);
	index = ring->slot[slot];
	if (!index)
		return finish_for(ctx, vserver_id, no_service(ctx, packet, vserver_id, ipv4));
	return send_packet(ctx, packet, setting, vserver_id, index, 0, ipv4);
}

/* A fragment without ports: where its first one went. */
static __always_inline int follow_first(context_t *ctx, const struct packet *packet, __u32 vserver_id,
					__u32 index, int ipv4)
{
	__u32 zero = 0;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	if (!setting)
		return finish_for(ctx, vserver_id, REASON_DROP_TABLE);
	return send_packet(ctx, packet, setting, vserver_id, index, 0, ipv4);
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
	struct vserver_value *vserver, found = {};
	enum reason reason;
	struct vip_value *vip;

	if (recent && is_recent(ctx, recent, packet, number)) {
		vserver = &recent->value;
		goto found;
	}
	vip = bpf_map_lookup_elem(&vips, &packet->key.address);
	if (!vip)
		return handle_others(ctx, packet, ipv4);
	if (packet->flags & PACKET_BROKEN)
		return finish_for(ctx, 0, REASON_DROP_MALFORMED);
	flags = vip->flags;
	if (packet->key.protocol == (ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) && !(packet->flags & PACKET_LATER)) {
#ifdef HALFPIPE_XDP
		return XDP_PASS;
#else
		reason = ipv4 ? handle_icmp_ipv4(ctx, packet, flags) : handle_icmp_ipv6(ctx, packet, flags);
		if (reason != REASON_FORWARDED)
			return finish_for(ctx, 0, reason);
#endif
	}
	if (packet->flags & PACKET_LATER && !(packet->flags & PACKET_QUOTED) &&
	    recall_fragment(packet, ipv4, &vserver_id, &index)) {
		if (is_tapped(0))
			return XDP_PASS;
		return follow_first(ctx, packet, vserver_id, index, ipv4);
	}
	vserver = find_vserver(packet, flags, &found) ? &found : 0;
	if (vserver && packet->flags & PACKET_LATER && needs_first_fragment(vserver))
		return finish_for(ctx, vserver->vserver_id, REASON_DROP_FRAGMENT);
	if (!vserver) {
		reason = REASON_DROP_NO_VSERVER;
		if (packet->flags & PACKET_LATER && flags & VIP_BY_PORT)
			reason = REASON_DROP_FRAGMENT;
		return finish_for(ctx, 0, reason);
	}
	if (recent)
		remember(ctx, recent, packet, vserver, number);
found:
	if (is_tapped(vserver->config_id))
		return XDP_PASS;
	return forward(ctx, packet, vserver, ipv4);
}

#endif
