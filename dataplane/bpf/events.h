/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Tells listeners of single frames, and counts what is dropped of each vserver.
 *
 * Off, which is nearly always, sampling costs forwarding one test of a byte that lies beside the hash key. The byte is
 * a hint: a listener sets it each second, and the first frame that finds nobody listening clears it. While it is set
 * all frames go by forward.h, where they are told of, and none by fast.h. */
#ifndef HALFPIPE_EVENTS_H
#define HALFPIPE_EVENTS_H

#include "count.h"
#include "maps.h"
#include "parse.h"

/* What choose() says besides the service's index. Neither: nobody keeps flows. */
#define CHOSEN_NEW (1 << 16)		/* the packet begins a flow that is remembered */
#define CHOSEN_OLD (1 << 17)		/* it belongs to one that was */
#define CHOSEN_INDEX 0xffff

static __always_inline int is_sampled(void)
{
	__u32 zero = 0;
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	return setting && setting->sampled;
}

/* Is this frame what the listener asked for? */
static __always_inline int is_wanted(const struct sampling *wish, const struct event *event)
{
	const __u32 *to = event->destination.word, *vip = wish->vip.word;

	if (!(wish->kinds & event->kind))
		return 0;
	if (wish->vserver && wish->vserver != event->vserver &&
	    (event->vserver || (to[0] ^ vip[0]) | (to[1] ^ vip[1]) | (to[2] ^ vip[2]) | (to[3] ^ vip[3])))
		return 0;
	return event->kind != SAMPLE_FORWARDED || wish->one_in <= 1 || !(bpf_get_prandom_u32() % wish->one_in);
}

/* Does one more event fit the listener's rate on this CPU? A bucket as in syn.h, but nobody else's. */
static __always_inline int fits_rate(struct sampled *sum, const struct sampling *wish, __u64 now)
{
	__u64 cost, full = sum->full > now ? sum->full : now;

	if (!wish->rate)
		return 0;
	cost = 1000000000ULL / wish->rate;
	if (full - now + cost > cost * wish->burst)
		return 0;
	sum->full = full + cost;
	return 1;
}

/* Give the event in hand to each listener that wants it; 0 if nobody listens at all. */
static __always_inline int tell_listeners(struct event *event)
{
	__u32 listener, caught = event->caught;
	int heard = 0;

	for (listener = 0; listener < MAX_SAMPLERS; listener++) {
		__u32 index = listener;
		struct sampling *wish = bpf_map_lookup_elem(&sampling, &index);
		struct sampled *sum = bpf_map_lookup_elem(&sampled, &index);
		void *ring;

		if (!wish || !sum || event->time >= wish->until)
			continue;
		heard = 1;
		if (!is_wanted(wish, event))
			continue;
		ring = bpf_map_lookup_elem(&events, &index);
		event->caught = wish->caught < caught ? wish->caught : caught;
		if (ring && fits_rate(sum, wish, event->time) && !bpf_ringbuf_output(ring, event, sizeof(*event), 0))
			sum->told++;
		else
			sum->withheld++;
	}
	return heard;
}

/* The first packet of a flow: choose() has said so, or nobody keeps flows and it is a SYN. */
static __always_inline enum sample_kind kind_of(const struct event *event, __u32 known)
{
	if (event->reason != REASON_FORWARDED)
		return SAMPLE_DROP;
	if (known & CHOSEN_NEW)
		return SAMPLE_FLOW;
	if (!(known & CHOSEN_OLD) && (event->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return SAMPLE_FLOW;
	return SAMPLE_FORWARDED;
}

/* The frame's beginning. Two tests in a row, which the compiler must not make one of: the verifier needs both bounds. */
static __always_inline __u32 catch_frame(context_t *ctx, struct event *event)
{
	__u64 bytes = event->length < EVENT_FRAME ? event->length : EVENT_FRAME;

	asm volatile("" : "+r"(bytes));
	if (!bytes || bytes > EVENT_FRAME)
		return 0;
	return load_bytes(ctx, 0, event->frame, bytes) ? 0 : bytes;
}

/* Read the frame once more: the packet that was parsed at first would have to be kept on the stack all the way, and an
 * ICMP error has put the flow that it is about in its place. */
static __always_inline int describe(context_t *ctx, struct event *event)
{
	struct packet packet;
	__be16 kind;

	if (load_bytes(ctx, 12, &kind, sizeof(kind)))
		return 0;
	if (kind == bpf_htons(ETH_P_IP) ? !parse_ipv4(ctx, &packet) : !parse_ipv6(ctx, &packet))
		return 0;
	event->source = packet.source;
	event->destination = packet.key.address;
	event->source_port = packet.source_port;
	event->port = packet.key.port;
	event->protocol = packet.key.protocol;
	event->flags = packet.flags;
	event->tcp_flags = packet.tcp;
	return 1;
}

/* Keep the MAC addresses of a frame that is about to get others; `data` is known to hold an Ethernet header. */
static __always_inline void note_arrival(const void *data)
{
	__u32 zero = 0;
	struct event *event = bpf_map_lookup_elem(&event_in_hand, &zero);

	if (event)
		__builtin_memcpy(event->arrived, data, sizeof(event->arrived));
}

/* Tell those who listen what became of this frame; `known`: what choose() said of its flow. This function and the next
 * are not static, so that the verifier looks at each once and not again on each way that leads there. */
__noinline int tell(context_t *ctx, __u32 vserver_id, __u32 service, __u32 reason, __u32 known)
{
	__u32 zero = 0, *row = bpf_map_lookup_elem(&vserver_rows, &vserver_id);
	struct event *event = bpf_map_lookup_elem(&event_in_hand, &zero);
	struct settings *setting = bpf_map_lookup_elem(&settings, &zero);

	if (!event || !setting || !describe(ctx, event))
		return 0;
	event->time = bpf_ktime_get_ns();
	event->reason = reason;
	event->kind = kind_of(event, known);
	event->ifindex = arrived_at(ctx);
	event->vserver = row ? *row : 0;
	event->service = service;
	event->length = frame_length(ctx);
	event->caught = catch_frame(ctx, event);
	if (reason != REASON_FORWARDED && load_bytes(ctx, 0, event->arrived, sizeof(event->arrived)))
		return 0;
	if (!tell_listeners(event))
		setting->sampled = 0;
	return 0;
}

/* Count a drop, and tell those who listen. */
__noinline int note_drop(context_t *ctx, __u32 vserver_id, __u32 reason)
{
	__u64 index = reason - REASON_DROP_MALFORMED;
	struct vserver_drops *drops;

	/* Makes the compiler test the very register that it adds, or the verifier does not see the bound */
	asm volatile("" : "+r"(index));
	drops = vserver_id ? bpf_map_lookup_elem(&vserver_drops, &vserver_id) : 0;
	if (drops && index < DROP_REASONS)
		drops->packets[index]++;
	return is_sampled() ? tell(ctx, vserver_id, 0, reason, 0) : 0;
}

/* The exit of a packet for a VIP that is not forwarded; `vserver_id` 0: its vserver is unknown. */
static __noinline int finish_for(context_t *ctx, __u32 vserver_id, enum reason reason)
{
	if (reason >= REASON_DROP_MALFORMED)
		note_drop(ctx, vserver_id, reason);
	return finish(ctx, reason);
}

#endif
