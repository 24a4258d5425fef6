/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What the two programs are given, behind one set of names: a socket buffer at tc's hook, a driver's buffer at XDP's.
 *
 * XDP comes first and finishes what it can. Whatever it does not know how to do it passes on, unchanged and uncounted,
 * to the tc program behind it, which knows everything. */
#ifndef HALFPIPE_CONTEXT_H
#define HALFPIPE_CONTEXT_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "types.h"

#ifdef HALFPIPE_XDP

typedef struct xdp_md context_t;

#define load_bytes bpf_xdp_load_bytes

/* Bytes of the whole frame. Only large frames come in several buffers. */
static __always_inline __u32 frame_length(context_t *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

/* Are the first `length` bytes directly readable? If the driver put headers elsewhere, tc sees to the frame. */
static __always_inline int readable(context_t *ctx, __u32 length)
{
	return (void *)(long)ctx->data + length <= (void *)(long)ctx->data_end;
}

/* Frames that the kernel merged (GRO) come later. */
static __always_inline __u32 merged_frames(const context_t *ctx)
{
	(void)ctx;
	return 0;
}

static __always_inline __u32 segment_size(const context_t *ctx)
{
	(void)ctx;
	return 0;
}

static __always_inline int verdict(enum reason reason)
{
	return reason <= REASON_PASS_MALFORMED ? XDP_PASS : XDP_DROP;
}

static __always_inline __u32 arrived_at(const context_t *ctx)
{
	return ctx->ingress_ifindex;
}

/* The frame's own interface sends without the rest of the stack. */
static __always_inline int send_out(const context_t *ctx, __u32 ifindex)
{
	return ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(ifindex, 0);
}

#else

typedef struct __sk_buff context_t;

#define load_bytes bpf_skb_load_bytes

static __always_inline __u32 frame_length(context_t *ctx)
{
	return ctx->len;
}

/* Make the first `length` bytes of the frame directly readable. Invalidates packet pointers. */
static __always_inline int readable(context_t *ctx, __u32 length)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;

	if (data + length <= data_end)
		return 1;
	return ctx->len >= length && !bpf_skb_pull_data(ctx, length);
}

/* One buffer may stand for several frames that the kernel merged (GRO); 0 or 1: it does not. */
static __always_inline __u32 merged_frames(const context_t *ctx)
{
	return ctx->gso_segs;
}

static __always_inline __u32 segment_size(const context_t *ctx)
{
	return ctx->gso_size;
}

static __always_inline __u32 arrived_at(const context_t *ctx)
{
	return ctx->ifindex;
}

static __always_inline int verdict(enum reason reason)
{
	if (reason <= REASON_REJECTED_ICMP)
		return TC_ACT_REDIRECT;
	return reason <= REASON_PASS_MALFORMED ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

static __always_inline int send_out(const context_t *ctx, __u32 ifindex)
{
	(void)ctx;
	return bpf_redirect(ifindex, 0);
}

#endif

#endif
