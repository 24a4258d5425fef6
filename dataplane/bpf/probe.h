/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Health probes that take the clients' way: a probe address stands for a VIP on one server.
 *
 * Out: destination probe address -> VIP, to the server's MAC. In: a frame from that VIP and that MAC -> source probe
 * address, handed to the probe device. Sums are corrected by difference, so that checksum offload stays right. */
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

/* The frame is not for a VIP: is it the answer to a probe? */
static __always_inline enum reason handle_answer(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	struct probe_in_key key = {.vip = packet->source};
	struct settings *setting;
	struct address *probe;
	__u8 mac[ETH_ALEN];
	__u32 zero = 0, ifindex;
	int failed;

	setting = bpf_map_lookup_elem(&settings, &zero);
	if (!setting || !setting->probe_ifindex || packet->flags & PACKET_BROKEN)
		return REASON_PASS_NOT_VIP;
	if (bpf_skb_load_bytes(skb, ETH_ALEN, key.mac, ETH_ALEN))
		return REASON_PASS_NOT_VIP;
	probe = bpf_map_lookup_elem(&probes_in, &key);
	if (!probe)
		return REASON_PASS_NOT_VIP;
	ifindex = setting->probe_ifindex;
	__builtin_memcpy(mac, setting->probe_mac, ETH_ALEN);
	if (ipv4)
		failed = rewrite_quoted_ipv4(skb, packet, packet->source.word[3], probe->word[3]) ||
			 rewrite_ipv4(skb, packet, IPV4_SOURCE_OFFSET, packet->source.word[3], probe->word[3]);
	else
		failed = rewrite_ipv6(skb, packet, IPV6_SOURCE_OFFSET, &packet->source, probe, 1);
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
