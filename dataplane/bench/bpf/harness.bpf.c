/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Programs of the benchmarks.
 *
 * BPF_PROG_TEST_RUN with `repeat` gives a program its own output as the next input. restore_* therefore write the
 * frame's header anew, as the next flow of a list has it, and tail-call the program that is measured. nothing_* are
 * measured first: what restoring, the tail call and the entry of a program cost, to be subtracted. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_FLOWS 32768
#define MAX_SINKS 256

/* Where floor_tc sends frames: a constant, as all that the floor writes. The bench gives its far interface this one. */
#ifndef TARGET_IFINDEX
#define TARGET_IFINDEX 1003
#endif

struct flow {
	__u32 source[4];		/* network order; IPv4 uses word 3 */
	__u32 destination[4];
	__u32 ports;			/* source and destination port as in the packet */
};

struct run {
	__u32 next;			/* number of the next frame */
	__u32 mask;			/* flows in use - 1; their number is a power of two */
	__u32 ipv6;
	__u32 macs[3];			/* Ethernet addresses of a frame that arrives */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_FLOWS);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct run);
} run SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} target_tc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} target_xdp SEC(".maps");

/* Frames that arrived at the far end, by the last byte of their destination MAC. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SINKS);
	__type(key, __u32);
	__type(value, __u64);
} delivered SEC(".maps");

/* False when the frame is too short for what is to be written. */
static __always_inline int restore(void *data, void *data_end)
{
	__u32 zero = 0, index, *eth = data, *ports;
	struct run *state = bpf_map_lookup_elem(&run, &zero);
	struct flow *flow;

	if (!state)
		return 0;
	index = state->next++ & state->mask;
	flow = bpf_map_lookup_elem(&flows, &index);
	if (!flow || data + sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(*ports) > data_end)
		return 0;
	eth[0] = state->macs[0];
	eth[1] = state->macs[1];
	eth[2] = state->macs[2];
	if (state->ipv6) {
		struct ipv6hdr *ip = data + sizeof(struct ethhdr);

		ports = (void *)(ip + 1);
		if ((void *)(ports + 1) > data_end)
			return 0;
		__builtin_memcpy(&ip->saddr, flow->source, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, flow->destination, sizeof(ip->daddr));
	} else {
		struct iphdr *ip = data + sizeof(struct ethhdr);

		ports = (void *)(ip + 1);
		ip->saddr = flow->source[3];
		ip->daddr = flow->destination[3];
	}
	*ports = flow->ports;
	return 1;
}

/* 02:00:00:00:00:01, 02:00:00:00:00:02 */
static __always_inline int constant_macs(void *data, void *data_end)
{
	__u32 *eth = data;

	if (data + sizeof(struct ethhdr) > data_end)
		return 0;
	eth[0] = bpf_htonl(0x02000000);
	eth[1] = bpf_htonl(0x00010200);
	eth[2] = bpf_htonl(0x00000002);
	return 1;
}

SEC("tc")
int restore_tc(struct __sk_buff *skb)
{
	if (restore((void *)(long)skb->data, (void *)(long)skb->data_end))
		bpf_tail_call(skb, &target_tc, 0);
	return TC_ACT_SHOT;
}

SEC("tc")
int nothing_tc(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

SEC("tc")
int floor_tc(struct __sk_buff *skb)
{
	if (!constant_macs((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_SHOT;
	return bpf_redirect(TARGET_IFINDEX, 0);
}

/* The far end of the path: count and drop. */
SEC("tc")
int sink_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	__u64 *count;
	__u32 index;

	if (data + sizeof(struct ethhdr) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	index = ((__u8 *)data)[5];
	count = bpf_map_lookup_elem(&delivered, &index);
	if (count)
		(*count)++;
	return TC_ACT_SHOT;
}

/* "frags", as the forwarder is: a program calls only its like. */
SEC("xdp.frags")
int restore_xdp(struct xdp_md *context)
{
	if (restore((void *)(long)context->data, (void *)(long)context->data_end))
		bpf_tail_call(context, &target_xdp, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int nothing_xdp(struct xdp_md *context)
{
	(void)context;
	return XDP_PASS;
}

SEC("xdp.frags")
int floor_xdp(struct xdp_md *context)
{
	if (!constant_macs((void *)(long)context->data, (void *)(long)context->data_end))
		return XDP_ABORTED;
	return XDP_TX;
}

/* Run with BPF_F_TEST_XDP_LIVE_FRAMES: the next flow's frame is received by the interface. */
SEC("xdp")
int generate(struct xdp_md *context)
{
	return restore((void *)(long)context->data, (void *)(long)context->data_end) ? XDP_PASS : XDP_ABORTED;
}

/* Kernel helpers used here are open to GPL-compatible programs only. */
char _license[] SEC("license") = "Dual MIT/GPL";
