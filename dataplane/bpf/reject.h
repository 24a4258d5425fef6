/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What becomes of a packet when all services of its vserver are down: dropped, or, if the vserver's policy says so,
 * rejected, so that the client knows at once. TCP gets a reset as a closed port gives it (RFC 9293, 3.10.7.1), what else
 * has ports an ICMP port unreachable, the rest "administratively prohibited" (RFC 792, RFC 1812, 5.2.7.1, RFC 4443, 3.1).
 *
 * Never answered: resets, ICMP, later fragments, and what does not come from one host's address. */
#ifndef HALFPIPE_REJECT_H
#define HALFPIPE_REJECT_H

#include "count.h"
#include "maps.h"
#include "parse.h"
#include "syn.h"

static __always_inline int rejects(__u32 vserver_id)
{
	struct policy *policy = bpf_map_lookup_elem(&policies, &vserver_id);

	return policy && policy->config_id && policy->when_down == WHEN_DOWN_REJECT;
}

#ifdef HALFPIPE_XDP

/* tc answers: a reason that passes the frame on, uncounted. Not inlined: forwarding stays free of it. */
static __noinline enum reason no_service(context_t *ctx, const struct packet *packet, __u32 vserver_id, int ipv4)
{
	(void)ctx;
	(void)packet;
	(void)ipv4;
	return rejects(vserver_id) ? REASON_PASS_NOT_VIP : REASON_DROP_NO_SERVICE;
}

#else

#include "flow.h"
#include "icmp.h"
#include "nd.h"

#define ICMPV4_UNREACHABLE 3
#define ICMPV4_PORT 3
#define ICMPV4_PROHIBITED 13
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PORT 4
#define ICMPV6_PROHIBITED 1
#define INTERNETWORK_CONTROL 0xc0	/* type of service of ICMP errors: RFC 1812, 4.3.2.5 */
#define CHUNK 128

/* TCP resets a second that tell clients of vservers without services, and as many ICMP errors: NetScaler's limits, 100
 * in 10 ms (RFC 1812, 4.3.2.8 and RFC 4443, 2.4 (f) ask for one). */
#ifndef REJECT_RATE
#define REJECT_RATE 10000
#define REJECT_BURST 100
#endif

/* Answers a second: by resets and by ICMP. The forwarder's own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bucket);
} rejections SEC(".maps");

struct tcp_header {
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
	__u8 words;			/* of the header, in the upper four bits */
	__u8 flags;
	__be16 window;
	__sum16 checksum;
	__be16 urgent;
};

/* As checksums see it: RFC 8200, 8.1. An IPv4 address in 16 bytes adds 0xffff, which is nothing, so IPv4's is the same. */
struct pseudo_header {
	struct address source;
	struct address destination;
	__be32 length;
	__be32 next_header;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 unused;
};

/* Bytes of everything before the transport header, and of ICMP with a quotation before the Ethernet header it had. */
#define HEADERS(ipv4) ((ipv4) ? sizeof(struct ethhdr) + sizeof(struct iphdr) : ND_MESSAGE_OFFSET)
#define QUOTATION_ROOM(ipv4) (HEADERS(ipv4) - sizeof(struct ethhdr) + sizeof(struct icmp_header))

static __always_inline __sum16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u32 sum_pseudo_header(const struct packet *packet, __u32 length, __u32 protocol)
{
	struct pseudo_header pseudo = {
		.source = packet->key.address, .destination = packet->source,
		.length = bpf_htonl(length), .next_header = bpf_htonl(protocol),
	};

	return bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0);
}

/* Ethernet and IP header of an answer from the VIP to the client, over what is there. */
static __always_inline int write_headers(struct __sk_buff *skb, const struct packet *packet, const struct ethhdr *eth,
					 __u32 length, __u8 protocol, __u64 store, int ipv4)
{
	struct iphdr ip = {
		.version = 4, .ihl = 5, .tos = protocol == IPPROTO_ICMP ? INTERNETWORK_CONTROL : 0,
		.tot_len = bpf_htons(sizeof(ip) + length), .frag_off = bpf_htons(0x4000), .ttl = ANSWER_TTL,
		.protocol = protocol, .saddr = packet->key.address.word[3], .daddr = packet->source.word[3],
	};
	struct ipv6hdr ip6 = {
		.version = 6, .payload_len = bpf_htons(length), .nexthdr = protocol, .hop_limit = ANSWER_TTL,
	};

	if (bpf_skb_store_bytes(skb, 0, eth, sizeof(*eth), 0))
		return -1;
	if (ipv4) {
		ip.check = ~fold(bpf_csum_diff(0, 0, (void *)&ip, sizeof(ip), 0));
		return bpf_skb_store_bytes(skb, sizeof(*eth), &ip, sizeof(ip), store);
	}
	__builtin_memcpy(&ip6.saddr, &packet->key.address, sizeof(ip6.saddr));
	__builtin_memcpy(&ip6.daddr, &packet->source, sizeof(ip6.daddr));
	return bpf_skb_store_bytes(skb, sizeof(*eth), &ip6, sizeof(ip6), store);
}

/* Will a device sum the packet up when it is sent (CHECKSUM_PARTIAL)? Then no correction reaches a sum that covers no
 * pseudo header. `offset` is that of a sum that is zero now; negative: it could not be tried. */
static __always_inline int summed_later(struct __sk_buff *skb, __u32 offset)
{
	__u16 sum, zero = 0;

	if (bpf_l4_csum_replace(skb, offset, 0, 1, 2) || bpf_skb_load_bytes(skb, offset, &sum, 2) ||
	    bpf_skb_store_bytes(skb, offset, &zero, 2, 0))
		return -1;
	return !sum;
}

/* Sum of the frame's bytes from `offset` on, a multiple of two from where the checksum begins. Negative: no such bytes. */
static __always_inline __s64 sum_bytes(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u32 chunk[CHUNK / sizeof(__u32)];
	__s64 sum = 0;
	__u64 part;
	int i;

	for (i = 0; i < (1280 + CHUNK - 1) / CHUNK && length; i++) {
		part = length < CHUNK ? length : CHUNK;
		/* Keeps the compiler from moving the bound, which the verifier must see */
		asm volatile("" : "+r"(part));
		if (part < 1 || part > CHUNK)
			return -1;
		__builtin_memset(chunk, 0, sizeof(chunk));
		if (bpf_skb_load_bytes(skb, offset, chunk, part))
			return -1;
		sum = bpf_csum_diff(0, 0, chunk, sizeof(chunk), sum);
		if (sum < 0)
			return -1;
		offset += part;
		length -= part;
	}
	return sum;
}

/* Is there a token for an answer of this kind? */
static __always_inline int may_answer(__u32 kind)
{
	struct bucket *bucket = bpf_map_lookup_elem(&rejections, &kind);

	return bucket && take_token(bucket, REJECT_RATE, REJECT_BURST, bpf_ktime_get_ns());
}

/* Ethernet header of the answer; 0: nobody to answer. */
static __always_inline int turn_round(struct __sk_buff *skb, struct ethhdr *eth)
{
	struct ethhdr there;

	if (bpf_skb_load_bytes(skb, 0, &there, sizeof(there)) || there.h_source[0] & 1)
		return 0;
	__builtin_memcpy(eth->h_dest, there.h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, there.h_dest, ETH_ALEN);
	eth->h_proto = there.h_proto;
	return 1;
}

/* Neither options nor fragments: as with pings, who sends those is no ordinary client. */
static __always_inline enum reason reset(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	__u32 start = HEADERS(ipv4), length, sum, pseudo;
	struct tcp_header there, answer = {};
	struct ethhdr eth;
	int later;

	if (packet->transport != start || packet->flags & PACKET_FRAGMENT || start + sizeof(there) > packet->end ||
	    bpf_skb_load_bytes(skb, start, &there, sizeof(there)) || there.flags & TCP_RST)
		return REASON_DROP_NO_SERVICE;
	length = (there.words >> 4) * 4;
	if (length < sizeof(there) || start + length > packet->end || !turn_round(skb, &eth) || !may_answer(0))
		return REASON_DROP_NO_SERVICE;
	length = packet->end - start - length + !!(there.flags & TCP_SYN) + !!(there.flags & TCP_FIN);
	answer.source = there.destination;
	answer.destination = there.source;
	answer.words = sizeof(answer) / 4 << 4;
	answer.flags = TCP_RST;
	if (there.flags & TCP_ACK) {
		answer.sequence = there.acknowledged;
	} else {
		answer.flags |= TCP_ACK;
		answer.acknowledged = bpf_htonl(bpf_ntohl(there.sequence) + length);
	}
	pseudo = sum_pseudo_header(packet, sizeof(answer), IPPROTO_TCP);
	sum = bpf_csum_diff(0, 0, (void *)&answer, sizeof(answer), pseudo);
	/* Cuts off options and data, and link padding too */
	if (bpf_skb_change_tail(skb, start + sizeof(answer), 0) ||
	    write_headers(skb, packet, &eth, sizeof(answer), IPPROTO_TCP, BPF_F_RECOMPUTE_CSUM, ipv4) ||
	    bpf_skb_store_bytes(skb, start, &answer, sizeof(answer), BPF_F_RECOMPUTE_CSUM))
		return REASON_DROP_TABLE;
	start += __builtin_offsetof(struct tcp_header, checksum);
	later = summed_later(skb, start);
	answer.checksum = later ? fold(pseudo) : ~fold(sum);
	if (later < 0 || bpf_skb_store_bytes(skb, start, &answer.checksum, 2, BPF_F_RECOMPUTE_CSUM))
		return REASON_DROP_TABLE;
	bpf_redirect(skb->ifindex, 0);
	return REASON_REJECTED_RST;
}

/* Sum of what is quoted, which begins behind the ICMP header at `start`. If a device will sum up what follows the quoted
 * UDP header, that part's sum will be the opposite of the pseudo header's, which stands there now. */
static __always_inline __s64 sum_quotation(struct __sk_buff *skb, const struct packet *packet, __u32 start,
					   __u32 length, __u32 room)
{
	int later = summed_later(skb, start - sizeof(struct icmp_header) + 2);
	__u16 pseudo;
	__s64 sum;

	if (later < 0 || (later && packet->key.protocol != IPPROTO_UDP))
		return -1;
	if (!later)
		return sum_bytes(skb, start, length);
	sum = sum_bytes(skb, start, packet->transport - sizeof(struct ethhdr));
	if (sum < 0 || bpf_skb_load_bytes(skb, packet->transport + room + 6, &pseudo, sizeof(pseudo)))
		return -1;
	return fold(sum) + (__u32)(__u16)~pseudo;
}

/* RFC 1812, 4.3.2.3: as much as 576 bytes hold; RFC 4443, 2.4 (c): as much as the minimum MTU does. The new headers
 * stand before the packet, the ICMP header where the packet's Ethernet header ends. */
static __always_inline enum reason unreachable(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	__u32 room = QUOTATION_ROOM(ipv4), start = HEADERS(ipv4), most = (ipv4 ? 576 : 1280) - room;
	__u32 quoted = packet->end - sizeof(struct ethhdr), sum = 0;
	int ports = protocol_has_ports(packet->key.protocol);
	struct icmp_header icmp = {
		.type = ipv4 ? ICMPV4_UNREACHABLE : ICMPV6_UNREACHABLE,
		.code = ipv4 ? (ports ? ICMPV4_PORT : ICMPV4_PROHIBITED) : (ports ? ICMPV6_PORT : ICMPV6_PROHIBITED),
	};
	__u8 protocol = ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	struct ethhdr eth;
	__s64 of_quotation;

	if (quoted > most)
		quoted = most;
	if (!turn_round(skb, &eth) || !may_answer(1))
		return REASON_DROP_NO_SERVICE;
	if (bpf_skb_change_tail(skb, sizeof(eth) + quoted, 0) || bpf_skb_change_head(skb, room, 0) ||
	    bpf_skb_store_bytes(skb, start, &icmp, sizeof(icmp), 0))
		return REASON_DROP_TABLE;
	of_quotation = sum_quotation(skb, packet, start + sizeof(icmp), quoted, room);
	if (of_quotation < 0)
		return REASON_DROP_NO_SERVICE;
	if (!ipv4)
		sum = fold(sum_pseudo_header(packet, sizeof(icmp) + quoted, IPPROTO_ICMPV6));
	sum += fold(of_quotation);
	icmp.checksum = ~fold(bpf_csum_diff(0, 0, (void *)&icmp, sizeof(icmp), sum));
	/* The stack adds these headers to a hardware sum itself, as it does with an Ethernet header */
	if (write_headers(skb, packet, &eth, sizeof(icmp) + quoted, protocol, 0, ipv4) ||
	    bpf_skb_store_bytes(skb, start, &icmp, sizeof(icmp), 0))
		return REASON_DROP_TABLE;
	bpf_redirect(skb->ifindex, 0);
	return REASON_REJECTED_ICMP;
}

static __always_inline enum reason reject(struct __sk_buff *skb, const struct packet *packet, int ipv4)
{
	if (packet->flags & (PACKET_LATER | PACKET_QUOTED) || !answerable(packet, ipv4))
		return REASON_DROP_NO_SERVICE;
	switch (packet->key.protocol) {
	case IPPROTO_TCP:
		return reset(skb, packet, ipv4);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return REASON_DROP_NO_SERVICE;
	default:
		return unreachable(skb, packet, ipv4);
	}
}

/* The reason, for the caller to end with. Not inlined: forwarding stays free of it. Not static: so the verifier looks
 * at it once, not at each call, but does not know then that there is a packet. */
__noinline int no_service(context_t *ctx, const struct packet *packet, __u32 vserver_id, int ipv4)
{
	if (!packet || !rejects(vserver_id))
		return REASON_DROP_NO_SERVICE;
	return ipv4 ? reject(ctx, packet, 1) : reject(ctx, packet, 0);
}

#endif

#endif
