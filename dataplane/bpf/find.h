/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* From address, protocol and port to the vserver.
 *
 * A look-up in a hash table costs more than all the rest of forwarding, so each CPU remembers what it found last for
 * each address, protocol and port, in a table indexed by a cheap mix of them. What is remembered counts only for the
 * generation it was found in, and the control plane starts a new one after each change of what is remembered. The
 * generation is read before the look-up: a change in between makes the entry old, never wrong. */
#ifndef HALFPIPE_FIND_H
#define HALFPIPE_FIND_H

#include "context.h"
#include "maps.h"
#include "parse.h"
#include "ranges.h"

#define SECOND 1000000000ULL

static __always_inline __u32 current_generation(void)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&generation, &zero);

	return number ? *number : 0;
}

/* The six octets at `at` as a number, without the two behind them, which must be readable too. */
static __always_inline __u64 mac_at(const void *at)
{
	return *(const __u64 *)at << 16;
}

static __always_inline struct recent *recent_slot(__u32 address, __u32 port_and_protocol)
{
	/* Knuth's golden ratio */
	__u32 index = (address + port_and_protocol * 5) * 0x9e3779b1 >> (32 - RECENT_BITS);

	return bpf_map_lookup_elem(&recents, &index);
}

/* Where this packet's vserver is remembered. NULL: it has no ports, and is looked up each time. */
static __always_inline struct recent *recent_entry(const struct packet *packet)
{
	const __u32 *key = (const void *)&packet->key;

	return packet->flags & PACKET_PORTS ? recent_slot(key[3], key[4]) : 0;
}

/* Did XDP see a frame to this MAC come in there? The kernel tells tc so itself. */
static __always_inline int is_same_place(context_t *ctx, const struct recent *recent, const void *data)
{
#ifdef HALFPIPE_XDP
	return recent->ifindex == ctx->ingress_ifindex && recent->own_mac == mac_at(data);
#else
	(void)ctx;
	(void)recent;
	(void)data;
	return 1;
#endif
}

/* What is remembered for a frame by IPv4, or NULL. `data` is readable beyond the Ethernet header. */
static __always_inline struct recent *recent_ipv4(context_t *ctx, const void *data, __be32 address, __be16 port,
						  __u8 protocol)
{
	__u32 port_and_protocol = port | (__u32)protocol << 16;
	struct recent *recent = recent_slot(address, port_and_protocol);
	const __u64 *there = (const void *)recent;

	if (!recent || there[0] | (there[1] ^ (bpf_htonl(0xffff) | (__u64)address << 32)) ||
	    there[2] != (port_and_protocol | (__u64)current_generation() << 32) || !is_same_place(ctx, recent, data))
		return 0;
	return recent;
}

static __always_inline int is_recent(context_t *ctx, const struct recent *recent, const struct packet *packet,
				     __u32 number)
{
	void *data = (void *)(long)ctx->data;
	const __u32 *key = (const void *)&packet->key, *there = (const void *)&recent->key;

	if (data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end || !is_same_place(ctx, recent, data))
		return 0;
	return !((key[3] ^ there[3]) | (key[4] ^ there[4]) | (key[0] ^ there[0]) | (key[1] ^ there[1]) |
		 (key[2] ^ there[2]) | (recent->generation ^ number));
}

static __always_inline void remember(context_t *ctx, struct recent *recent, const struct packet *packet,
				     const struct vserver_value *vserver, __u32 number)
{
	__u32 id = vserver->vserver_id, zero = 0;
	struct settings *setting;
	struct policy *policy;
#ifdef HALFPIPE_XDP
	void *data = (void *)(long)ctx->data;

	if (data + sizeof(__u64) > (void *)(long)ctx->data_end)
		return;
	recent->ifindex = ctx->ingress_ifindex;
	recent->own_mac = mac_at(data);
#else
	(void)ctx;
	recent->ifindex = 0;
#endif
	setting = bpf_map_lookup_elem(&settings, &zero);
	recent->settings = setting ? setting->flags : 0;
	recent->idle_timeout = 0;
	if (vserver->flags) {
		policy = bpf_map_lookup_elem(&policies, &id);
		if (policy)
			recent->idle_timeout = policy->idle_timeout * SECOND;
	}
	recent->key = packet->key;
	recent->value = *vserver;
	recent->generation = number;
}

/* Does a capture listen to the vserver of this row, or to any if the row is unknown (0)? Only XDP needs to know: packet
 * sockets hear the frames of tc. */
static __always_inline int is_tapped(__u32 row)
{
#ifdef HALFPIPE_XDP
	__u32 zero = 0;
	struct tap *tap = bpf_map_lookup_elem(&taps, &zero);

	return tap && tap->until && (!row || !tap->vserver || tap->vserver == row) && bpf_ktime_get_ns() < tap->until;
#else
	(void)row;
	return 0;
#endif
}

/* In order of precedence; the VIP's flags say which look-ups can match. */
static __always_inline struct vserver_value *look_up(const struct packet *packet, __u32 flags)
{
	struct vserver_key key = packet->key;
	struct vserver_value *vserver = 0;

	if (flags & VIP_PROTO_PORT && packet->flags & PACKET_PORTS)
		vserver = bpf_map_lookup_elem(&vservers, &key);
	if (!vserver && flags & VIP_PROTO_RANGE && packet->flags & PACKET_PORTS)
		vserver = find_range(packet, key.protocol);
	if (!vserver && flags & VIP_PROTO) {
		key.port = 0;
		vserver = bpf_map_lookup_elem(&vservers, &key);
	}
	key.protocol = 0;
	if (!vserver && flags & VIP_PORT && packet->flags & PACKET_PORTS) {
		key.port = packet->key.port;
		vserver = bpf_map_lookup_elem(&vservers, &key);
	}
	if (!vserver && flags & VIP_RANGE && packet->flags & PACKET_PORTS)
		vserver = find_range(packet, 0);
	if (!vserver && flags & VIP_ANY) {
		key.port = 0;
		vserver = bpf_map_lookup_elem(&vservers, &key);
	}
	return vserver;
}

/* Copies the packet's vserver, if there is one. Not static: so the verifier looks at it once, and what comes after it is
 * the same wherever the vserver was found. */
__noinline int find_vserver(const struct packet *packet, __u32 flags, struct vserver_value *found)
{
	struct vserver_value *vserver = packet ? look_up(packet, flags) : 0;

	if (!vserver || !found)
		return 0;
	*found = *vserver;
	return 1;
}

#endif
