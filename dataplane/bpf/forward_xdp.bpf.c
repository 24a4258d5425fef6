/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The forwarder where the driver runs XDP: hp_xdp does what hp_ingress does with a client's frame for a VIP, before the
 * kernel makes a socket buffer of it. It forwards and drops; all else, from ARP to pings, it leaves to hp_ingress, which
 * stays attached behind it on the same tables. With XDP detached the same frames take the longer way. */
#define HALFPIPE_XDP

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "count.h"
#include "fast.h"
#include "forward.h"
#include "maps.h"
#include "parse.h"
#include "types.h"

/* Is the frame to this interface's own MAC? What the tc program is told by the kernel. */
static __always_inline int is_to_us(context_t *ctx, const struct ethhdr *eth)
{
	const __u16 *there = (const void *)eth->h_dest, *own;
	__u32 ifindex = ctx->ingress_ifindex;
	struct interface_value *interface = bpf_map_lookup_elem(&interfaces, &ifindex);

	if (!interface)
		return 0;
	own = (const void *)interface->mac;
	return !((there[0] ^ own[0]) | (there[1] ^ own[1]) | (there[2] ^ own[2]));
}

SEC("xdp.frags")
int hp_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct packet packet;
	int done;

	if ((void *)(eth + 1) > data_end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		done = forward_plain_ipv4(ctx);
		if (done != UNDECIDED)
			return done;
	}
	if (!is_to_us(ctx, eth))
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(ctx, &packet) ? handle_ip(ctx, &packet, 1) : XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(ctx, &packet) ? handle_ip(ctx, &packet, 0) : XDP_PASS;
	return XDP_PASS;
}

/* Kernel helpers used here are open to GPL-compatible programs only. */
char _license[] SEC("license") = "Dual MIT/GPL";
