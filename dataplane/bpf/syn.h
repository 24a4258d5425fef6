/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* Limits the rate of SYNs by token buckets, one a vserver and one for each network that sends it SYNs.
 *
 * A bucket is one number, the time when it will be full again (the generic cell rate algorithm, ITU-T I.371): a packet
 * costs 1/rate seconds, and fits while the bucket is full less than burst/rate seconds from now. While SYNs come
 * faster than the rate the number is only added to, atomically, so that CPUs lose no packet of each other; when it
 * starts anew after a pause, CPUs may let a packet each slip through. */
#ifndef HALFPIPE_SYN_H
#define HALFPIPE_SYN_H

#include "maps.h"
#include "parse.h"

/* Does a packet fit? `rate` is not 0. */
static __always_inline int take_token(struct bucket *bucket, __u32 rate, __u32 burst, __u64 now)
{
	__u64 cost = 1000000000ULL / rate, full = bucket->full;

	if (full <= now) {
		bucket->full = now + cost;
		return 1;
	}
	if (full - now + cost > cost * burst)
		return 0;
	__sync_fetch_and_add(&bucket->full, cost);
	return 1;
}

/* The reason to drop this SYN, or 0. A network that sends too many must not use up what the others may send. */
static __always_inline enum reason limit_syn(const struct packet *packet, const struct vserver_value *vserver,
					     const struct policy *policy)
{
	struct syn_source_key key = {.vserver = vserver->config_id};
	__u64 now = bpf_ktime_get_ns();
	__u32 id = vserver->vserver_id;
	struct bucket *bucket, fresh;

	if (policy->source_syn_rate) {
		key.source.word[0] = packet->source.word[0] & policy->source_mask.word[0];
		key.source.word[1] = packet->source.word[1] & policy->source_mask.word[1];
		key.source.word[2] = packet->source.word[2] & policy->source_mask.word[2];
		key.source.word[3] = packet->source.word[3] & policy->source_mask.word[3];
		bucket = bpf_map_lookup_elem(&syn_sources, &key);
		if (!bucket) {
			fresh.full = now + 1000000000ULL / policy->source_syn_rate;
			bpf_map_update_elem(&syn_sources, &key, &fresh, BPF_ANY);
		} else if (!take_token(bucket, policy->source_syn_rate, policy->source_syn_burst, now)) {
			return REASON_DROP_SYN_SOURCE;
		}
	}
	if (policy->syn_rate) {
		bucket = bpf_map_lookup_elem(&syn_vservers, &id);
		if (!bucket)
			return REASON_DROP_TABLE;
		if (!take_token(bucket, policy->syn_rate, policy->syn_burst, now))
			return REASON_DROP_SYN_RATE;
	}
	return 0;
}

#endif
