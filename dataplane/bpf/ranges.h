/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* From address, protocol and port to the vserver with a range of ports that the port belongs to.
 *
 * Ranges may overlap. The control plane cuts those of a VIP and protocol into prefixes of ports that do not, each of
 * the range that goes first there (dataplane/port_ranges.py), so one look-up of a prefix tells the range. */
#ifndef HALFPIPE_RANGES_H
#define HALFPIPE_RANGES_H

#include "maps.h"
#include "parse.h"

/* `protocol` is the packet's, or 0 for vservers of protocol ANY. Not inlined: most VIPs have no ranges. */
static __noinline struct vserver_value *find_range(const struct packet *packet, __u8 protocol)
{
	struct port_prefix prefix = {
		.length = PORT_PREFIX_BITS + 16, .address = packet->key.address,
		.protocol = protocol, .port = packet->key.port,
	};
	struct port_range *range = bpf_map_lookup_elem(&port_prefixes, &prefix);
	struct range_key key = {.address = packet->key.address, .protocol = protocol};

	if (!range)
		return 0;
	key.port = range->port;
	key.port_end = range->port_end;
	return bpf_map_lookup_elem(&range_vservers, &key);
}

#endif
