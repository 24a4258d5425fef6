/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Answers ARP requests for virtual addresses (RFC 826, RFC 5227). */
#ifndef HALFPIPE_ARP_H
#define HALFPIPE_ARP_H

#include <linux/if_packet.h>

#include "maps.h"
#include "parse.h"

/* linux/if_arp.h has these, but brings in headers of the C library, which has none for the bpf target */
#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

/* Ethernet and IPv4 form of ARP, 28 bytes. */
struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__be32 sender;
	__u8 target_mac[ETH_ALEN];
	__be32 target;
} __attribute__((packed));

/* Own MAC: a frame to this host names it; for the others the table does. */
static __always_inline int own_mac(struct __sk_buff *skb, __u8 mac[ETH_ALEN])
{
	__u32 ifindex = skb->ifindex;
	struct interface_value *interface;

	if (skb->pkt_type == PACKET_HOST)
		return bpf_skb_load_bytes(skb, 0, mac, ETH_ALEN);
	interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	if (!interface)
		return -1;
	__builtin_memcpy(mac, interface->mac, ETH_ALEN);
	return 0;
}

static __always_inline enum reason handle_arp(struct __sk_buff *skb)
{
	__u8 macs[2 * ETH_ALEN];
	struct arp_ipv4 arp;
	struct address target;
	struct vip_value *vip;

	if (skb->pkt_type != PACKET_HOST && skb->pkt_type != PACKET_BROADCAST)
		return REASON_PASS_NOT_TO_US;
	if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &arp, sizeof(arp)))
		return REASON_PASS_MALFORMED;
	if (arp.hardware != bpf_htons(ARPHRD_ETHER) || arp.protocol != bpf_htons(ETH_P_IP) ||
	    arp.hardware_length != ETH_ALEN || arp.protocol_length != 4)
		return REASON_PASS_MALFORMED;
	/* An announcement (sender is target) is no question; a probe (sender 0.0.0.0) is. */
	if (arp.operation != bpf_htons(ARPOP_REQUEST) || arp.sender == arp.target)
		return REASON_PASS_NOT_VIP;
	set_ipv4(&target, arp.target);
	vip = bpf_map_lookup_elem(&vips, &target);
	if (!vip || !(vip->flags & VIP_ANSWER))
		return REASON_PASS_NOT_VIP;

	if (own_mac(skb, macs + ETH_ALEN))
		return REASON_DROP_TABLE;
	__builtin_memcpy(macs, arp.sender_mac, ETH_ALEN);
	__builtin_memcpy(arp.target_mac, arp.sender_mac, ETH_ALEN);
	__builtin_memcpy(arp.sender_mac, macs + ETH_ALEN, ETH_ALEN);
	arp.target = arp.sender;
	arp.sender = target.word[3];
	arp.operation = bpf_htons(ARPOP_REPLY);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(struct ethhdr), &arp, sizeof(arp), BPF_F_RECOMPUTE_CSUM))
		return REASON_DROP_TABLE;
	bpf_redirect(skb->ifindex, 0);
	return REASON_ARP_ANSWERED;
}

#endif
