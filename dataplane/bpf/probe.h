/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Health probes that take the clients' way: a probe address stands for a VIP on one server.
 *
 * Out: destination probe address -> VIP, to the server's MAC. In: a frame from that VIP and that MAC -> source probe
 * address, handed to the probe device. Sums are corrected by difference, so that checksum offload stays right.
 *
 * Two servers with addresses of their own may turn out to be one machine, with one MAC. Then (VIP, MAC) belongs to two
 * probe addresses, and only the flow says which one an answer is for; so each probe that leaves is remembered by its
 * flow. Giving both servers one probe address would need no memory, but probe addresses are given when services are
 * bound, long before anybody knows a MAC, and must stay when a network card is exchanged. Left over is one case: two TCP
 * probes that chose the same source port at the same time, to the same port, are one connection to that machine. */
#ifndef HALFPIPE_PROBE_H
#define HALFPIPE_PROBE_H

#include <linux/if_packet.h>

#include "maps.h"
#include "parse.h"

#define IPV4_SUM_OFFSET 24
#define IPV4_SOURCE_OFFSET 26
#define IPV4_DESTINATION_OFFSET 30
#define IPV6_SOURCE_OFFSET 22
#define IPV6_DESTINATION_OFFSET 38

/* Offset of a transport checksum that covers the addresses; 0: none does (ICMP, SCTP) or this is a later fragment. */
static __always_inline __u32 sum_offset(const struct packet *packet, int ipv4)
{
	if (packet->flags & PACKET_LATER)
		return 0;
	switch (packet->key.protocol) {
	case IPPROTO_TCP:
		return packet->transport + 16;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
		return packet->transport + 6;
	case IPPROTO_ICMPV6:
		return ipv4 ? 0 : packet->transport + 2;
	default:
		return 0;
	}
}

/* ICMP errors quote the probe as the server saw it. With the VIP there, no socket would know the quotation as its
 * own. The quoted header's sum takes up the change, so that ICMP's own sum stays. */
static __always_inline int rewrite_quoted_ipv4(struct __sk_buff *skb, const struct packet *packet, __be32 old, __be32 new)
{
	struct iphdr quoted;
	__u8 type;

	if (packet->key.protocol != IPPROTO_ICMP || packet->flags & PACKET_LATER)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->transport, &type, 1) || (type != 3 && type != 11 && type != 12))
		return 0;
	if (bpf_skb_load_bytes(skb, packet->transport + 8, &quoted, sizeof(quoted)) || quoted.daddr != old)
		return 0;
	return bpf_l3_csum_replace(skb, packet->transport + 8 + 10, old, new, 4) ||
	       bpf_skb_store_bytes(skb, packet->transport + 8 + 16, &new, 4, 0);
}

static __always_inline int rewrite_ipv4(struct __sk_buff *skb, const struct packet *packet, __u32 offset, __be32 old,
					__be32 new)
{
	__u32 sum = sum_offset(packet, 1);
	__u64 flags = BPF_F_PSEUDO_HDR | 4 | (packet->key.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);

	if (sum && bpf_l4_csum_replace(skb, sum, old, new, flags))
		return -1;
	return bpf_l3_csum_replace(skb, IPV4_SUM_OFFSET, old, new, 4) || bpf_skb_store_bytes(skb, offset, &new, 4, 0);
}

/* As for IPv4, but the quoted header has no sum: ICMPv6's own takes up the change. */
static __always_inline int rewrite_quoted_ipv6(struct __sk_buff *skb, const struct packet *packet,
					       const struct address *old, const struct address *new, __s64 difference)
{
	struct address quoted;
	__u8 type;

	if (packet->key.protocol != IPPROTO_ICMPV6 || packet->flags & PACKET_LATER)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->transport, &type, 1) || type < 1 || type > 4)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->transport + 8 + 24, &quoted, sizeof(quoted)) ||
	    quoted.word[0] != old->word[0] || quoted.word[1] != old->word[1] || quoted.word[2] != old->word[2] ||
	    quoted.word[3] != old->word[3])
		return 0;
	return bpf_l4_csum_replace(skb, packet->transport + 2, 0, difference, 0) ||
	       bpf_skb_store_bytes(skb, packet->transport + 8 + 24, new, sizeof(*new), 0);
}

/* BPF_F_RECOMPUTE_CSUM: a hardware sum of the whole packet changes with the address and back with the transport sum;
 * kernels before 6.16 know only to account for the latter, so the former must be said. */
static __always_inline int rewrite_ipv6(struct __sk_buff *skb, const struct packet *packet, __u32 offset,
					const struct address *old, const struct address *new, int quoted)
{
	__s64 difference = bpf_csum_diff((void *)old, sizeof(*old), (void *)new, sizeof(*new), 0);
	__u64 flags = BPF_F_PSEUDO_HDR | (packet->key.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0);
	__u32 sum = sum_offset(packet, 0);

	if (difference < 0 || (quoted && rewrite_quoted_ipv6(skb, packet, old, new, difference)))
		return -1;
	if (sum && bpf_l4_csum_replace(skb, sum, 0, difference, flags))
		return -1;
	return bpf_skb_store_bytes(skb, offset, new, sizeof(*new), sum ? BPF_F_RECOMPUTE_CSUM : 0);
}

/* What tells apart the flows of one protocol: two ports, or the identifier of an ICMP message in the same place as
 * the echo has it (RFC 792, RFC 4443). `at`: where the transport header is. 0: there is nothing of the kind. */
static __always_inline __u32 flow_id(struct __sk_buff *skb, __u8 protocol, __u32 at, int swapped)
{
	__be16 ports[2];

	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return bpf_skb_load_bytes(skb, at + 4, ports, sizeof(__be16)) ? 0 : ports[0];
	if (!protocol_has_ports(protocol) || bpf_skb_load_bytes(skb, at, ports, sizeof(ports)))
		return 0;
	return swapped ? ports[1] | (__u32)ports[0] << 16 : ports[0] | (__u32)ports[1] << 16;
}

/* Not inlined, as the next: answers and probes are rare, and the stack is short. */
static __noinline int remember_probe(struct __sk_buff *skb, const struct packet *packet,
				     const struct probe_out_value *out)
{
	struct probe_flow_key key = {
		.vip = out->vip, .director = packet->source, .protocol = packet->key.protocol, .kind = PROBE_FLOW,
	};
	const struct address *known, *probe = &packet->key.address;

	if (packet->flags & PACKET_LATER)
		return 0;
	__builtin_memcpy(key.mac, out->mac, ETH_ALEN);
	key.id = flow_id(skb, packet->key.protocol, packet->transport, 0);
	known = bpf_map_lookup_elem(&probe_flows, &key);
	if (known && !((known->word[0] ^ probe->word[0]) | (known->word[1] ^ probe->word[1]) |
		       (known->word[2] ^ probe->word[2]) | (known->word[3] ^ probe->word[3])))
		return 0;
	return bpf_map_update_elem(&probe_flows, &key, probe, BPF_ANY);
}

/* An ICMP error answers the probe that it quotes, which left the director as the server saw it. */
static __always_inline void quoted_flow(struct __sk_buff *skb, const struct packet *packet,
					struct probe_flow_key *key, int ipv4)
{
	__u32 quoted = packet->transport + 8;
	__u8 type, first;

	if (packet->key.protocol != (ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) ||
	    bpf_skb_load_bytes(skb, packet->transport, &type, 1) ||
	    (ipv4 ? type != 3 && type != 11 && type != 12 : type < 1 || type > 4))
		return;
	if (bpf_skb_load_bytes(skb, quoted, &first, 1) ||
	    bpf_skb_load_bytes(skb, quoted + (ipv4 ? 9 : 6), &key->protocol, 1))
		return;
	key->id = flow_id(skb, key->protocol, quoted + (ipv4 ? (first & 15) * 4 : sizeof(struct ipv6hdr)), 0);
}

/* Protocol as in fragment_key() of flow.h */
static __always_inline void fragment_of(const struct packet *packet, struct probe_flow_key *key, int ipv4)
{
	key->kind = PROBE_FRAGMENT;
	key->protocol = ipv4 ? packet->key.protocol : 0;
	key->id = packet->fragment_id;
}

/* Put the probe address of this answer in place of `probe`, which is one of those that (VIP, MAC) has. */
static __noinline int recall_probe(struct __sk_buff *skb, const struct packet *packet, const struct probe_in_key *in,
				   struct address *probe, int ipv4)
{
	struct probe_flow_key key = {
		.vip = in->vip, .director = packet->key.address, .protocol = packet->key.protocol, .kind = PROBE_FLOW,
	};
	const struct address *known;

	__builtin_memcpy(key.mac, in->mac, ETH_ALEN);
	if (packet->flags & PACKET_LATER) {
		fragment_of(packet, &key, ipv4);
	} else {
		key.id = flow_id(skb, packet->key.protocol, packet->transport, 1);
		quoted_flow(skb, packet, &key, ipv4);
	}
	known = bpf_map_lookup_elem(&probe_flows, &key);
	if (known)
		*probe = *known;
	if ((packet->flags & (PACKET_FRAGMENT | PACKET_LATER)) != PACKET_FRAGMENT)
		return 0;
	fragment_of(packet, &key, ipv4);
	return bpf_map_update_elem(&probe_flows, &key, probe, BPF_ANY);
}

/* The frame is not for a VIP: is it the answer to a probe? */
static __always_inline enum reason handle_answer(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	struct probe_in_key key = {.vip = packet->source};
	struct address *found, probe;
	struct settings *setting;
	__u8 mac[ETH_ALEN];
	__u32 zero = 0, ifindex;
	int failed;

	setting = bpf_map_lookup_elem(&settings, &zero);
	if (!setting || !setting->probe_ifindex || packet->flags & PACKET_BROKEN)
		return REASON_PASS_NOT_VIP;
	if (bpf_skb_load_bytes(skb, ETH_ALEN, key.mac, ETH_ALEN))
		return REASON_PASS_NOT_VIP;
	found = bpf_map_lookup_elem(&probes_in, &key);
	if (!found)
		return REASON_PASS_NOT_VIP;
	probe = *found;
	recall_probe(skb, packet, &key, &probe, ipv4);
	ifindex = setting->probe_ifindex;
	__builtin_memcpy(mac, setting->probe_mac, ETH_ALEN);
	if (ipv4)
		failed = rewrite_quoted_ipv4(skb, packet, packet->source.word[3], probe.word[3]) ||
			 rewrite_ipv4(skb, packet, IPV4_SOURCE_OFFSET, packet->source.word[3], probe.word[3]);
	else
		failed = rewrite_ipv6(skb, packet, IPV6_SOURCE_OFFSET, &packet->source, &probe, 1);
	if (failed || bpf_skb_store_bytes(skb, 0, mac, ETH_ALEN, 0))
		return REASON_DROP_MALFORMED;
	bpf_redirect(ifindex, BPF_F_INGRESS);
	return REASON_PROBE_ANSWERED;
}

/* A frame that the host sends out of the probe device. */
static __always_inline enum reason handle_probe(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	struct probe_out_value *probe = bpf_map_lookup_elem(&probes_out, &packet->key.address);
	__u8 macs[2 * ETH_ALEN];
	__u32 ifindex;
	int failed;

	if (!probe)
		return REASON_DROP_PROBE_UNMAPPED;
	if (packet->flags & PACKET_BROKEN)
		return REASON_DROP_MALFORMED;
	__builtin_memcpy(macs, probe->mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, probe->source_mac, ETH_ALEN);
	ifindex = probe->ifindex;
	remember_probe(skb, packet, probe);
	if (ipv4)
		failed = rewrite_ipv4(skb, packet, IPV4_DESTINATION_OFFSET, packet->key.address.word[3],
				      probe->vip.word[3]);
	else
		failed = rewrite_ipv6(skb, packet, IPV6_DESTINATION_OFFSET, &packet->key.address, &probe->vip, 0);
	if (failed || bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return REASON_DROP_MALFORMED;
	bpf_redirect(ifindex, 0);
	return REASON_PROBE_SENT;
}

#endif
