/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* ICMP to a virtual address (RFC 792, RFC 4443): pings are answered here if the VIP's flags say so, and an error goes
 * where the packet went that it is about. A server sent that packet from the VIP to its client, so the flow is the
 * quoted packet's with source and destination exchanged. Eight octets behind the quoted IP header are enough. */
#ifndef HALFPIPE_ICMP_H
#define HALFPIPE_ICMP_H

#include "arp.h"
#include "maps.h"
#include "nd.h"
#include "parse.h"

#define ICMP_HEADER 8
#define ANSWER_TTL 64

/* What an ICMP header says of the message: */
enum icmp_kind {
	ICMP_OTHER,
	ICMP_PING,
	ICMP_QUOTES,			/* an error, which quotes the packet that it is about */
};

static __always_inline enum icmp_kind icmp_kind(__u8 type, int ipv4)
{
	if (type == (ipv4 ? 8 : 128))
		return ICMP_PING;
	/* unreachable, time exceeded, parameter problem; IPv6 also: packet too big */
	if (ipv4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4)
		return ICMP_QUOTES;
	return ICMP_OTHER;
}

/* A group, nobody, or the VIP itself cannot be answered. */
static __always_inline int answerable(const struct packet *packet, int ipv4)
{
	const struct address *a = &packet->source, *b = &packet->key.address;
	__u32 first = bpf_ntohl(ipv4 ? a->word[3] : a->word[0]);

	if (ipv4)
		return first >> 24 && first < 0xe0000000 && a->word[3] != b->word[3];
	if (first >> 24 == 0xff || !(a->word[0] | a->word[1] | a->word[2] | a->word[3]))
		return 0;
	return (a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
	       (a->word[3] ^ b->word[3]);
}

/* Turn the question round: exchange MACs and addresses, name it a reply, correct the sum by the difference. */
static __always_inline enum reason answer_ping(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	__u32 header = ipv4 ? sizeof(struct ethhdr) + sizeof(struct iphdr) : ND_MESSAGE_OFFSET, start = ipv4 ? 26 : 22;
	__be16 old, new, ttl[2];
	__u8 macs[2 * ETH_ALEN], hops = ANSWER_TTL;
	struct address addresses[2];
	int failed;

	/* Neither options nor fragments: what they ask for is more than an echo. */
	if (packet->transport != header || packet->flags & PACKET_FRAGMENT || !answerable(packet, ipv4))
		return REASON_DROP_PING;
	if (bpf_skb_load_bytes(skb, header, &old, 2) || bpf_skb_load_bytes(skb, 22, &ttl[0], 2) ||
	    bpf_skb_load_bytes(skb, 0, macs + ETH_ALEN, ETH_ALEN) || bpf_skb_load_bytes(skb, ETH_ALEN, macs, ETH_ALEN))
		return REASON_DROP_TABLE;
	/* type and code share a word of the sum, and so do TTL and protocol */
	new = (old & bpf_htons(0xff)) | bpf_htons(ipv4 ? 0 : 129 << 8);
	ttl[1] = (ttl[0] & bpf_htons(0xff)) | bpf_htons(ANSWER_TTL << 8);
	failed = bpf_l4_csum_replace(skb, header + 2, old, new, 2) || bpf_skb_store_bytes(skb, header, &new, 2, 0);
	if (ipv4) {
		addresses[0].word[0] = packet->key.address.word[3];
		addresses[0].word[1] = packet->source.word[3];
		failed = failed || bpf_l3_csum_replace(skb, 24, ttl[0], ttl[1], 2) ||
			 bpf_skb_store_bytes(skb, 22, &ttl[1], 2, 0) ||
			 bpf_skb_store_bytes(skb, start, addresses, 8, 0);
	} else {
		addresses[0] = packet->key.address;
		addresses[1] = packet->source;
		failed = failed || bpf_skb_store_bytes(skb, 21, &hops, 1, BPF_F_RECOMPUTE_CSUM) ||
			 bpf_skb_store_bytes(skb, start, addresses, 32, 0);
	}
	if (failed || bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return REASON_DROP_TABLE;
	bpf_redirect(skb->ifindex, 0);
	return REASON_PING_ANSWERED;
}

/* Ports of the quoted packet, exchanged. Quoted later fragments have none. */
static __always_inline enum reason quoted_ports(struct __sk_buff *skb, struct packet *packet)
{
	__be16 ports[2];

	if (packet->flags & PACKET_LATER || !protocol_has_ports(packet->key.protocol))
		return REASON_FORWARDED;
	if (packet->transport + sizeof(ports) > packet->end ||
	    bpf_skb_load_bytes(skb, packet->transport, ports, sizeof(ports)))
		return REASON_DROP_QUOTATION;
	packet->key.port = ports[0];
	packet->source_port = ports[1];
	packet->flags |= PACKET_PORTS;
	return REASON_FORWARDED;
}

/* Make `packet` the flow that the quoted packet belongs to. */
static __always_inline enum reason read_quotation(struct __sk_buff *skb, struct packet *packet, int ipv4)
{
	__u32 offset = packet->transport + ICMP_HEADER;
	struct in6_addr quoted[2];
	struct address vip;
	struct iphdr ip;
	__u8 first[8];

	packet->flags = PACKET_QUOTED;
	packet->tcp = 0;
	if (ipv4) {
		if (offset + sizeof(ip) > packet->end || bpf_skb_load_bytes(skb, offset, &ip, sizeof(ip)))
			return REASON_DROP_QUOTATION;
		if (ip.version != 4 || ip.ihl < 5 || ip.saddr != packet->key.address.word[3])
			return REASON_DROP_QUOTATION;
		set_ipv4(&packet->source, ip.daddr);
		packet->key.protocol = ip.protocol;
		packet->transport = offset + ip.ihl * 4;
		if (ip.frag_off & IPV4_FRAGMENT_OFFSET)
			packet->flags |= PACKET_FRAGMENT | PACKET_LATER;
		return quoted_ports(skb, packet);
	}
	if (offset + sizeof(struct ipv6hdr) > packet->end || bpf_skb_load_bytes(skb, offset, first, sizeof(first)) ||
	    bpf_skb_load_bytes(skb, offset + sizeof(first), quoted, sizeof(quoted)) || first[0] >> 4 != 6)
		return REASON_DROP_QUOTATION;
	set_ipv6(&vip, &quoted[0]);
	if ((vip.word[0] ^ packet->key.address.word[0]) | (vip.word[1] ^ packet->key.address.word[1]) |
	    (vip.word[2] ^ packet->key.address.word[2]) | (vip.word[3] ^ packet->key.address.word[3]))
		return REASON_DROP_QUOTATION;
	set_ipv6(&packet->source, &quoted[1]);
	packet->key.protocol = first[6];
	packet->transport = offset + sizeof(struct ipv6hdr);
	walk_extensions(skb, packet);
	return packet->flags & PACKET_BROKEN ? REASON_DROP_QUOTATION : quoted_ports(skb, packet);
}

/* REASON_FORWARDED: look `packet` up, which is now that of the quoted flow if this is an error. */
static __always_inline enum reason handle_icmp(struct __sk_buff *skb, struct packet *packet, __u32 vip_flags, int ipv4)
{
	enum reason reason;
	__u8 type;

	if (packet->transport + ICMP_HEADER > packet->end || bpf_skb_load_bytes(skb, packet->transport, &type, 1))
		return REASON_FORWARDED;
	if (!ipv4 && packet->transport == ND_MESSAGE_OFFSET && type == ND_SOLICITATION) {
		/* Neighbour unreachability detection asks the address itself. */
		reason = handle_nd(skb, packet, REASON_DROP_NO_VSERVER);
		return reason == REASON_DROP_NO_VSERVER ? REASON_FORWARDED : reason;
	}
	switch (icmp_kind(type, ipv4)) {
	case ICMP_PING:
		if (vip_flags & VIP_PING_ANSWER)
			return answer_ping(skb, packet, ipv4);
		return vip_flags & VIP_PING_DROP ? REASON_DROP_PING : REASON_FORWARDED;
	case ICMP_QUOTES:
		return read_quotation(skb, packet, ipv4);
	default:
		return REASON_FORWARDED;
	}
}

/* Global, see choose_ipv4(): the stack and the registers of forwarding stay free of this too. */
__noinline int handle_icmp_ipv4(struct __sk_buff *skb, struct packet *packet, __u32 vip_flags)
{
	return !packet ? REASON_DROP_TABLE : handle_icmp(skb, packet, vip_flags, 1);
}

__noinline int handle_icmp_ipv6(struct __sk_buff *skb, struct packet *packet, __u32 vip_flags)
{
	return !packet ? REASON_DROP_TABLE : handle_icmp(skb, packet, vip_flags, 0);
}

#endif
