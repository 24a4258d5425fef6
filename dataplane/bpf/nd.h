/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Answers neighbour solicitations for virtual addresses (RFC 4861, 4.3, 4.4, 7.1.1 and 7.2.4). */
#ifndef HALFPIPE_ND_H
#define HALFPIPE_ND_H

#include "arp.h"
#include "maps.h"
#include "parse.h"

#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000
#define ND_SOURCE_MAC 1
#define ND_TARGET_MAC 2

struct nd_message {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	__be32 target[4];
};

/* An advertisement as its checksum sees it: pseudo header (RFC 8200, 8.1), message, option. */
struct nd_advertisement {
	__be32 source[4];
	__be32 destination[4];
	__be32 length;
	__be32 next_header;
	struct nd_message message;
	__u8 option_type;
	__u8 option_length;
	__u8 mac[ETH_ALEN];
};

#define ND_MESSAGE_OFFSET (sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
#define ND_ANSWER_LENGTH 32

/* RFC 4861, 7.1.1: no option of length 0, which would be a loop; none with a source MAC when the source is "::". */
static __always_inline int options_valid(struct __sk_buff *skb, __u32 offset, __u32 end, int detection)
{
	__u8 option[2];
	int i;

	for (i = 0; i < 4; i++) {
		if (offset + sizeof(option) > end)
			return 1;
		if (bpf_skb_load_bytes(skb, offset, option, sizeof(option)) || !option[1])
			return 0;
		if (detection && option[0] == ND_SOURCE_MAC)
			return 0;
		offset += option[1] * 8;
	}
	return 1;
}

/* Write the answer over the question; `frame` holds source and destination as they shall be. */
static __always_inline int write_advertisement(struct __sk_buff *skb, struct nd_advertisement *answer,
					       const __u8 macs[2 * ETH_ALEN])
{
	const __u32 flow = bpf_htonl(6 << 28);
	struct {
		__be16 payload;
		__u8 next;
		__u8 hop_limit;
	} rest = {bpf_htons(ND_ANSWER_LENGTH), IPPROTO_ICMPV6, 255};
	__s64 sum;

	sum = bpf_csum_diff(0, 0, (void *)answer, sizeof(*answer), 0);
	if (sum < 0)
		return -1;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	answer->message.checksum = ~sum;
	/* Also cuts link padding off. A solicitation without option is 8 bytes shorter than the answer. */
	if (bpf_skb_change_tail(skb, ND_MESSAGE_OFFSET + ND_ANSWER_LENGTH, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, macs, 2 * ETH_ALEN, 0) ||
	       bpf_skb_store_bytes(skb, 14, &flow, 4, BPF_F_RECOMPUTE_CSUM) ||
	       bpf_skb_store_bytes(skb, 18, &rest, 4, BPF_F_RECOMPUTE_CSUM) ||
	       bpf_skb_store_bytes(skb, 22, answer->source, 32, BPF_F_RECOMPUTE_CSUM) ||
	       bpf_skb_store_bytes(skb, ND_MESSAGE_OFFSET, &answer->message, ND_ANSWER_LENGTH, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline enum reason answer_nd(struct __sk_buff *skb, const struct packet *packet, enum reason other)
{
	const struct address *from = &packet->source, *to = &packet->key.address;
	struct nd_advertisement answer = {};
	struct nd_message question;
	__u8 macs[2 * ETH_ALEN];
	struct address target;
	struct vip_value *vip;
	__be16 payload;
	__u8 hop_limit;
	int detection;

	if (bpf_skb_load_bytes(skb, ND_MESSAGE_OFFSET, &question, sizeof(question)) ||
	    bpf_skb_load_bytes(skb, 18, &payload, 2) || bpf_skb_load_bytes(skb, 21, &hop_limit, 1))
		return other;
	if (question.type != ND_SOLICITATION || question.code || hop_limit != 255 ||
	    bpf_ntohs(payload) < sizeof(question))
		return other;
	__builtin_memcpy(&target, question.target, sizeof(target));
	vip = bpf_map_lookup_elem(&vips, &target);
	if (!vip || !(vip->flags & VIP_ANSWER))
		return other;
	detection = !(from->word[0] | from->word[1] | from->word[2] | from->word[3]);
	/* Duplicate address detection asks the solicited-node group ff02::1:ffXX:XXXX. */
	if (detection && (to->word[0] != bpf_htonl(0xff020000) || to->word[1] || to->word[2] != bpf_htonl(1) ||
			  (to->word[3] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000)))
		return other;
	if (!options_valid(skb, ND_MESSAGE_OFFSET + sizeof(question), ND_MESSAGE_OFFSET + bpf_ntohs(payload), detection))
		return other;

	if (own_mac(skb, macs + ETH_ALEN) || bpf_skb_load_bytes(skb, ETH_ALEN, macs, ETH_ALEN))
		return REASON_DROP_TABLE;
	__builtin_memcpy(answer.mac, macs + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(answer.source, &target, sizeof(target));
	__builtin_memcpy(answer.message.target, &target, sizeof(target));
	answer.length = bpf_htonl(ND_ANSWER_LENGTH);
	answer.next_header = bpf_htonl(IPPROTO_ICMPV6);
	answer.message.type = ND_ADVERTISEMENT;
	answer.option_type = ND_TARGET_MAC;
	answer.option_length = 1;
	if (detection) {
		/* The group's MAC, RFC 2464, 7 */
		macs[0] = macs[1] = 0x33;
		macs[2] = macs[3] = macs[4] = 0;
		macs[5] = 1;
		answer.destination[0] = bpf_htonl(0xff020000);
		answer.destination[3] = bpf_htonl(1);
		answer.message.flags = bpf_htonl(ND_OVERRIDE);
	} else {
		__builtin_memcpy(answer.destination, from, sizeof(*from));
		answer.message.flags = bpf_htonl(ND_SOLICITED | ND_OVERRIDE);
	}
	if (write_advertisement(skb, &answer, macs))
		return REASON_DROP_TABLE;
	bpf_redirect(skb->ifindex, 0);
	return REASON_ND_ANSWERED;
}

/* The frame is known to be ICMPv6 without extension headers. `other` is returned unless it asks for a VIP of ours.
 * Global, see choose_ipv4() in flow.h: what it needs of the stack is free again when it is done. */
__noinline int handle_nd(struct __sk_buff *skb, const struct packet *packet, __u32 other)
{
	return packet ? answer_nd(skb, packet, other) : other;
}

#endif
