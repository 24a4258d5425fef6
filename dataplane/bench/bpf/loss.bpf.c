/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Numbered frames, and what has become of each.
 *
 * number (clsact egress) makes whatever frame of ours leaves there the next flow's, with its number where TCP has its
 * sequence number. sink (clsact ingress, at the far end) counts how often each number came. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* For each family: IPv4 first. */
#define FLOWS 4096
#define MAX_FRAMES (1 << 24)
/* A value of an array takes eight bytes at least, so one value has many numbers. */
#define CHUNK 4096
/* In place of the acknowledgement number: a frame of ours. */
#define MARK 0x48616c66

struct flow {
	__u32 source[4];		/* network order; IPv4 uses word 3 */
	__u32 destination[4];
	__u32 ports;			/* source and destination port as in the packet */
};

struct chunk {
	__u8 arrived[CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_FRAMES / CHUNK);
	__type(key, __u32);
	__type(value, struct chunk);
} chunks SEC(".maps");

/* Of a frame of ours, 0 for IPv4 and 1 for IPv6; else -1. */
static __always_inline int family_of(struct __sk_buff *skb, __u32 *tcp)
{
	int family = skb->protocol == bpf_htons(ETH_P_IPV6);
	__be32 mark;

	if (!family && skb->protocol != bpf_htons(ETH_P_IP))
		return -1;
	*tcp = sizeof(struct ethhdr) + (family ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if (bpf_skb_load_bytes(skb, *tcp + offsetof(struct tcphdr, ack_seq), &mark, sizeof(mark)) ||
	    mark != bpf_htonl(MARK))
		return -1;
	return family;
}

SEC("tc")
int number(struct __sk_buff *skb)
{
	__u32 tcp, family, index, *next;
	struct flow *flow;
	__be32 number;
	int found = family_of(skb, &tcp), failed;

	if (found < 0)
		return TC_ACT_UNSPEC;
	family = found;
	next = bpf_map_lookup_elem(&sent, &family);
	if (!next || *next >= MAX_FRAMES)
		return TC_ACT_SHOT;
	index = family * FLOWS + *next % FLOWS;
	flow = bpf_map_lookup_elem(&flows, &index);
	if (!flow)
		return TC_ACT_SHOT;
	number = bpf_htonl(family * MAX_FRAMES + *next);
	if (family)
		failed = bpf_skb_store_bytes(skb, tcp - 32, flow->source, 32, 0);
	else
		failed = bpf_skb_store_bytes(skb, tcp - 8, &flow->source[3], 4, 0) ||
			 bpf_skb_store_bytes(skb, tcp - 4, &flow->destination[3], 4, 0);
	if (failed || bpf_skb_store_bytes(skb, tcp, &flow->ports, 4, 0) ||
	    bpf_skb_store_bytes(skb, tcp + offsetof(struct tcphdr, seq), &number, 4, 0))
		return TC_ACT_SHOT;
	(*next)++;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int sink(struct __sk_buff *skb)
{
	__u32 tcp, number, index;
	struct chunk *chunk;
	__be32 seq;

	if (family_of(skb, &tcp) < 0 || bpf_skb_load_bytes(skb, tcp + offsetof(struct tcphdr, seq), &seq, sizeof(seq)))
		return TC_ACT_UNSPEC;
	number = bpf_ntohl(seq);
	index = number / CHUNK;
	chunk = bpf_map_lookup_elem(&chunks, &index);
	if (chunk)
		chunk->arrived[number % CHUNK]++;
	return TC_ACT_SHOT;
}

/* Kernel helpers used here are open to GPL-compatible programs only. */
char _license[] SEC("license") = "Dual MIT/GPL";
