/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* The frame's new MAC addresses, and the guards against frames that go round in circles. */
#ifndef HALFPIPE_SEND_H
#define HALFPIPE_SEND_H

#include <linux/if_ether.h>

#include "context.h"
#include "count.h"
#include "find.h"
#include "maps.h"
#include "parse.h"

/* To this service, or NULL. `data` is known to hold at least an IP header. Counts, and returns the verdict.
 *
 * A frame that comes from where it would go, or from this director, is somebody sending it back to us: a server that is
 * a director itself, or a bridge loop. */
static __always_inline int send_to(context_t *ctx, void *data, __u32 setting_flags, __u32 vserver_id,
				   __u32 index, const struct service_value *service,
				   const struct counter *seen, int ipv4)
{
	__u64 to, own, from;

	if (!service || !service->config_id)
		return finish(ctx, REASON_DROP_TABLE);
	to = mac_at(service->mac);
	own = mac_at(service->source_mac);
	from = mac_at(data + ETH_ALEN);
	if (to == own)
		return finish(ctx, REASON_DROP_OWN_MAC);
	if (from == to || from == own || from == mac_at(data))
		return finish(ctx, REASON_DROP_LOOP);
	if (setting_flags & SETTING_TTL && *((__u8 *)data + (ipv4 ? IPV4_TTL : IPV6_HOP_LIMIT)) <= 1)
		return finish(ctx, REASON_DROP_TTL);
	*(__u64 *)data = to >> 16 | own << 32;
	*(__u32 *)(data + 8) = own >> 32;
	count(&vserver_stats, vserver_id, seen);
	count(&service_stats, index, seen);
	count(&reasons, REASON_FORWARDED, seen);
	return send_out(ctx, service->ifindex);
}

#endif
