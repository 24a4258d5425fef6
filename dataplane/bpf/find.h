/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* From address, protocol and port to the vserver.
 *
 * A look-up in a hash table costs more than all the rest of forwarding, so each CPU remembers what it found last for
 * each address, protocol and port, in a table indexed by a cheap mix of them. What is remembered counts only for the
 * generation it was found in, and the control plane starts a new one after each change of vips or vservers. The
 * generation is read before the look-up: a change in between makes the entry old, never wrong. */
#ifndef HALFPIPE_FIND_H
#define HALFPIPE_FIND_H

#include "maps.h"
#include "parse.h"
#include "ranges.h"

#define KEY_WORDS (sizeof(struct vserver_key) / sizeof(__u32))

static __always_inline __u32 current_generation(void)
{
	__u32 zero = 0, *number = bpf_map_lookup_elem(&generation, &zero);

	return number ? *number : 0;
}

/* Where this packet's vserver is remembered. NULL: it has no ports, and is looked up each time. */
static __always_inline struct recent *recent_entry(const struct packet *packet)
{
	const __u32 *key = (const void *)&packet->key;
	__u32 index = (key[3] + key[4] * 5) * 0x9e3779b1 >> (32 - RECENT_BITS);	/* Knuth's golden ratio */

	if (!(packet->flags & PACKET_PORTS))
		return 0;
	return bpf_map_lookup_elem(&recents, &index);
}

static __always_inline int is_recent(const struct recent *recent, const struct packet *packet, __u32 number)
{
	const __u32 *key = (const void *)&packet->key, *there = (const void *)&recent->key;

	return !((key[3] ^ there[3]) | (key[4] ^ there[4]) | (key[0] ^ there[0]) | (key[1] ^ there[1]) |
		 (key[2] ^ there[2]) | (recent->generation ^ number));
}

static __always_inline void remember(struct recent *recent, const struct packet *packet,
				     const struct vserver_value *vserver, __u32 number)
{
	recent->key = packet->key;
	recent->value = *vserver;
	recent->generation = number;
}

/* In order of precedence; the VIP's flags say which look-ups can match. */
static __always_inline struct vserver_value *find_vserver(const struct packet *packet, __u32 flags)
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

#endif
