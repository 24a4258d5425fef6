/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The forwarder. hp_ingress (clsact ingress of each interface) sends a client's frame for a VIP to the MAC of one
 * server and leaves the IP packet alone, so the server, which holds the VIP too, answers the client directly.
 * hp_probe (clsact egress of the probe device) sends health probes the same way. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "arp.h"
#include "count.h"
#include "find.h"
#include "flow.h"
#include "hash.h"
#include "icmp.h"
#include "maps.h"
#include "nd.h"
#include "parse.h"
#include "probe.h"
#include "types.h"

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
static __always_inline int send_to(struct __sk_buff *skb, const struct packet *packet, const struct settings *setting,
				   __u32 vserver_id, __u32 index, int ipv4)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	struct counter seen = frames(skb, packet);
	struct service_value *service = bpf_map_lookup_elem(&services, &index);
	__u32 *macs, *eth = data;

	if (!service || !service->config_id || data + IPV4_TTL + 1 > data_end)
		return finish(skb, REASON_DROP_TABLE);
	/* mac and source_mac lie side by side as the Ethernet header has them: three words */
	macs = (__u32 *)service->mac;
	if (macs[0] == (macs[1] >> 16 | macs[2] << 16) && (macs[1] & 0xffff) == macs[2] >> 16)
		return finish(skb, REASON_DROP_OWN_MAC);
	if (is_loop(eth, macs))
		return finish(skb, REASON_DROP_LOOP);
	if (setting->flags & SETTING_TTL && *((__u8 *)data + (ipv4 ? IPV4_TTL : IPV6_HOP_LIMIT)) <= 1)
		return finish(skb, REASON_DROP_TTL);
	eth[0] = macs[0];
	eth[1] = macs[1];
	eth[2] = macs[2];
	count(&vserver_stats, vserver_id, &seen);
	count(&service_stats, index, &seen);
	count(&reasons, REASON_FORWARDED, &seen);
	return bpf_redirect(service->ifindex, 0);
}

/* To the service that is remembered, or that the ring names. */
static __always_inline int forward(struct __sk_buff *skb, const struct packet *packet,
				   const struct vserver_value *vserver, int ipv4)
{
	__u32 zero = 0, slot, index, vserver_id = vserver->vserver_id;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);
	struct ring *ring;
	void *inner;
	__s32 chosen;

	inner = bpf_map_lookup_elem(&rings, &vserver_id);
	if (!setting || !inner)
		return finish(skb, REASON_DROP_TABLE);
	ring = bpf_map_lookup_elem(inner, &zero);
	if (!ring)
		return finish(skb, REASON_DROP_TABLE);
	if (vserver->flags || packet->flags & PACKET_FRAGMENT) {
		chosen = ipv4 ? choose_ipv4(skb, packet, vserver, ring) : choose_ipv6(skb, packet, vserver, ring);
		if (chosen <= 0)
			return finish(skb, -chosen);
		return send_to(skb, packet, setting, vserver_id, chosen, ipv4);
	}
	slot = ring_slot(setting, vserver, packet, ipv4);
	/* Keeps the compiler, which knows the bound, from leaving out the test that the verifier needs */
	asm volatile("" : "+r"(slot));
	if (slot >= RING_SLOTS)
		return finish(skb, REASON_DROP_TABLE);
	index = ring->slot[slot];
	if (!index)
		return finish(skb, REASON_DROP_NO_SERVICE);
	return send_to(skb, packet, setting, vserver_id, index, ipv4);
}

/* A fragment without ports: where its first one went. */
static __always_inline int follow_first(struct __sk_buff *skb, const struct packet *packet, __u32 vserver_id,
					__u32 index, int ipv4)
{
	__u32 zero = 0;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	if (!setting)
		return finish(skb, REASON_DROP_TABLE);
	return send_to(skb, packet, setting, vserver_id, index, ipv4);
}

static __always_inline int handle_ip(struct __sk_buff *skb, struct packet *packet, int ipv4)
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
		return finish(skb, handle_answer(skb, packet, ipv4));
	if (packet->flags & PACKET_BROKEN)
		return finish(skb, REASON_DROP_MALFORMED);
	flags = vip->flags;
	if (packet->key.protocol == (ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) && !(packet->flags & PACKET_LATER)) {
		reason = ipv4 ? handle_icmp_ipv4(skb, packet, flags) : handle_icmp_ipv6(skb, packet, flags);
		if (reason != REASON_FORWARDED)
			return finish(skb, reason);
	}
	if (packet->flags & PACKET_LATER && !(packet->flags & PACKET_QUOTED) &&
	    recall_fragment(packet, ipv4, &vserver_id, &index))
		return follow_first(skb, packet, vserver_id, index, ipv4);
	vserver = find_vserver(packet, flags);
	if (vserver && packet->flags & PACKET_LATER && needs_first_fragment(vserver))
		return finish(skb, REASON_DROP_FRAGMENT);
	if (!vserver) {
		reason = REASON_DROP_NO_VSERVER;
		if (packet->flags & PACKET_LATER && flags & (VIP_PROTO_PORT | VIP_PORT))
			reason = REASON_DROP_FRAGMENT;
		return finish(skb, reason);
	}
	if (recent)
		remember(recent, packet, vserver, number);
found:
	return forward(skb, packet, vserver, ipv4);
}

static __always_inline int handle_ipv4(struct __sk_buff *skb)
{
	struct packet packet;

	if (skb->pkt_type != PACKET_HOST)
		return finish(skb, REASON_PASS_NOT_TO_US);
	if (!parse_ipv4(skb, &packet))
		return finish(skb, REASON_PASS_MALFORMED);
	return handle_ip(skb, &packet, 1);
}

static __always_inline int handle_ipv6(struct __sk_buff *skb)
{
	struct packet packet;

	if (skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_MULTICAST)
		return finish(skb, REASON_PASS_NOT_TO_US);
	if (!parse_ipv6(skb, &packet))
		return finish(skb, REASON_PASS_MALFORMED);
	if (skb->pkt_type == PACKET_HOST)
		return handle_ip(skb, &packet, 0);
	if (packet.flags || packet.key.protocol != IPPROTO_ICMPV6 || packet.transport != ND_MESSAGE_OFFSET)
		return finish(skb, REASON_PASS_NOT_TO_US);
	return finish(skb, handle_nd(skb, &packet, REASON_PASS_NOT_TO_US));
}

/* The kernel has taken the tag out of the frame and puts it in again on the way out, so the rest need not know of it.
 * Not asked for, tagged frames belong to the VLAN interfaces, which have this program too. */
static __noinline int takes_tagged(void)
{
	__u32 zero = 0;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	return setting && setting->flags & SETTING_TAGGED;
}

SEC("tc")
int hp_ingress(struct __sk_buff *skb)
{
	if (skb->vlan_present && !takes_tagged())
		return finish(skb, REASON_PASS_VLAN);
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return handle_ipv4(skb);
	case bpf_htons(ETH_P_IPV6):
		return handle_ipv6(skb);
	case bpf_htons(ETH_P_ARP):
		return finish(skb, handle_arp(skb));
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return finish(skb, REASON_PASS_VLAN);
	default:
		return finish(skb, REASON_PASS_NOT_IP);
	}
}

SEC("tc")
int hp_probe(struct __sk_buff *skb)
{
	struct packet packet;

	if (skb->protocol == bpf_htons(ETH_P_IP) && parse_ipv4(skb, &packet))
		return finish(skb, handle_probe(skb, &packet, 1));
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && parse_ipv6(skb, &packet))
		return finish(skb, handle_probe(skb, &packet, 0));
	return finish(skb, REASON_DROP_PROBE_UNMAPPED);
}

/* Kernel helpers used here are open to GPL-compatible programs only. */
char _license[] SEC("license") = "Dual MIT/GPL";
