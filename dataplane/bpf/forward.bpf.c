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
#include "events.h"
#include "fast.h"
#include "forward.h"
#include "maps.h"
#include "nd.h"
#include "parse.h"
#include "probe.h"
#include "types.h"

static __always_inline int handle_ipv4(struct __sk_buff *skb)
{
	struct packet packet;
	int done;

	if (skb->pkt_type != PACKET_HOST)
		return finish(skb, REASON_PASS_NOT_TO_US);
	done = forward_plain_ipv4(skb);
	if (done != UNDECIDED)
		return done;
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

SEC("tc")
int hp_ingress(struct __sk_buff *skb)
{
	/* The kernel has taken the tag out of the frame. The VLAN's own interface has this program too. */
	if (skb->vlan_present)
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
		return finish_for(skb, 0, handle_probe(skb, &packet, 1));
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && parse_ipv6(skb, &packet))
		return finish_for(skb, 0, handle_probe(skb, &packet, 0));
	return finish(skb, REASON_DROP_PROBE_UNMAPPED);
}

/* Kernel helpers used here are open to GPL-compatible programs only. */
char _license[] SEC("license") = "Dual MIT/GPL";
